"""What ``qafila bench live`` does to the application: all calls of the product stand here."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector

from benchmarks.live_application import Layout
from benchmarks.machine import NotMeasured
from benchmarks.setting import Setting, ready
from qafila.backfill.attempt import build_index
from qafila.backfill.control import ask_of_load, holding
from qafila.backfill.load import chunks_of
from qafila.backfill.load_plan import apply_plan, plan_load
from qafila.backfill.patience import PatientLedger
from qafila.backfill.supervisor import run_worker
from qafila.backfill.verify import verify_generation
from qafila.backfill.worker import Assignment
from qafila.demo.corpus import read_corpus
from qafila.endpoints import embedder_of, open_source, open_store, reach_of
from qafila.ledger.ledger import Generation, move_phase
from qafila.live_sync.capture import open_database
from qafila.live_sync.drain import drain
from qafila.live_sync.feeder import Fed, follow
from qafila.live_sync.feeds import meaning_at, open_feed
from qafila.live_sync.lifecycle import ensure_capture
from qafila.live_sync.outbox_reader import Outbox
from qafila.stores.column.swap import list_columns
from qafila.stores.pointer_row import move_alias, read_alias, return_alias
from qafila.stores.port import Checkpoint, Chunk, Place, SyncMark, Vectors, VectorStore
from qafila.workload.corpus import WordLlamaEmbedder
from qafila.workload.fingerprint import text_digest
from qafila.workload.model import Workload
from qafila.workload.phases import Event

OLD = WordLlamaEmbedder(kind="wordllama", dimensions=64)
NEW = WordLlamaEmbedder(kind="wordllama", dimensions=256)
_CORES = sorted(os.sched_getaffinity(0))
OUR_CORES = _CORES[-1:]
USERS_CORES = _CORES[:-1] or _CORES
BATCH_ROWS = 64  # small steps: what users of the same server are asked to wait for
FEED_SECONDS = 1.0  # between rounds of live sync
_FOREVER_SECONDS = 1e6
_LOOK_SECONDS = 0.05  # between looks for sessions that are on a core not theirs
_POOL = 2000
LOG_FILES = 128  # of 16 MB: what the server keeps at hand
_SESSIONS = """
SELECT pid,
       backend_type IN ('parallel worker', 'autovacuum worker')
       OR backend_type = 'client backend' AND application_name NOT IN ('application', 'switch'),
       backend_type = 'parallel worker' OR state = 'active' AND query LIKE '%CREATE INDEX%'
FROM pg_stat_activity
WHERE pid <> pg_backend_pid()
"""
_SETUP_BATCH = 5000
_PROMOTED = (
    Event.ALL_LOADED,
    Event.LADDER_PASS,
    Event.DRILL_PASS,
    Event.FIRST_WEIGHT,
    Event.BAKE_PASS,
)


@dataclass
class Stage:
    """The application's database before we start: searched by the old model's vectors."""

    layout: Layout
    workload: Workload
    generation: Generation  # of the new model, to be filled
    old: Generation  # of the old model, in step with the table
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
        with database.cursor().copy(f"COPY article ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "text", "vector"][: 3 if own else 2])
            for n, (text, vector) in enumerate(zip(texts, vectors, strict=True), 1):
                copy.write_row((n, text, Vector(vector)) if own else (n, text))
        if own:
            database.execute("SET maintenance_work_mem = '256MB'")
            database.execute(
                "CREATE INDEX article_embedding ON article USING hnsw (embedding vector_cosine_ops)"
            )
        database.execute("VACUUM ANALYZE article")
    source = {
        "kind": "postgres",
        "block": "demo-target",
        "table": "article",
        "key": ["id"],
        "text": ["body"],
    }
    target: dict[str, Any] = {"kind": "pgvector", "block": "demo-target", "full_text": "none"}
    if layout == "column":
        target["column"] = {"table": "article", "key": ["id"], "column": "embedding"}
    parts = {"source": source, "target": target, "live_sync": True}
    workload, old = ready(here, **parts, embedder=OLD.model_dump())
    with here.target() as database:
        move_alias(database, workload.name, old.number, 0)
    with here.ledger() as ledger:
        for event in _PROMOTED:  # as the pointer says, or the target takes it for a foreign one
            old = move_phase(ledger, old, event)
        with open_store(ledger, workload, old) as store:
            store.prepare()  # the application's column is adopted
            if layout == "table":
                _fill(store, texts, vectors)
    workload, new = ready(here, **parts, embedder=NEW.model_dump())
    names = {str(g.number): _place(workload, g).name for g in (old, new)}
    return Stage(layout, workload, new, old, names)


def use_log(here: Setting) -> None:
    """Write log as a server has that runs for a while, so that its files are there to be used.

    A file of the log that is not there yet is filled with zeros first, by whoever needs it.
    """
    with here.target() as database:
        for _ in range(LOG_FILES):
            database.execute("SELECT pg_logical_emit_message(false, 'bench', ''), pg_switch_wal()")
        database.execute("CHECKPOINT")


def _fill(store: VectorStore, texts: Sequence[str], vectors: Vectors) -> None:
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


class _Stopped(Exception):
    """Live sync is to end."""


def _worker_died(what: str) -> None:
    """End the load: the product starts another worker, but a figure with two means nothing."""
    raise NotMeasured(what)


class Moving:
    """The migration, step by step."""

    def __init__(self, here: Setting, stage: Stage, ledger: psycopg.Connection[Any]) -> None:
        self._here = here
        self._stage = stage
        self._ledger = ledger
        self._epoch = 1

    def capture(self, written: Callable[[], list[str]]) -> None:
        """Install the outbox; then bring the old generation in step with what was written before.

        ``written`` is asked afterwards, so that no write falls between.
        """
        stage = self._stage
        capture = ensure_capture(self._ledger, stage.workload, stage.generation)
        assert capture is not None
        with open_database(self._ledger, stage.workload) as database:
            open_feed(self._ledger, stage.old, Outbox(database, capture).start())
        if stage.layout == "column":
            return  # there the application wrote its own vectors
        meaning = meaning_at(self._ledger, stage.old)
        with (
            open_source(self._ledger, meaning) as source,
            open_store(self._ledger, meaning, stage.old) as store,
        ):
            store.claim_sync(0)
            keys = written()
            for start in range(0, len(keys), BATCH_ROWS):
                part = keys[start : start + BATCH_ROWS]
                chunks = chunks_of(source.fetch(part), meaning)
                vectors = embedder_of(OLD).embed([c.text for c in chunks])
                store.replace(part, chunks, vectors, SyncMark(0))

    def load(self, speed: float) -> None:
        """Plan, freeze and load, by one worker process at a share of its full speed."""
        generation = self._stage.generation
        plan = plan_load(self._ledger, generation, 10_000, 1)
        apply_plan(self._ledger, generation, *plan)
        assignment = Assignment(generation.workload, generation.number, BATCH_ROWS, led=False)
        with (
            PatientLedger(generation.workload) as ledger,
            holding(ledger, generation),
        ):
            ledger.ask(partial(ask_of_load, generation=generation, speed=speed, by="bench"))
            run_worker(assignment, reach_of(self._ledger, self._stage.workload), note=_worker_died)

    def build_index(self) -> None:
        build_index(self._ledger, self._stage.generation)

    def follow(self, stop: threading.Event) -> None:
        """Feed every generation that is alive until ``stop`` is set, as the flow live-sync does."""

        def wait(seconds: float) -> None:
            if stop.wait(seconds):
                raise _Stopped

        def tell(feds: Sequence[Fed]) -> None:
            for fed in feds:
                if fed.problem and not fed.elsewhere:
                    raise NotMeasured(f"live sync of g{fed.generation}: {fed.problem}")

        with self._here.ledger() as ledger, suppress(_Stopped):
            follow(
                ledger,
                self._stage.workload,
                seconds=_FOREVER_SECONDS,
                every=FEED_SECONDS,
                wait=wait,
                tell=tell,
                tell_seconds=0.0,
            )

    def catch_up(self) -> None:
        """Return when all that is committed now is in both generations."""
        with self._here.ledger() as ledger:
            for generation in (self._stage.generation, self._stage.old):
                drain(ledger, self._stage.workload, generation)

    def warm_up(self, queries: Vectors) -> None:
        """Ask the new index what users will ask, so that its pages are in memory."""
        workload, generation = self._stage.workload, self._stage.generation
        with open_store(self._ledger, workload, generation) as store:
            for query in queries:
                store.search(query, 10, ["everyone"])
                time.sleep(0.005)  # the application needs the processor too

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
        return {
            "missing": found.missing,
            "stale": found.stale,
            "extra": found.extra,
            "duplicates": found.duplicates,
        }

    def vectors_of(self, keys: Sequence[int]) -> dict[str, dict[int, np.ndarray]]:
        """Return what old and new generation hold of these rows."""
        wanted = list(keys)
        with self._here.target() as database:
            register_vector(database)
            numbers = {"old": self._stage.old.number, "new": self._stage.new}
            if self._stage.layout == "column":
                columns = list_columns(database, self._stage.workload.name)
                held = {c.generation: c.held_as for c in columns}
                queries = {
                    name: f"SELECT id, {held[n]} FROM article WHERE id = ANY(%s)"
                    f" AND {held[n]} IS NOT NULL"
                    for name, n in numbers.items()
                }
            else:
                queries = {
                    name: "SELECT source_key::bigint, embedding FROM qafila."
                    f"{self._stage.tables[str(n)]} WHERE source_key = ANY(%s::bigint[]::text[])"
                    for name, n in numbers.items()
                }
            return {
                name: {k: v.to_numpy() for k, v in database.execute(query, [wanted]).fetchall()}
                for name, query in queries.items()
            }


@contextmanager
def migrating(here: Setting, stage: Stage) -> Iterator[Moving]:
    """Open what the migration needs; keep what it keeps busy out of the users' way."""
    ledger_server = psutil.Process(here.ledger_server.pid)
    for process in (ledger_server, *ledger_server.children()):
        _keep_to(OUR_CORES, process.pid)
    _keep_to(OUR_CORES, os.getpid())
    try:
        with here.ledger() as ledger, _calm_sessions(here):
            yield Moving(here, stage, ledger)
    finally:
        _keep_to(_CORES, os.getpid())


def calm(process: int = 0, *, niceness: int = 10) -> None:
    """Keep this thread (or a process) to the last core, at a low priority.

    What ``taskset`` and ``nice`` do. Priority alone is not enough: a kernel that lets a running
    process finish its tick makes whoever wakes up on its core wait for some milliseconds.
    """
    os.setpriority(os.PRIO_PROCESS, process, niceness)
    os.sched_setaffinity(process, OUR_CORES)


def _keep_to(cores: Sequence[int], process: int) -> None:
    """Let all threads that a process has now, and those that they start, run on these cores."""
    for thread in psutil.Process(process).threads():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread.id, cores)


@contextmanager
def _calm_sessions(here: Setting) -> Iterator[None]:
    """Keep our sessions in the application's server, and vacuum, to the last core.

    Index builds lose priority too. All other processes of the server keep off that core: they write
    the log, and who waits for a processor while it holds the log makes every commit wait. The
    server's first process stands on that core, since each new session begins where it stands.
    """
    stop = threading.Event()

    def watch() -> None:
        calm(here.server.pid, niceness=0)
        with here.target() as looking:
            while not stop.wait(_LOOK_SECONDS):
                for pid, busy, builds in looking.execute(_SESSIONS).fetchall():
                    with suppress(ProcessLookupError, PermissionError):
                        if busy:
                            calm(pid, niceness=10 if builds else 0)
                        else:
                            os.sched_setaffinity(pid, USERS_CORES)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        stop.set()
        watching.join()
