"""One audit as a whole: what was found, its evidence, its tables, its difference to the last."""
