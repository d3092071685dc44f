"""A rollout as data: its steps, what proof would take, and the next move after a look."""
