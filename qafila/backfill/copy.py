"""Copy a shard of an existing pgvector table as it is, when each of its vectors may be copied."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from qafila.backfill.claims import Shard, Spent
from qafila.backfill.generations import model_of
from qafila.backfill.load import BEAT_SECONDS, Loaded, beat, put_dead_letter
from qafila.connections.postgres import connect_postgres
from qafila.endpoints import Reach
from qafila.ledger.ledger import Connection, Generation
from qafila.stores.port import Checkpoint, CopyingStore, Rejected, VectorStore
from qafila.workload.corpus import PgvectorSource
from qafila.workload.fingerprint import VectorPart
from qafila.workload.model import Workload


class Copier:
    """Copies shards; the caller owns the connection to the source."""

    def __init__(self, source: psycopg.Connection[Any], settings: PgvectorSource) -> None:
        self._source, self._settings = source, settings

    def load(
        self,
        ledger: Connection,
        generation: Generation,
        shard: Shard,
        store: VectorStore,
        *,
        batch_rows: int,
        check: Callable[[], None],
    ) -> Loaded:
        """Copy a claimed shard from its checkpoint to its end.

        Raises:
            StaleEpoch: another worker claimed the shard meanwhile; what it committed stays.
        """
        assert isinstance(store, CopyingStore)
        started = time.perf_counter()
        first = noted = store.claim(shard.number, shard.epoch)
        beaten, dead = started, 0

        def set_aside(rejected: Sequence[Rejected]) -> None:
            nonlocal dead
            dead += len(rejected)
            for row in rejected:
                put_dead_letter(ledger, generation, row.source_key, row.number, row.reason)

        def on_batch(mark: Checkpoint) -> None:
            nonlocal beaten, noted
            if time.perf_counter() - beaten > BEAT_SECONDS:
                beat(ledger, generation, mark, Spent(copied=mark.chunks - noted.chunks))
                beaten, noted = time.perf_counter(), mark
            if not mark.finished:
                check()

        check()
        mark = store.copy_from(
            self._source,
            self._settings,
            shard.high_key,
            first,
            batch_rows,
            set_aside,
            low=shard.low_key,
            on_batch=on_batch,
        )
        beat(ledger, generation, mark, Spent(copied=mark.chunks - noted.chunks))
        return Loaded.between(first, mark, dead, time.perf_counter() - started)


@contextmanager
def open_copier(workload: Workload, reach: Reach, store: VectorStore) -> Iterator[Copier | None]:
    """Open a copier when every row of the source may be copied as it is, else yield None.

    That is: documents taken whole, vectors by the very model that is wanted, none missing, all of
    the wanted length. Rows that are none of it need the model, and go the long way, all of them.
    """
    corpus = workload.corpus
    source = corpus.source
    if (
        not isinstance(source, PgvectorSource)
        or not isinstance(store, CopyingStore)
        or corpus.chunking.method != "whole"
        or corpus.bridge is not None
        or reach.source is None
    ):
        yield None
        return
    model, revision = model_of(corpus.embedder)
    dimensions = corpus.embedder.dimensions
    wanted = VectorPart(model, revision, dimensions, True)
    origin = source.vectors
    if wanted != VectorPart(origin.model, origin.revision, dimensions, origin.normalised):
        yield None
        return
    with connect_postgres(**reach.source) as database:
        yield Copier(database, source) if _all_fit(database, source, dimensions) else None


def _all_fit(database: psycopg.Connection[Any], source: PgvectorSource, dimensions: int) -> bool:
    query = sql.SQL(
        "SELECT 1 FROM {table} WHERE {embedding} IS NULL"
        " OR vector_dims({embedding}) <> {dimensions} LIMIT 1"
    ).format(
        table=sql.Identifier(*source.table.split(".")),
        embedding=sql.Identifier(source.embedding),
        dimensions=sql.Literal(dimensions),
    )
    return database.execute(query).fetchone() is None
