"""What every vector store can do. One object is one generation of one workload."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import psycopg
from numpy.typing import NDArray

from qafila.ledger.ownership import Claimant
from qafila.sources.port import Key
from qafila.stores.row_sets import Witnesses, digest_words
from qafila.workload.corpus import PgvectorSource
from qafila.workload.fingerprint import chunk_id

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """Which generation of which workload, and what its vectors are.

    ``claimant`` is the ledger that asks. A store changes only what that ledger owns; without one,
    as in a benchmark's table of its own, it asks for nobody.
    """

    workload: str
    generation: int
    fingerprint: str
    dimensions: int
    claimant: Claimant | None = None

    @property
    def name(self) -> str:
        """Return the name of the table or collection."""
        return f"chunk_{re.sub(r'[^a-z0-9]', '_', self.workload)}_g{self.generation}"


@dataclass(slots=True)
class Chunk:
    """One piece of text with its place in the source; offsets count code points.

    Not frozen, since that doubles the time of making one, and a load makes them by the million.
    """

    source_key: str
    number: int
    start: int
    end: int
    title: str
    text: str
    digest: bytes
    acl: Sequence[str]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> uuid.UUID:
        """Return the UUIDv5 of source key and number, for stores that take no key of ours."""
        return chunk_id(self.source_key, self.number)


@dataclass(frozen=True)
class Checkpoint:
    """How far a shard is: the last key that is safely in the target with everything before it."""

    shard: int
    epoch: int
    last_key: list[Any] | None = None
    rows: int = 0
    chunks: int = 0
    finished: bool = False


@dataclass(frozen=True)
class Rejected:
    """A row of an existing index that cannot be copied, and why."""

    source_key: str
    number: int
    reason: str


@dataclass(frozen=True)
class SyncMark:
    """How far live sync is in one generation: everything before ``position`` is applied."""

    epoch: int
    position: str = ""


@dataclass(frozen=True)
class Hit:
    """One search result; ``score`` is the cosine similarity."""

    source_key: str
    chunk_number: int
    score: float


@dataclass(frozen=True)
class Holds:
    """A filter: a field of the metadata is this value, or a list with it among its items."""

    field: str
    value: str | int | bool

    def __str__(self) -> str:
        return f"{self.field} = {self.value!r}"


@dataclass(frozen=True)
class Part:
    """A filter: a pseudo-random share of all documents, where no real filter leaves so few."""

    share: float
    seed: int

    def __str__(self) -> str:
        return f"{100 * self.share:g} % of the documents, drawn at random"


Where = Holds | Part


@dataclass(frozen=True)
class Effort:
    """How hard a search by the index looks; without one, as the workload's target says.

    ``strict``: where a filter makes the index look further, it keeps to the order of distance.
    """

    ef_search: int
    strict: bool = False


@dataclass(frozen=True)
class Stored:
    """Chunks as a store holds them: the fingerprint of each, and vectors of shape (chunks, d)."""

    chunks: Sequence[Chunk]
    fingerprints: Sequence[str]
    vectors: Vectors


def witnesses_of(chunks: Sequence[Chunk]) -> Witnesses:
    """Return chunks of ours, which have the generation's fingerprint, as witnesses."""
    return Witnesses(
        [c.source_key.encode("utf-8", "surrogatepass") for c in chunks],
        np.array([c.number for c in chunks], np.int64),
        np.ones(len(chunks), np.bool_),
        digest_words([c.digest for c in chunks]),
    )


class VectorStore(Protocol):
    """A generation in a vector store. Writing is fenced by the shard's epoch."""

    def problems(self) -> list[str]:
        """Return what stands in the way of writing here, each with its remedy."""

    def prepare(self) -> None:
        """Create the place for this generation; harmless when it is there."""

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        """Fence off all older epochs of this shard and return its checkpoint.

        Raises:
            StaleEpoch: a newer epoch has claimed it already.
        """

    def write(self, chunks: Sequence[Chunk], vectors: Vectors, checkpoint: Checkpoint) -> None:
        """Write a batch and its checkpoint; vectors have shape (chunks, dimensions).

        Raises:
            StaleEpoch: the shard was claimed by a newer epoch; nothing of the batch is kept.
        """

    def claim_sync(self, epoch: int) -> SyncMark:
        """Fence off all older epochs of live sync in this generation and return its mark.

        Raises:
            StaleEpoch: a newer epoch has claimed it already.
        """

    def replace(
        self, source_keys: Sequence[str], chunks: Sequence[Chunk], vectors: Vectors, mark: SyncMark
    ) -> None:
        """Make ``chunks`` all that there is of these documents, and move the mark with it.

        A document of which there is no chunk is gone afterwards. Idempotent. Shards must be loaded.

        Raises:
            StaleEpoch: a newer epoch of live sync has claimed the generation; nothing is changed.
        """

    def build_index(self) -> None:
        """Build what search needs, after the load; return when it serves every row.

        Raises:
            BackfillHalted: it cannot be built with the memory there is; names the setting.
        """

    def count(self) -> int:
        """Return the number of chunks in this generation."""

    def repeated(self) -> int:
        """Return how many chunks are there more than once, by source key and chunk number."""

    def digests(self, source_keys: Sequence[str]) -> Mapping[tuple[str, int], tuple[bytes, str]]:
        """Return (text digest, fingerprint) of every chunk of these source keys."""

    def scan(self, batch_rows: int) -> Iterator[tuple[list[Chunk], Vectors]]:
        """Yield every chunk with its vector as stored, in the store's own order of keys."""

    def witnesses(self, batch_rows: int) -> Iterator[Witnesses]:
        """Yield every chunk by key, number, digest and fingerprint, in any order, once a copy.

        Without texts and vectors, so that a whole generation goes by in seconds.
        """

    def readers(self) -> Mapping[str, int]:
        """Return how many chunks each group may read; ``NOBODY`` stands for no group at all."""

    def stored(self, source_keys: Sequence[str]) -> Stored:
        """Return every chunk of these documents with all that is stored of it, in any order."""

    def search(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None = None,
        effort: Effort | None = None,
    ) -> list[Hit]:
        """Return the k nearest chunks that ``groups`` may read and ``where`` leaves, by the index.

        Who is in no group sees nothing.
        """

    def search_exact(
        self, vector: Vectors, k: int, groups: Sequence[str], where: Where | None = None
    ) -> list[Hit]:
        """Return the same by looking at every chunk: no index takes part, so this is the truth."""

    def scans(self, groups: Sequence[str], where: Where | None = None) -> bool:
        """Return whether ``search`` finds by looking at every chunk, as far as the store tells."""

    def index_problems(self) -> list[str]:
        """Return why the index does not serve every chunk, each with its remedy.

        None when the workload asks for no index, or the store looks at every chunk by itself.
        """

    def values(self) -> Mapping[Holds, int]:
        """Return what metadata can be filtered by, with its number of chunks, the frequent first.

        Single values only (text, whole numbers, yes or no), and none that less than one chunk in
        2 000 has.
        """

    def matching(self, groups: Sequence[str], where: Where | None = None) -> int:
        """Return how many chunks these filters leave."""

    def visible(self, source_keys: Sequence[str], groups: Sequence[str]) -> set[tuple[str, int]]:
        """Return the chunks (source key, number) of these documents that ``groups`` may read.

        By the same filter that searches use.
        """

    def removal(self) -> list[str]:
        """Return what ``drop`` would run, to be shown before; empty when nothing is there."""

    def drop(self) -> None:
        """Delete this generation and its checkpoints. Cannot be undone.

        Raises:
            Refused: the target's pointer names it: it serves, is on trial, or a rollback returns
                to it.
        """


@runtime_checkable
class CopyingStore(VectorStore, Protocol):
    """A store that also takes the rows of a pgvector table as they are, without a model."""

    def copy_from(
        self,
        source: psycopg.Connection[Any],
        settings: PgvectorSource,
        high: Key | None,
        checkpoint: Checkpoint,
        batch_rows: int,
        set_aside: Callable[[Sequence[Rejected]], None],
        *,
        low: Key | None = None,
        on_batch: Callable[[Checkpoint], None] = lambda _: None,
    ) -> Checkpoint:
        """Copy a shard (low < key <= high) from its checkpoint on; return the last one, finished.

        Batch by batch, each with its checkpoint and fenced as ``write`` is. Rows that cannot be
        copied go to ``set_aside`` before their batch is written; ``on_batch`` is called after each
        checkpoint and may raise to stop.

        Raises:
            StaleEpoch: the shard was claimed by a newer epoch; its checkpoint stays.
        """
