"""Sources behind one port: ordered by key, read in frozen ranges, with stated snapshots."""
