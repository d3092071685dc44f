"""A small generation of real texts with the real model's vectors, and a hand that spoils rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks.setting import operations_of_the_demo
from blocks import EmbeddingEndpoint, QdrantServer
from qafila.endpoints import embedder_of, open_store
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import Generation, open_ledger
from qafila.sql import apply_schema
from qafila.stack import postgres
from qafila.stores.port import Chunk, SyncMark, VectorStore
from qafila.validation.model import Finding
from qafila.validation.options import LadderOptions
from qafila.validation.suite import Check, Climb
from qafila.workload.corpus import WordLlamaEmbedder
from qafila.workload.model import Workload
from qafila.workload.verdict import Verdict
from tasks import embedding_backfill as steps
from tests.integration.validation.worlds import nobody
from tests.support.corpus import demo_workload, ready_generation
from tests.support.demo_services import ledger_of
from tests.support.loads import load_all
from tests.support.planning import plan_here

ROWS = 300
WINDOW = {"method": "window", "max_characters": 200, "overlap_characters": 20}
Change = Callable[[Chunk, Any], tuple[Chunk, Any]]
MODEL = WordLlamaEmbedder(kind="wordllama")


@dataclass
class Filled:
    """A workload whose generation was filled by the backfill's own steps."""

    ledger_url: str
    source_url: str
    target_url: str
    workload: Workload
    generation: Generation
    epoch: int = 0

    @contextmanager
    def store(self) -> Iterator[VectorStore]:
        with (
            ledger_of(self.ledger_url),
            open_ledger() as ledger,
            open_store(ledger, self.workload, self.generation) as store,
        ):
            yield store

    def source(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.source_url, autocommit=True)

    def target(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.target_url, autocommit=True)

    @property
    def table(self) -> str:
        return f"qafila.chunk_aws_docs_search_g{self.generation.number}"

    def find(self, check: Check, **options: Any) -> Finding:
        """Climb one rung."""
        climb = Climb(self.workload, self.generation, LadderOptions(**options), [], nobody, nobody)
        with ledger_of(self.ledger_url):
            found = check(climb)
        assert isinstance(found, Finding)
        return found

    def assert_passes(self, check: Check, **options: Any) -> Finding:
        found = self.find(check, **options)
        assert found.judgement.verdict is Verdict.PASS, found.judgement.sentence
        return found

    def assert_fails(self, check: Check, *said: str, **options: Any) -> Finding:
        found = self.find(check, **options)
        assert found.judgement.verdict is Verdict.FAIL, found.judgement.sentence
        for words in said:
            assert words in found.judgement.sentence, found.judgement.sentence
        return found

    @contextmanager
    def spoilt(self, keys: Sequence[str], change: Change) -> Iterator[None]:
        """Change every chunk of some documents in the store for the block, then mend them."""
        with self.store() as store:
            held = store.stored(keys)
        made = [
            change(replace(c), v.copy()) for c, v in zip(held.chunks, held.vectors, strict=True)
        ]
        self.put(keys, [c for c, _ in made], np.array([v for _, v in made], np.float32))
        try:
            yield
        finally:
            self.put(keys, held.chunks, held.vectors)

    def put(self, keys: Sequence[str], chunks: Sequence[Chunk], vectors: Any) -> None:
        """Make these chunks all there is of some documents."""
        with self.store() as store:
            self.epoch = max(self.epoch, 100) + 1
            store.claim_sync(self.epoch)
            store.replace(keys, chunks, vectors, SyncMark(self.epoch, "x"))


def embed(texts: Sequence[str], **settings: Any) -> Any:
    """Return vectors of the model that fills these generations, or of a setting of it."""
    return embedder_of(MODEL.model_copy(update=settings)).embed(texts)


def new_filled(
    server: postgres.Postgres,
    folder: Path | None = None,
    *,
    rows: int = ROWS,
    provider: EmbeddingEndpoint | None = None,
    **corpus: Any,
) -> Filled:
    """Fill databases of their own; with a folder, the target is Qdrant's local mode in it."""
    mark = uuid.uuid4().hex[:8]
    source_url, target_url, ledger_url = (
        postgres.ensure_database(server, f"{name}_{mark}") for name in ("src", "tgt", "led")
    )
    for url, schema in ((ledger_url, "ledger"), (target_url, "target")):
        with psycopg.connect(url) as connection:
            apply_schema(connection, schema)  # type: ignore[arg-type]
    target: dict[str, Any] = {"kind": "pgvector", "block": "demo-target", "full_text": "none"}
    if folder is not None:
        target = {"kind": "qdrant", "block": "points"}
    source: dict[str, Any] = {
        "kind": "postgres",
        "block": "demo-source",
        "table": "operation",
        "key": ["operation_id"],
        "text": ["title", "body"],
        "acl": "readers",
        "metadata": ["page", "score", "language", "tags"],
    }
    workload = demo_workload(**{"source": source, "target": target, **corpus})
    make_table(source_url, rows)
    with ledger_of(ledger_url), open_ledger() as ledger:
        if provider is not None:
            record_connection(ledger, "provider", provider)
        if folder is not None:
            record_connection(ledger, "points", QdrantServer(path=str(folder)))
        generation = ready_generation(ledger, workload, source_url, target_url)
        fill(generation)
    return Filled(ledger_url, source_url, target_url, workload, generation)


def fill(generation: Generation) -> None:
    """Load all shards and build the index, as the backfill does."""
    steps.apply_plan.fn(generation, *plan_here(generation, 100, 1))
    load_all(generation, 100)
    steps.build_index.fn(generation)


def make_table(url: str, rows: int) -> None:
    """Create the source: the demo's first texts, with readers and metadata of every JSON type."""
    operations = operations_of_the_demo()
    with psycopg.connect(url, autocommit=True) as source:
        source.execute(
            "CREATE TABLE operation (operation_id text PRIMARY KEY, title text, body text,"
            " readers text[] NOT NULL, page int, score float8, language text, tags jsonb)"
        )
        with source.cursor().copy("COPY operation FROM STDIN") as copy:
            for n, o in enumerate(operations[:rows]):
                copy.write_row(
                    (
                        f"op-{n:04}",
                        o.title,
                        f"Nº {n}: {o.body}",
                        readers_of(n),
                        n,
                        1e22 if n % 7 == 0 else n / 4,
                        None if n % 5 == 0 else "fr",
                        '{"a": [1, 2.50, null, true, {"b": "é"}]}',
                    )
                )


def readers_of(n: int) -> list[str]:
    return [] if n == 11 else ["staff"] if n % 3 == 0 else ["editors", "staff"]
