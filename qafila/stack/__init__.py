"""The embedded stack, a file a piece: start, wait, stop, health."""
