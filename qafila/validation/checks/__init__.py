"""The validation ladder's measurements: one file a rung, the climb they share, and its record."""
