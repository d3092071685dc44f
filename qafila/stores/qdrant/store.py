"""Qdrant 1.16 or newer: one collection a generation, the checkpoint after the confirmed points.

What is guaranteed, and what is not. Qdrant has no transaction over points and checkpoint, so order
and conditions do the work:

- A checkpoint never runs ahead of its points: every request waits until it is applied, and only
  then does the checkpoint move. A process that dies in between leaves points that the next one
  writes again. That is harmless: ids are derived from source key and chunk number, so a point
  written twice is one point.
- A worker whose shard was taken cannot move the checkpoint: the move is conditional on its epoch.
- Nor can it undo newer work. Every point carries the rank of its writer (the shard's epoch; live
  sync stands above all shards), and an update touches a point only where no higher rank has
  written. Whatever order requests arrive in, the highest rank stands.
- Not guaranteed: a condition cannot hold back a point that is not there. The request of at most
  256 points that was on its way when a shard was taken can still add points. The new owner writes
  the same ids over them, unless their rows were deleted from the source in between. Such a point
  is found by the comparison at the end, as one too many.
- Not guaranteed: a server that loses power may forget what it confirmed. The points are counted
  against the checkpoints before the index is built, and compared one by one afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
from qdrant_client import QdrantClient

from qafila.connections.qdrant_faults import asking_qdrant
from qafila.errors import BackfillHalted
from qafila.sources.port import Key
from qafila.stores.admission import limits_of
from qafila.stores.pgvector.raw import RawSource
from qafila.stores.port import (
    Checkpoint,
    Chunk,
    Part,
    Place,
    Rejected,
    SyncMark,
    Vectors,
)
from qafila.stores.qdrant.alias import require_no_alias
from qafila.stores.qdrant.filters import of_documents
from qafila.stores.qdrant.index import build_hnsw
from qafila.stores.qdrant.marks import Marks
from qafila.stores.qdrant.owner import ownership_problems, take_ownership
from qafila.stores.qdrant.points import PointWriter, batches
from qafila.stores.qdrant.raw import read_ahead
from qafila.stores.qdrant.schema import create_collection, problems_of
from qafila.stores.qdrant.search import PointSearch
from qafila.stores.qdrant.witness import PointWitness
from qafila.workload.corpus import PgvectorSource, QdrantTarget

_DELETED_AT_ONCE = 1000
_SYNC_RANK = 2**40  # live sync stands above every epoch of a shard


class QdrantStore(PointWitness, PointSearch):
    """One generation in a Qdrant collection; also in the client's local mode."""

    def __init__(
        self, client: QdrantClient, place: Place, settings: QdrantTarget | None = None
    ) -> None:
        self._client = client
        self._place = place
        self._settings = settings or QdrantTarget(kind="qdrant", block="unnamed")
        self._marks = Marks(client, place)
        self._points = PointWriter(client, place)
        self._drawn: dict[Part, list[str]] = {}

    def problems(self) -> list[str]:
        found = problems_of(self._client, self._place)
        return found or ownership_problems(self._client, self._place)

    def prepare(self) -> None:
        take_ownership(self._client, self._place)
        self._marks.prepare()
        take_ownership(self._client, self._place)  # the owner is a point among the marks
        create_collection(self._client, self._place)

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        take_ownership(self._client, self._place)
        return self._marks.claim(shard, epoch)

    def write(self, chunks: Sequence[Chunk], vectors: Vectors, checkpoint: Checkpoint) -> None:
        self._marks.require(checkpoint)
        for number, part in enumerate(batches(chunks, self._place.dimensions)):
            if number:  # asked anew before each request, so that one at most comes too late
                self._marks.require(checkpoint)
            self._points.upsert(chunks[part], vectors[part], checkpoint.epoch)
        self._marks.move(checkpoint)

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
        """Write as ``write`` does; the next batch is read while this one is written."""
        place, mark = self._place, checkpoint
        if mark.finished:
            return mark
        raw = RawSource(
            source,
            settings,
            fingerprint=place.fingerprint,
            generation=place.generation,
            vector_type="vector",
            limits=limits_of(self._settings, place.dimensions),
        )
        begin = mark.last_key or low
        with closing(read_ahead(raw, place, begin, high, batch_rows)) as ahead:
            for batch in ahead:
                if batch.passed.rejected:
                    set_aside(batch.passed.rejected)
                mark = batch.passed.moved(mark, low)
                self.write(batch.chunks, batch.vectors, mark)
                on_batch(mark)
        return mark

    def claim_sync(self, epoch: int) -> SyncMark:
        take_ownership(self._client, self._place)
        return self._marks.claim_sync(epoch)

    def replace(
        self, source_keys: Sequence[str], chunks: Sequence[Chunk], vectors: Vectors, mark: SyncMark
    ) -> None:
        self._marks.require_sync(mark)
        rank = _SYNC_RANK + mark.epoch
        new = {str(c.id) for c in chunks}
        gone = [i for i in self._ids_of(source_keys) if i not in new]
        for part in batches(chunks, self._place.dimensions):
            self._points.upsert(chunks[part], vectors[part], rank)
        for start in range(0, len(gone), _DELETED_AT_ONCE):
            self._points.delete(gone[start : start + _DELETED_AT_ONCE], rank)
        self._marks.move_sync(mark)

    def build_index(self) -> None:
        """Count the points against the checkpoints, then have them indexed and wait for it."""
        take_ownership(self._client, self._place)
        confirmed, synced = self._marks.confirmed_chunks()
        there = self.count()
        if there < confirmed and not synced:  # live sync may have deleted some, and rightly
            raise BackfillHalted(
                f"Qdrant confirmed {confirmed} points of {self._place.name} and holds {there}: "
                f"{confirmed - there} were accepted and are gone.",
                kept=f"{there} points and all checkpoints; no index was built.",
                remedy="see the server's log and its disk, then run the backfill again: "
                "its comparison names the rows, and loads them anew.",
            )
        build_hnsw(
            self._client,
            self._place.name,
            self._settings,
            wait=timedelta(minutes=self._settings.index_minutes),
        )

    def removal(self) -> list[str]:
        with asking_qdrant(f"looking for {self._place.name}"):
            names = (self._marks.collection, self._place.name)
            return [f"DELETE /collections/{n}" for n in names if self._client.collection_exists(n)]

    def drop(self) -> None:
        """Delete the collection and its checkpoints. Cannot be undone.

        Qdrant deletes under no condition: an alias that is set between the look and the request is
        not seen, and goes with the collection.

        Raises:
            Refused: an alias, of ours or not, names the collection, or it is another ledger's.
        """
        take_ownership(self._client, self._place)
        require_no_alias(self._client, self._place)
        with asking_qdrant(f"deleting {self._place.name}"):
            self._client.delete_collection(self._marks.collection)
            self._client.delete_collection(self._place.name)

    def _ids_of(self, source_keys: Sequence[str]) -> list[str]:
        pages = self._pages(of_documents(source_keys), with_payload=False)
        return [str(point.id) for points in pages for point in points]
