"""Embedders behind one port: texts in, unit vectors out."""
