"""A bill: its formats, and its values."""
