"""Routers, canaries and rollbacks on a real edge."""
