"""What every source can do: be read in the order of its key, from frozen boundaries.

A source says three things about itself, since they decide what a backfill can promise: what orders
its rows, which state a read shows, and what becomes of a change during the copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qafila.errors import Refused
from qafila.workload.fingerprint import key_text

Key = list[Any]  # JSON values, one a key column


@dataclass(frozen=True, slots=True)
class Piece:
    """The place of a row that is a chunk already, in an index that was filled before."""

    source_key: str
    number: int
    start: int
    end: int


@dataclass(slots=True)
class SourceRow:
    """One document of the source, or one chunk of an existing index (then ``piece`` is set).

    Not frozen, since that doubles the time of making one, and a load makes them by the million.
    ``title`` is empty when there is only one text column; ``text`` holds the title too.
    ``unreadable`` is why a row has no text although there is one; empty otherwise.
    ``vector`` is float32, as the index holds it.
    """

    key: Key
    title: str
    text: str
    acl: Sequence[str]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    piece: Piece | None = None
    vector: NDArray[np.float32] | None = None
    unreadable: str = ""

    @property
    def key_text(self) -> str:
        """Return the key of the document as one text."""
        return key_text(self.key) if self.piece is None else self.piece.source_key


@dataclass(frozen=True)
class KeyRange:
    """A frozen range of keys: ``low`` is exclusive, ``high`` inclusive, None is open."""

    low: Key | None
    high: Key | None
    rows: int


@dataclass(frozen=True)
class Semantics:
    """Three sentences for the plan: what orders rows, what a read shows, what a change means."""

    order: str
    snapshot: str
    change: str


@dataclass(frozen=True)
class Volume:
    """How much there is: rows, bytes of text, and how that was found out.

    ``unreadable``: how many of the rows are known to have a text that cannot be read.
    """

    rows: int
    text_bytes: int
    how: str
    unreadable: int = 0


class Source(Protocol):
    """A source that is open; the caller closes what it opened."""

    semantics: Semantics

    def problems(self) -> list[str]:
        """Return everything that stands in the way of reading it, each with its remedy."""

    def shape(self) -> str:
        """Return a digest of columns and types; another one later means: it changed its shape."""

    def volume(self) -> Volume:
        """Return how much there is now."""

    def freeze(self, rows_per_shard: int) -> list[KeyRange]:
        """Return key ranges of at most ``rows_per_shard`` rows that cover every possible key."""

    def read(
        self, low: Key | None, high: Key | None, batch_rows: int
    ) -> Iterator[Sequence[SourceRow]]:
        """Yield batches of rows with low < key <= high, in key order, paging by key."""

    def fetch(self, keys: Sequence[str]) -> list[SourceRow]:
        """Return the rows of these documents (``SourceRow.key_text``) as they are now.

        A document that is not there any more has no row.
        """


class IndexSource(Source, Protocol):
    """A source that is an index already, and can be searched as it is."""

    @property
    def rounds(self) -> float:
        """Return by how much a score may be off, for the precision that vectors are kept in."""

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[tuple[str, int, float]]:
        """Return the k nearest chunks of all: source key, number and cosine, the nearest first.

        By looking at every one; chunks without a vector, or with one of another length, are none.

        Raises:
            Refused: its scores are of a distance that says nothing about cosine.
        """


def require_shape(source: Source, planned: str) -> None:
    """Refuse a source that is not what the plan was made for.

    Frozen boundaries mean nothing under another sort order, and half of a folder as it was does
    not go with half of it as it is.

    Raises:
        Refused: its shape differs from the one at the time of the plan.
    """
    if source.shape() != planned:
        raise Refused(
            "the source is not what it was when the plan was made: columns, types, the sort order "
            "of the key or, of files, their versions differ.",
            kept="everything up to the last checkpoint.",
            remedy="put it back as it was and start the load again; or fill a new generation, "
            "which plans anew.",
        )
