"""Ports (one file per system) and the steps that compose them with the core."""
