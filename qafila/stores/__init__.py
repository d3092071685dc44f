"""Vector stores behind one port: fenced writing with the checkpoint, search, exact search."""
