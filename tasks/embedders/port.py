"""What every embedder can do, and the one place that makes one from a workload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qafila.core.corpus import WordLlamaEmbedder as Settings
from tasks.embedders.wordllama import WordLlamaEmbedder


class Embedder(Protocol):
    """Turns texts into vectors; a vector it cannot make is all zero, never NaN."""

    dimensions: int
    model: str

    @property
    def revision(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return an array of shape (texts, dimensions): rows of length 1, or all zero."""

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return how many tokens the model reads in these texts."""


def make_embedder(settings: Settings) -> Embedder:
    """Return the embedder that a workload names."""
    return WordLlamaEmbedder(settings.dimensions, lowercase=settings.lowercase)
