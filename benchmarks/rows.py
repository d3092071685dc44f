"""Rows for the loading benchmarks: real texts in three languages, unit vectors, a key each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import psycopg

from benchmarks.setting import Setting, operations_of_the_demo
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place, Vectors
from qafila.workload.corpus import PgvectorTarget

CHARACTERS = 400
_FRENCH = (
    "La caravane traverse le désert à l'aube, chargée d'étoffes et d'épices ; le guide connaît "
    "chaque puits, et personne n'est laissé derrière. "
)
_ARABIC = "تسير القافلة مع الفجر، ويعرف الدليل كل بئر في الطريق، ولا يُترك أحد وراءها. "


@dataclass(frozen=True)
class Rows:
    """Chunks in key order with their vectors."""

    chunks: Sequence[Chunk]
    vectors: Vectors


def make_rows(first: int, rows: int, dimensions: int, seed: int) -> Rows:
    """Return rows that are the same for the same arguments; seven of ten texts are English."""
    operations = operations_of_the_demo()
    chunks = []
    for n in range(first, first + rows):
        o = operations[n % len(operations)]
        said = {7: _FRENCH, 8: _FRENCH, 9: _ARABIC}.get(n % 10, "")
        text = (said + o.body + " " + said * 3)[: CHARACTERS - 10] + f" {n:08}"
        chunks.append(
            Chunk(
                f"doc-{n:09}",
                0,
                0,
                len(text),
                o.title,
                text,
                hashlib.sha256(text.encode()).digest(),
                ["everyone"] if n % 3 else ["staff", "editors"],
                {"service": o.title.split(" ")[0], "page": n},
            )
        )
    raw = np.random.default_rng(seed + first).standard_normal((rows, dimensions), np.float32)
    return Rows(chunks, raw / np.linalg.norm(raw, axis=1, keepdims=True))


@contextmanager
def new_store(
    here: Setting, generation: int, dimensions: int, **how: object
) -> Iterator[PgvectorStore]:
    """Open an empty generation table, and drop it at the end."""
    with here.target() as target:
        store = PgvectorStore(target, place(generation, dimensions), target_settings(**how))
        store.drop()
        store.prepare()
        target.execute("CHECKPOINT")
        try:
            yield store
        finally:
            store.drop()


def target_settings(**how: object) -> PgvectorTarget:
    """Return the settings of a target without lexemes, unless ``how`` says otherwise."""
    return PgvectorTarget.model_validate(
        {"kind": "pgvector", "block": "bench", "full_text": "none", **how}
    )


def place(generation: int, dimensions: int) -> Place:
    """Return where a benchmark's generation is."""
    return Place("bench", generation, "f" * 16, dimensions)


def load(store: PgvectorStore, rows: Rows, batch_rows: int, *, shard: int = 0) -> None:
    """Load all rows through the store's own write path: claim, batches with checkpoints, end."""
    mark = store.claim(shard, 1)
    total = len(rows.chunks)
    for begin in range(0, total, batch_rows):
        end = min(begin + batch_rows, total)
        chunks = rows.chunks[begin:end]
        mark = Checkpoint(shard, 1, [chunks[-1].source_key], end, end, end == total)
        store.write(chunks, rows.vectors[begin:end], mark)


def count(connection: psycopg.Connection[object], table: str) -> int:
    """Count the rows of a table that we named ourselves."""
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(str(row[0]))
