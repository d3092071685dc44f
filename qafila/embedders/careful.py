"""Embed texts and look at every vector before it goes anywhere: the one call of the engine.

A text that gets no usable vector is rejected with a reason, never left out in silence.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from qafila.embedders.port import Embedder, MeteredEmbedder
from qafila.errors import BackfillHalted

UNKNOWN = "the model knows no token of this text, so it has no vector"
EMPTY = "the text is empty, so it has no vector"
NOT_FINITE = "the model answered NaN or infinity in its vector"
SURROGATE = "the text holds half a surrogate pair, so it cannot be written as UTF-8"
NUL = "the text holds a NUL character, which PostgreSQL cannot store"

_TOLERANCE = 1e-5  # what float32 arithmetic leaves
_WORTH_SAYING = 1e-2  # beyond what half precision leaves
_SURROGATES = re.compile("[\ud800-\udfff]")
_log = logging.getLogger(__name__)
_said: set[str] = set()


@dataclass(frozen=True)
class Embedded:
    """What embedding some texts gave; ``rejected`` maps the place of a text to the reason.

    ``vectors`` has shape (texts, dimensions): rows of length 1, or zero where a text was rejected.
    ``cost`` is in the budget's currency.
    """

    vectors: NDArray[np.float32]
    rejected: Mapping[int, str]
    tokens: int = 0
    cost: Decimal = field(default_factory=Decimal)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Return which texts have a vector."""
        kept = np.ones(len(self.vectors), bool)
        kept[list(self.rejected)] = False
        return kept


def embed_carefully(embedder: Embedder, texts: Sequence[str]) -> Embedded:
    """Return a checked vector, or the reason why there is none, for every text.

    Raises:
        BackfillHalted: the model answers vectors of another length than the workload says.
        SpendCapReached: the next call could cross the cap, so it was not made.
    """
    rejected = {i: reason for i, text in enumerate(texts) if (reason := _unfit(text))}
    asked = [i for i in range(len(texts)) if i not in rejected]
    fit = list(texts) if len(asked) == len(texts) else [texts[i] for i in asked]
    tokens, cost = 0, Decimal(0)
    if isinstance(embedder, MeteredEmbedder):
        answer = embedder.ask(fit)
        raw, tokens, cost = answer.vectors, answer.tokens, answer.cost
        rejected |= {asked[i]: reason for i, reason in answer.rejected.items()}
    else:
        raw = embedder.embed(fit)
    if raw.shape != (len(fit), embedder.dimensions):
        raise BackfillHalted(
            f"{embedder.model} answered an array of shape {raw.shape}; the workload says "
            f"({len(fit)}, {embedder.dimensions}).",
            kept="everything that was written before.",
            remedy="set corpus.embedder.dimensions to what the model gives, then: "
            "qafila apply FILE. Its vectors are another generation.",
        )
    checked, faults = _checked(raw, embedder.model)
    for i, reason in faults.items():
        rejected.setdefault(asked[i], reason)
    if len(asked) == len(texts):
        vectors = checked
    else:
        vectors = np.zeros((len(texts), embedder.dimensions), np.float32)
        vectors[asked] = checked
    return Embedded(vectors, dict(sorted(rejected.items())), tokens, cost)


def _unfit(text: str) -> str:
    if not text:
        return EMPTY
    if "\0" in text:
        return NUL
    if not text.isascii() and _SURROGATES.search(text):
        return SURROGATE
    return ""


def _checked(raw: NDArray[np.float32], model: str) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Return unit rows, zero where there is none, and the reason for each of those."""
    vectors = np.asarray(raw, np.float32)
    # einsum in float64: a square in float32 can overflow where the number itself does not
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    off = np.abs(lengths - 1.0)
    if (off <= _TOLERANCE).all():  # NaN is not
        return vectors, {}
    finite = np.isfinite(lengths)
    zero = lengths == 0
    faults = {int(i): NOT_FINITE for i in np.flatnonzero(~finite)}
    faults |= {int(i): UNKNOWN for i in np.flatnonzero(zero)}
    unit = vectors.copy()
    unit[~finite] = 0
    scale = finite & ~zero & (off > _TOLERANCE)
    unit[scale] = (vectors[scale] / lengths[scale, None]).astype(np.float32)
    if (off[scale] > _WORTH_SAYING).any() and model not in _said:
        _said.add(model)
        _log.warning("%s answers vectors of another length than 1; they are normalised.", model)
    return unit, faults
