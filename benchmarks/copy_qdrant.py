"""Measure the copy of a pgvector generation into Qdrant against a bare batched upsert.

    python -m benchmarks.copy_qdrant --rows 100000

Part of ``qafila bench copy``. Rows and vectors are read from a pgvector table, claimed shard by
shard, digested, written with the rank of their writer, and every batch moves its checkpoint by a
conditional update that is read back; batches are as large as a backfill makes them by itself.
``ratio_qdrant_…`` is of what a worker does with such a table (``Copier``), ``ratio_by_rows_…`` of
the loop that serves every source. The floor gets the very same points ready in memory and does
nothing but ``upsert(wait=True)``, 256 at a time, into a collection of the same shape. Both run in
every round, each first in turn; a ratio is the median of those of the rounds.

Two engines, each in process: ``local`` is the client's local mode (NumPy and dictionaries),
``edge`` Qdrant's own engine with its write-ahead log, without REST, where qdrant-edge-py is
installed. A real server by QAFILA_TEST_QDRANT_URL is the third, ``server``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psycopg
from qdrant_client import models

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import NotMeasured, show
from benchmarks.setting import Setting, ready, setting
from blocks import QdrantServer
from qafila.backfill.claims import Shard, claim_shard, put_shards
from qafila.backfill.copy import Copier
from qafila.backfill.load import load_claimed
from qafila.backfill.plan import batch_rows_for
from qafila.backfill.vectors import Vectorise
from qafila.connections.qdrant import connect_qdrant
from qafila.embedders.wordllama import WordLlamaEmbedder
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import Generation
from qafila.sources.pgvector import PgvectorSource
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place, Vectors, VectorStore
from qafila.stores.qdrant.points import payload_of
from qafila.stores.qdrant.store import QdrantStore
from qafila.workload.corpus import PgvectorSource as SourceSettings
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.fingerprint import rows_digest, text_digest
from qafila.workload.model import Workload

DIMENSIONS = 256
_BATCH, _WRITTEN_ROWS, _SHARD_ROWS, _ROUNDS = 256, 5_000, 10_000, 3
_EDGE_INSTALLED = importlib.util.find_spec("qdrant_edge") is not None
_FILLED = Place("bench-origin", 1, "0" * 16, DIMENSIONS)


def main() -> None:
    """Measure in a folder of its own, which is deleted at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    figures = measure(given.rows, given.seed)
    raw = figures.pop("raw_seconds")
    show("copy-qdrant", figures, seed=given.seed, raw_seconds=raw, notes=figures.pop("notes"))


def measure(rows: int, seed: int) -> dict[str, Any]:
    """Return the ratio of each engine, whether all digests agree, and every timing."""
    found: dict[str, Any] = {"rows": rows, "dimensions": DIMENSIONS}
    raw: dict[str, list[float]] = {}
    equal = True
    with setting() as here:
        chunks, vectors = _points(rows, seed)
        _fill(here, chunks, vectors)
        expected = _digest(_read_back(here))
        what = _workload(here)
        for name, opened in _engines().items():
            with opened() as client:
                bare, ours, by_rows, digests = _side_by_side(here, client, what, chunks, vectors)
            raw |= {f"{name}_bare": bare, f"{name}_copy": ours, f"{name}_by_rows": by_rows}
            equal = equal and set(digests) == {expected}
            found[f"ratio_qdrant_{name}"] = _ratio(bare, ours)
            found[f"bare_{name}_points_per_s"] = round(rows / median(bare))
            found[f"copy_{name}_points_per_s"] = round(rows / median(ours))
            found[f"ratio_by_rows_{name}"] = _ratio(bare[-1:], by_rows)
    found["ratio_qdrant"] = found.get("ratio_qdrant_server", found["ratio_qdrant_local"])
    return {
        **found,
        "digests_equal": equal,
        "raw_seconds": raw,
        "notes": {
            "ratio_qdrant": "seconds of the bare upsert over seconds of the copy beside it",
            "local": "qdrant-client's local mode in this process; no index is built",
            "edge": "Qdrant's engine in this process (qdrant-edge), without REST or optimizer"
            if _EDGE_INSTALLED
            else "not measured: qdrant-edge-py is not installed: pip install qdrant-edge-py",
        },
    }


def _side_by_side(
    here: Setting,
    client: Any,
    what: tuple[Workload, Generation],
    chunks: list[Chunk],
    vectors: Vectors,
) -> tuple[list[float], list[float], list[float], list[str]]:
    bare, ours, by_rows, digests = [], [], [], []

    def copy(way: Way, seconds: list[float]) -> None:
        spent, digest = _copy(here, client, *what, way)
        seconds.append(spent)
        digests.append(digest)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(?i:local).*", category=UserWarning)
        for number in range(_ROUNDS):
            if number % 2:
                copy(_direct, ours)
            bare.append(_bare(client, chunks, vectors))
            if not number % 2:
                copy(_direct, ours)
        copy(_by_rows, by_rows)
    return bare, ours, by_rows, digests


def _ratio(bare: Sequence[float], ours: Sequence[float]) -> float:
    return round(median([b / o for b, o in zip(bare, ours, strict=True)]), 3)


def _bare(client: Any, chunks: list[Chunk], vectors: Vectors) -> float:
    """Return the seconds of upserts alone."""
    place = Place(f"bench-bare-{uuid.uuid4().hex[:8]}", 1, "0" * 16, DIMENSIONS)
    store = QdrantStore(client, place)
    store.prepare()
    ids = [str(c.id) for c in chunks]
    payloads = [payload_of(c, place, 1) for c in chunks]
    began = time.perf_counter()
    for start in range(0, len(ids), _BATCH):
        part = slice(start, start + _BATCH)
        batch = models.Batch(ids=ids[part], vectors=vectors[part].tolist(), payloads=payloads[part])
        client.upsert(place.name, batch, wait=True)
    seconds = time.perf_counter() - began
    store.drop()
    return seconds


Way = Callable[..., None]


def _copy(
    here: Setting, client: Any, workload: Workload, generation: Generation, way: Way
) -> tuple[float, str]:
    """Return the seconds of one way to copy, and the digest of what arrived."""
    # a collection of its own, on a server that others use
    place = Place(f"bench-{uuid.uuid4().hex[:8]}", 1, generation.fingerprint, DIMENSIONS)
    store = QdrantStore(client, place)
    store.prepare()
    with here.ledger() as ledger, here.target() as database:
        source = PgvectorSource(database, _source())
        began = time.perf_counter()
        ranges = source.freeze(_SHARD_ROWS)
        put_shards(ledger, generation, ranges)
        while (shard := claim_shard(ledger, generation)) is not None:
            way(ledger, database, workload, generation, shard, store)
        seconds = time.perf_counter() - began
        digest = _digest(_rows_of(store))
        ledger.execute("DELETE FROM qafila.shard")
    store.drop()
    return seconds, digest


def _direct(
    ledger: Any,
    database: Any,
    workload: Workload,
    generation: Generation,
    shard: Shard,
    store: QdrantStore,
) -> None:
    """Copy a shard as a worker does with a table whose rows may all be copied."""
    loaded = Copier(database, _source()).load(
        ledger,
        generation,
        shard,
        store,
        batch_rows=batch_rows_for(workload.corpus.embedder),
        check=lambda: None,
    )
    if loaded.dead_letters:
        raise NotMeasured(f"{loaded.dead_letters} rows were set aside")


def _by_rows(
    ledger: Any,
    database: Any,
    workload: Workload,
    generation: Generation,
    shard: Shard,
    store: QdrantStore,
) -> None:
    """Copy a shard as a row of any source is loaded; the model is there and makes nothing."""
    load_claimed(
        ledger,
        workload,
        generation,
        shard,
        PgvectorSource(database, _source()),
        store,
        Vectorise(workload, _model()),
        batch_rows=batch_rows_for(workload.corpus.embedder),
        check=lambda: None,
    )


@cache
def _model() -> WordLlamaEmbedder:
    return WordLlamaEmbedder(DIMENSIONS)


def _workload(here: Setting) -> tuple[Workload, Generation]:
    with here.ledger() as ledger:
        record_connection(ledger, "bench-qdrant", QdrantServer(path=":memory:"))
    return ready(
        here, source=_source().model_dump(), target={"kind": "qdrant", "block": "bench-qdrant"}
    )


def _source() -> SourceSettings:
    model = _model()
    origin = {"model": model.model, "revision": model.revision, "normalised": True}
    return SourceSettings.model_validate(
        {
            "kind": "pgvector",
            "block": "demo-target",
            "table": f"qafila.{_FILLED.name}",
            "title": "title",
            "acl": "acl",
            "metadata": ["metadata"],
            "vectors": origin,
        }
    )


def _points(rows: int, seed: int) -> tuple[list[Chunk], Vectors]:
    """Return chunks of some 400 characters, and a unit vector for each."""
    chance = np.random.default_rng(seed)
    vectors = chance.normal(size=(rows, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    words = chance.integers(0, 1 << 32, size=(rows, 40))
    chunks = []
    for n in range(rows):
        text = " ".join(f"{w:09x}" for w in words[n])
        chunks.append(
            Chunk(f"doc-{n:08}", 0, 0, len(text), "", text, text_digest(text), ["everyone"])
        )
    return chunks, vectors


def _fill(here: Setting, chunks: list[Chunk], vectors: Vectors) -> None:
    settings = PgvectorTarget(kind="pgvector", block="demo-target", index="none", full_text="none")
    with here.target() as database:
        store = PgvectorStore(database, _FILLED, settings)
        store.prepare()
        store.claim(0, 1)
        for start in range(0, len(chunks), _WRITTEN_ROWS):
            part = slice(start, start + _WRITTEN_ROWS)
            done = min(start + _WRITTEN_ROWS, len(chunks))
            mark = Checkpoint(0, 1, [chunks[done - 1].source_key], done, done, done == len(chunks))
            store.write(chunks[part], vectors[part], mark)
        store.build_index()


Row = tuple[str, int, bytes, bytes]


def _read_back(here: Setting) -> Iterator[Row]:
    settings = PgvectorTarget(kind="pgvector", block="demo-target", index="none", full_text="none")
    with psycopg.connect(here.target_url, autocommit=True) as database:
        yield from _rows_of(PgvectorStore(database, _FILLED, settings))


def _rows_of(store: VectorStore) -> Iterator[Row]:
    for chunks, vectors in store.scan(20_000):
        for chunk, vector in zip(chunks, vectors.astype("<f4"), strict=True):
            yield chunk.source_key, chunk.number, text_digest(chunk.text), vector.tobytes()


def _digest(rows: Iterator[Row]) -> str:
    return rows_digest(rows)


def _engines() -> dict[str, Callable[[], Any]]:
    engines: dict[str, Callable[[], Any]] = {
        "local": lambda: closing(connect_qdrant(path=":memory:")),
    }
    if _EDGE_INSTALLED:
        engines["edge"] = _edge
    if url := os.environ.get("QAFILA_TEST_QDRANT_URL"):
        engines["server"] = lambda: closing(connect_qdrant(url))
    return engines


@contextmanager
def _edge() -> Iterator[Any]:
    from tests.support.qdrant_edge import EdgeClient

    with closing(EdgeClient()) as client:
        yield client


if __name__ == "__main__":
    main()
