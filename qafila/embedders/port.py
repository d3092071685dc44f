"""What every embedder can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


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


@dataclass(frozen=True)
class Answer:
    """Vectors as they came, in the order of the texts; zero where a text was refused.

    ``rejected`` maps the place of a text to the reason; ``cost`` is in the budget's currency.
    """

    vectors: NDArray[np.float32]
    rejected: Mapping[int, str]
    tokens: int
    cost: Decimal


@runtime_checkable
class MeteredEmbedder(Protocol):
    """An embedder that knows what it read, what that cost, and why it refused a text."""

    def ask(self, texts: Sequence[str]) -> Answer:
        """Return a vector or a reason for every text.

        Raises:
            SpendCapReached: the next call could cross the cap, so it was not made.
            BackfillHalted: the service gave no usable answer for longer than we try.
            Refused: it does not let us in, or does not know the model.
        """


@runtime_checkable
class WaitingEmbedder(Protocol):
    """An embedder that may have to wait for a service, and says for what."""

    @property
    def waiting(self) -> str:
        """Return what it waits for right now, for a status line; empty when it does not."""
