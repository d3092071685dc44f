"""What was seen in use: traces and flow logs, read in pieces, as edges with their last time."""
