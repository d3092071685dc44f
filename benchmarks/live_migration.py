"""What ``qafila bench live`` does to the application: all calls of the product stand here."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

from benchmarks.live_application import Layout
from benchmarks.setting import Setting, ready
from qafila.core.corpus import WordLlamaEmbedder
from qafila.core.fingerprint import text_digest
from qafila.core.phases import Event
from qafila.core.workload import Workload
from qafila.demo.corpus import read_corpus
from tasks import backfill
from tasks.alias import move_alias, read_alias, return_alias
from tasks.column_swap import list_columns
from tasks.engine.loading import chunks_of
from tasks.engine.supervisor import run_worker
from tasks.engine.worker import Assignment
from tasks.ledger import Generation, move_phase
from tasks.opening import embedder_of, open_source, open_store, reach_of
from tasks.stores.column import ColumnStore
from tasks.stores.column_table import table_of
from tasks.stores.port import Checkpoint, Chunk, Place, SyncMark, Vectors, VectorStore
from tasks.verifying import verify_generation

OLD = WordLlamaEmbedder(kind="wordllama", dimensions=64)
NEW = WordLlamaEmbedder(kind="wordllama", dimensions=256)
BATCH_ROWS = 256
_POOL = 2000
_SETUP_BATCH = 5000
_PROMOTED = (Event.ALL_LOADED, Event.LADDER_PASS, Event.DRILL_PASS, Event.FIRST_WEIGHT,
             Event.BAKE_PASS)  # fmt: skip


@dataclass
class Stage:
    """The application's database before we start: searched by the old model's vectors."""

    layout: Layout
    workload: Workload
    generation: Generation  # of the new model, to be filled
    old: Generation | None  # None: the column that was there before us
    tables: dict[str, str] = field(default_factory=dict)

    @property
    def new(self) -> int:
        return self.generation.number


def make_pool(path: Path) -> Path:
    """Write the texts that the application writes, with their vectors by both models."""
    texts = [f"{o.title}: {o.body[:150]}" for o in read_corpus()[0][:_POOL]]
    np.savez(
        path, texts=texts, old=embedder_of(OLD).embed(texts), new=embedder_of(NEW).embed(texts)
    )
    return path


@cache
def _articles(rows: int) -> tuple[list[str], Vectors]:
    """Return the texts that are there at first, each different, and their old vectors."""
    operations = read_corpus()[0]
    texts = [
        f"{o.title} {n}. {o.body[:150]}"
        for n in range(1, rows + 1)
        for o in [operations[n % len(operations)]]
    ]
    embedder = embedder_of(OLD)
    parts = [embedder.embed(texts[n : n + 64]) for n in range(0, rows, 64)]
    return texts, np.concatenate(parts)


def make_ready(here: Setting, layout: Layout, rows: int) -> Stage:
    """Fill the application's table and its old index; open the generation that will be filled."""
    texts, vectors = _articles(rows)
    with here.target() as database:
        register_vector(database)
        own = ", embedding vector(64) NOT NULL" if layout == "column" else ""
        database.execute(f"CREATE TABLE article (id bigint PRIMARY KEY, body text NOT NULL{own})")
        columns = "id, body, embedding" if own else "id, body"
        with database.cursor().copy(
            f"COPY article ({columns}) FROM STDIN (FORMAT BINARY)"
        ) as copy:  # fmt: skip
            copy.set_types(["int8", "text", "vector"][: 3 if own else 2])
            for n, (text, vector) in enumerate(zip(texts, vectors, strict=True), 1):
                copy.write_row((n, text, Vector(vector)) if own else (n, text))
        if own:
            database.execute("SET maintenance_work_mem = '256MB'")
            database.execute(
                "CREATE INDEX article_embedding ON article USING hnsw (embedding vector_cosine_ops)"
            )
        database.execute("VACUUM ANALYZE article")
    source = {"kind": "postgres", "block": "demo-target", "table": "article", "key": ["id"],
              "text": ["body"]}  # fmt: skip
    target: dict[str, Any] = {"kind": "pgvector", "block": "demo-target", "full_text": "none"}
    if layout == "column":
        target["column"] = {"table": "article", "key": ["id"], "column": "embedding"}
        workload, generation = ready(here, source=source, target=target, embedder=NEW.model_dump())
        return Stage(layout, workload, generation, None)
    workload, old = ready(here, source=source, target=target, embedder=OLD.model_dump())
    with here.ledger() as ledger, open_store(ledger, workload, old) as store:
        _fill(store, texts, vectors)
        for event in _PROMOTED:
            old = move_phase(ledger, old, event)
    with here.target() as database:
        move_alias(database, workload.name, old.number, 0)
    workload, new = ready(here, source=source, target=target, embedder=NEW.model_dump())
    names = {str(g.number): _place(workload, g).name for g in (old, new)}
    return Stage(layout, workload, new, old, names)


def _fill(store: VectorStore, texts: Sequence[str], vectors: Vectors) -> None:
    store.prepare()
    store.claim(0, 1)
    for start in range(0, len(texts), _SETUP_BATCH):
        part = [
            Chunk(str(n), 0, 0, len(t), "", t, text_digest(t), ["everyone"])
            for n, t in enumerate(texts[start : start + _SETUP_BATCH], start + 1)
        ]
        mark = Checkpoint(0, 1, [part[-1].source_key], start + len(part), start + len(part))
        store.write(part, vectors[start : start + _SETUP_BATCH], mark)
    store.build_index()


def _place(workload: Workload, generation: Generation) -> Place:
    return Place(workload.name, generation.number, generation.fingerprint, 0)


@dataclass
class Feed:
    """One generation that is kept in step, and the model that it was made with."""

    name: str
    store: VectorStore
    model: WordLlamaEmbedder


class Moving:
    """The migration, step by step."""

    def __init__(self, here: Setting, stage: Stage, feeds: list[Feed], source: Any) -> None:
        self._here = here
        self._stage = stage
        self._feeds = feeds
        self._source = source
        self._epoch = 1
        self.loaded = threading.Event()

    def load(self) -> None:
        """Plan, freeze and load, by one worker process."""
        generation = self._stage.generation
        plan, ranges = backfill.plan_load.fn(generation.workload, generation, 10_000, 1)
        backfill.apply_plan.fn(generation, plan, ranges)
        with self._here.ledger() as ledger:
            reach = reach_of(ledger, self._stage.workload)
        run_worker(Assignment(generation.workload, generation.number, BATCH_ROWS, led=False), reach)
        self.loaded.set()

    def build_index(self) -> None:
        backfill.build_index.fn(self._stage.generation)

    def follow(self, keys: Sequence[str]) -> None:
        """Bring these rows to every generation that is alive. Stands in for live sync."""
        for start in range(0, len(keys), BATCH_ROWS):
            part = keys[start : start + BATCH_ROWS]
            for feed in self._feeds:
                rows = self._source.fetch(part)
                chunks = chunks_of(rows, self._stage.workload)
                vectors = embedder_of(feed.model).embed([c.text for c in chunks])
                feed.store.replace(part, chunks, vectors, SyncMark(1, str(start)))

    def begin_to_follow(self) -> None:
        for feed in self._feeds:
            feed.store.prepare()
            feed.store.claim_sync(1)

    def warm_up(self, queries: Vectors) -> None:
        """Ask the new index what users will ask, so that its pages are in memory."""
        with (
            self._here.ledger() as ledger,
            open_store(ledger, self._stage.workload, self._stage.generation) as store,
        ):
            for query in queries:
                store.search(query, 10, ["everyone"])

    @contextmanager
    def _switching(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(
            self._here.target_url, autocommit=True, application_name="switch"
        ) as target:
            yield target

    def cut_over(self) -> None:
        with self._switching() as target:
            self._epoch += 1
            move_alias(target, self._stage.workload.name, self._stage.new, self._epoch)

    def roll_back(self) -> None:
        with self._switching() as target:
            self._epoch += 1
            name = self._stage.workload.name
            return_alias(target, name, [self._stage.new], self._epoch)
            alias = read_alias(target, name)
            assert alias is not None
            assert alias.generation != self._stage.new

    def differences(self) -> dict[str, int]:
        """Compare all rows of the new generation with the source, by key and digest."""
        with self._here.ledger() as ledger:
            found = verify_generation(ledger, self._stage.generation)
        return {"missing": found.missing, "stale": found.stale, "extra": found.extra,
                "duplicates": found.duplicates}  # fmt: skip

    def vectors_of(self, keys: Sequence[int]) -> dict[str, dict[int, np.ndarray]]:
        """Return what old and new generation hold of these rows."""
        wanted = list(keys)
        with self._here.target() as database:
            register_vector(database)
            if self._stage.layout == "column":
                held = {c.generation: c.held_as for c in list_columns(
                    database, self._stage.workload.name)}  # fmt: skip
                queries = {
                    name: f"SELECT id, {held[n]} FROM article WHERE id = ANY(%s)"
                    f" AND {held[n]} IS NOT NULL"
                    for name, n in (("old", 0), ("new", self._stage.new))
                }
            else:
                assert self._stage.old is not None
                queries = {
                    name: "SELECT source_key::bigint, embedding FROM qafila."
                    f"{self._stage.tables[str(n)]} WHERE source_key = ANY(%s::bigint[]::text[])"
                    for name, n in (("old", self._stage.old.number), ("new", self._stage.new))
                }
            return {
                name: {k: v.to_numpy() for k, v in database.execute(query, [wanted]).fetchall()}
                for name, query in queries.items()
            }


@contextmanager
def migrating(here: Setting, stage: Stage, niceness: int) -> Iterator[Moving]:
    """Open what the migration needs; keep all its database sessions at ``niceness``."""
    with ExitStack() as opened:
        ledger = opened.enter_context(here.ledger())
        source = opened.enter_context(open_source(ledger, stage.workload))
        new = opened.enter_context(open_store(ledger, stage.workload, stage.generation))
        feeds = [Feed("new", new, NEW)]
        if stage.old is not None:
            corpus = stage.workload.corpus.model_copy(update={"embedder": OLD})
            before = stage.workload.model_copy(update={"corpus": corpus})
            store = opened.enter_context(open_store(ledger, before, stage.old))
            feeds.append(Feed("old", store, OLD))
        else:
            database = opened.enter_context(here.target())
            place = Place(stage.workload.name, 0, "0" * 16, OLD.dimensions)
            settings = stage.workload.corpus.target
            feeds.append(
                Feed("old", ColumnStore(database, place, settings, table_of(stage.workload.corpus)),
                     OLD)  # type: ignore[arg-type]
            )  # fmt: skip
        opened.enter_context(_deprioritised(here, niceness))
        yield Moving(here, stage, feeds, source)


@contextmanager
def _deprioritised(here: Setting, niceness: int) -> Iterator[None]:
    """Keep every session but the application's and the switch at a lower priority."""
    stop = threading.Event()

    def watch() -> None:
        with here.target() as looking:
            while not stop.wait(0.25):
                for (pid,) in looking.execute(
                    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    " AND application_name NOT IN ('application', 'switch')"
                ).fetchall():
                    with suppress(ProcessLookupError, PermissionError):
                        os.setpriority(os.PRIO_PROCESS, pid, niceness)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        stop.set()
        watching.join()
