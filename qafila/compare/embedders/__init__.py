"""Compare candidate embedders on a sample of one corpus: which serves it best, at what price."""
