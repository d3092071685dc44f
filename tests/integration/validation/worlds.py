"""A generation of made-up rows with readers and metadata, large enough to be searched by an index.

Vectors lie on a subspace of a few dimensions, as those of real texts nearly do: an index finds
them well, unless it is made to look at too little.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg

from qafila.endpoints import open_store
from qafila.ledger.ledger import Generation, open_ledger
from qafila.sql import apply_schema
from qafila.stack import postgres
from qafila.stores.port import Checkpoint, Chunk, Vectors, VectorStore
from qafila.validation.judged import JudgedQuery
from qafila.validation.options import LadderOptions
from qafila.validation.probes import Probes
from qafila.validation.questions import Arm
from qafila.validation.suite import Climb
from qafila.workload.fingerprint import text_digest
from qafila.workload.model import Workload
from tests.support.corpus import demo_workload, ready_generation
from tests.support.demo_services import ledger_of

DIMENSIONS, ROWS = 64, 12_000
_LATENT = 28


@dataclass
class World:
    """A workload whose generation is filled; ``source`` holds the same rows and their readers."""

    ledger_url: str
    source_url: str
    target_url: str
    workload: Workload
    generation: Generation

    def target(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.target_url, autocommit=True)

    def source(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.source_url, autocommit=True)

    def ledger(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.ledger_url, autocommit=True)

    @property
    def table(self) -> str:
        return f"qafila.chunk_aws_docs_search_g{self.generation.number}"

    def climb(
        self,
        *,
        queries: int = 60,
        workload: Workload | None = None,
        seen_as: Callable[[VectorStore], VectorStore] | None = None,
        candidate: Callable[[], Any] | None = None,
        **options: Any,
    ) -> Climb:
        """Return a climb whose probes are made up as well: no model takes part."""
        asked = [JudgedQuery(f"q{n:03}", f"question {n}", {"k000000": 1.0}) for n in range(queries)]
        climb = Climb(
            workload or self.workload,
            self.generation,
            LadderOptions(recall_queries=max(10, queries), **options),
            asked,
            nobody,
            candidate or nobody,
            seen_as=seen_as,
        )
        climb.probes = Probes(asked, some_vectors(queries, seed=99))  # type: ignore[misc]
        return climb

    def with_target(self, **changes: Any) -> Workload:
        """Return the workload with another target."""
        target = self.workload.corpus.target.model_copy(update=changes)
        corpus = self.workload.corpus.model_copy(update={"target": target})
        return self.workload.model_copy(update={"corpus": corpus})


@contextmanager
def nobody() -> Iterator[Arm]:
    raise AssertionError("nobody is asked here")
    yield


def some_vectors(rows: int, seed: int) -> Vectors:
    """Return unit vectors of shape (rows, 64) of one family, whatever the seed."""
    base = np.random.default_rng(1).standard_normal((_LATENT, DIMENSIONS))
    raw = np.random.default_rng(seed).standard_normal((rows, _LATENT)) @ base
    unit: Vectors = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    return unit


def readers_of(number: int) -> list[str]:
    """Return who may read a row: everyone, but for one in ten (hr) and one in a hundred (ops)."""
    return ["ops"] if number % 100 == 7 else ["hr"] if number % 10 == 3 else ["everyone"]


def make_world(
    ledger_url: str, source_url: str, target_url: str, *, rows: int = ROWS, **target: Any
) -> World:
    """Fill a source and a generation with the same rows."""
    corpus = {
        "embedder": {"kind": "wordllama", "dimensions": DIMENSIONS},
        "target": {"kind": "pgvector", "block": "demo-target", "full_text": "none", **target},
    }
    workload = demo_workload(**corpus)
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute(
            "CREATE TABLE operation (operation_id text PRIMARY KEY, title text, body text,"
            " readers text[] NOT NULL)"
        )
        with source.cursor() as cursor, cursor.copy("COPY operation FROM STDIN") as copy:
            for n in range(rows):
                copy.write_row((f"k{n:06}", f"title {n}", f"body {n}", readers_of(n)))
    with ledger_of(ledger_url), open_ledger() as ledger:
        generation = ready_generation(ledger, workload, source_url, target_url)
        with open_store(ledger, workload, generation) as store:
            fill(store, made_rows(rows), some_vectors(rows, seed=2))
    return World(ledger_url, source_url, target_url, workload, generation)


def fresh_world(server: postgres.Postgres, *, rows: int = ROWS, **target: Any) -> World:
    """Fill databases of their own."""
    mark = uuid.uuid4().hex[:8]
    source, target_url, ledger = (
        postgres.ensure_database(server, f"{name}_{mark}") for name in ("src", "tgt", "led")
    )
    for url, schema in ((ledger, "ledger"), (target_url, "target")):
        with psycopg.connect(url) as connection:
            apply_schema(connection, schema)
    return make_world(ledger, source, target_url, rows=rows, **target)


def made_rows(rows: int) -> list[Chunk]:
    """Return the chunks that the source's rows become."""
    texts = [f"title {n}\nbody {n}" for n in range(rows)]
    return [
        Chunk(
            f"k{n:06}",
            0,
            0,
            len(t),
            f"title {n}",
            t,
            text_digest(t),
            readers_of(n),
            {"kind": "rare" if n % 1000 == 5 else "common"},
        )
        for n, t in enumerate(texts)
    ]


def fill(store: VectorStore, chunks: Sequence[Chunk], vectors: Vectors) -> None:
    """Write rows and build the index."""
    store.prepare()
    store.claim(0, 1)
    last = Checkpoint(0, 1, [chunks[-1].source_key], len(chunks), len(chunks), True)
    store.write(chunks, vectors, last)
    store.build_index()
