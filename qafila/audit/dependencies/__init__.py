"""What hangs together in an estate, how sure that is, and in which waves it can move."""
