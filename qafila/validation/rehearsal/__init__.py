"""The rehearsal: a copy of a generation, faults planted in it, and the ladder climbed over each."""
