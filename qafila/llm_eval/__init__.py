"""Language models behind OpenAI-compatible services: asked in turn, timed, paid for, graded."""
