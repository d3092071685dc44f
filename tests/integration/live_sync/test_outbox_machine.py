"""Random interleavings of writers, readers, crashes and take-overs, against real PostgreSQL.

The pure model (``qafila.live_sync.outbox``) runs beside the statements: what it calls due is what
the statements return. In the end every key of every store is what the source holds.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from qafila.backfill.claims import Spent
from qafila.backfill.load import Vectored
from qafila.errors import StaleEpoch
from qafila.live_sync.apply import Applier
from qafila.live_sync.capture import Capture, install
from qafila.live_sync.feeds import Held
from qafila.live_sync.outbox import Position, prune_before
from qafila.live_sync.outbox_reader import Outbox
from qafila.sources.port import SourceRow
from qafila.sources.postgres import PostgresSource
from qafila.stack import postgres
from qafila.stores.memory import MemoryStore
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place, SyncMark, Vectors, VectorStore
from qafila.workload.corpus import PostgresSource as Settings
from qafila.workload.fingerprint import text_digest
from tests.support.corpus import demo_workload

CAPTURE = Capture("w", "machine", "b", "doc", ("id",))
WORKLOAD = demo_workload()
WRITERS, KEYS, DIMENSIONS = 3, 10, 8
KEY = st.integers(0, KEYS - 1).map(lambda n: f"k{n}")
WRITER = st.integers(0, WRITERS - 1)
WRITE = st.tuples(
    st.sampled_from(["put", "delete", "change the key", "change the key", "savepoint"]), KEY, KEY
)
PUT = "INSERT INTO doc VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET text = excluded.text"
MOVE = "UPDATE doc SET id = %s WHERE id = %s AND NOT EXISTS (SELECT FROM doc WHERE id = %s)"


class Killed(BaseException):
    """The applier's process died here."""


class Ledger:
    """A ledger that forgets: the machine drives the epochs itself."""


class Loose(Held):
    """A feed that was never told that it is lost: only the fence in the target protects."""

    def __init__(self, epoch: int, start: Position) -> None:
        self.epoch, self.start = epoch, start

    def check(self) -> None:
        pass

    def move(self, *_: Any, **__: Any) -> None:
        pass

    def set_aside(self, *_: Any) -> None:
        pass


class Mortal:
    """A store whose process may die just before or just after it commits."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self.dies_after: int | None = None
        self.commits_first = False
        self.meanwhile: Callable[[], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def replace(
        self, keys: Sequence[str], chunks: Sequence[Chunk], vectors: Vectors, mark: SyncMark
    ) -> None:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after < 0:
                if self.commits_first:
                    self._store.replace(keys, chunks, vectors, mark)
                raise Killed
        self._store.replace(keys, chunks, vectors, mark)


def vectorise(rows: Sequence[SourceRow], chunks: Sequence[Chunk]) -> Vectored:
    vectors = np.zeros((len(chunks), DIMENSIONS), np.float32)
    vectors[:, 0] = 1
    return Vectored(chunks, vectors, [], Spent())


class Machine(RuleBasedStateMachine):
    source_url = target_url = ""
    number = 0

    @initialize()
    def begin(self) -> None:
        Machine.number += 1
        self.database = psycopg.connect(self.source_url, autocommit=True)
        self.database.execute("DELETE FROM doc")
        self.database.execute(f"DELETE FROM {CAPTURE.schema}.outbox")  # type: ignore[arg-type]
        self.database.execute(
            "INSERT INTO doc SELECT 'k' || n, 'first' FROM generate_series(0, 5) n"
        )
        self.outbox = Outbox(self.database, CAPTURE)
        self.source = PostgresSource(
            self.database,
            Settings(kind="postgres", block="b", table="doc", key=["id"], text=["text"]),
        )
        self.target = psycopg.connect(self.target_url, autocommit=True)
        place = Place(f"w{Machine.number}", 1, "f" * 16, DIMENSIONS)
        self.stores: list[VectorStore] = [MemoryStore(place), PgvectorStore(self.target, place)]
        self.start = self.outbox.start()  # capture before copy
        for store in self.stores:
            store.prepare()
            rows = [row for batch in self.source.read(None, None, 10) for row in batch]
            chunks = [
                Chunk(r.key_text, 0, 0, len(r.text), "", r.text, text_digest(r.text), r.acl)
                for r in rows
            ]
            store.claim(0, 1)
            store.write(chunks, vectorise(rows, chunks).vectors, Checkpoint(0, 1, None, 6, 6, True))
        self.target.execute(
            f"CREATE UNIQUE INDEX ON qafila.{place.name} (source_key, chunk_number)"  # type: ignore[arg-type]
        )
        self.writers = [psycopg.connect(self.source_url) for _ in range(WRITERS)]
        for writer in self.writers:
            writer.execute("SET lock_timeout = '10ms'")
            writer.commit()
        self.text = 0
        self.epochs = [0, 0]
        self.mortal = [Mortal(store) for store in self.stores]
        self.appliers: list[list[Applier]] = [[], []]
        self.pages = 2
        for n in range(2):
            self._take_over(n)

    def teardown(self) -> None:
        if not hasattr(self, "writers"):
            return
        for writer in self.writers:
            writer.close()
        try:
            self._settle()
        finally:
            self.target.execute(f"DROP TABLE qafila.chunk_w{Machine.number}_g1")  # type: ignore[arg-type]
            self.target.close()
            self.database.close()

    # --- writers: several connections, so that transactions overlap and commit in any order

    def _try(self, writer: int, query: str, *values: str) -> None:
        """Write; what another transaction holds is given up together with its own transaction."""
        try:
            self.writers[writer].execute(query, values)  # type: ignore[arg-type]
        except psycopg.Error:
            self.writers[writer].rollback()

    @rule(writer=WRITER, writes=st.lists(WRITE, min_size=1, max_size=4))
    def write(self, writer: int, writes: list[tuple[str, str, str]]) -> None:
        for what, key, other in writes:
            self._write(writer, what, key, other)

    def _write(self, writer: int, what: str, key: str, other: str) -> None:
        self.text += 1
        text = f"text {self.text}"
        if what == "put":
            self._try(writer, PUT, key, text)
        elif what == "delete":
            self._try(writer, "DELETE FROM doc WHERE id = %s", key)
        elif what == "change the key":
            self._try(writer, MOVE, other, key, other)
        else:  # what is rolled back to a savepoint never happened
            self._try(writer, "SAVEPOINT s")
            self._try(writer, PUT, key, text)
            with suppress(psycopg.Error):
                self.writers[writer].execute("ROLLBACK TO s")

    @rule(writer=WRITER, commit=st.sampled_from([True, True, True, False]))
    def end(self, writer: int, commit: bool) -> None:
        if commit:
            self.writers[writer].commit()
        else:
            self.writers[writer].rollback()

    @rule(writer=WRITER, writes=st.lists(WRITE, min_size=3, max_size=6))
    def write_much_and_commit(self, writer: int, writes: list[tuple[str, str, str]]) -> None:
        self.write(writer, writes)
        self.writers[writer].commit()

    @rule(pages=st.sampled_from([1, 2, 5_000]))
    def read_in_pages_of(self, pages: int) -> None:
        self.pages = pages

    # --- appliers

    def _take_over(self, n: int) -> None:
        self.epochs[n] += 1
        store: Any = self.mortal[n]
        self.appliers[n].append(
            Applier(
                Ledger(),
                WORKLOAD,
                self.outbox,
                self.source,
                store,
                vectorise,  # type: ignore[arg-type]
                Loose(self.epochs[n], self.start),
                page_changes=self.pages,
                batch_documents=2,
            )
        )

    @rule(n=st.integers(0, 1))
    def another_applier_takes_over(self, n: int) -> None:
        self._take_over(n)

    @rule(n=st.integers(0, 1))
    def apply(self, n: int) -> None:
        self.appliers[n][-1].step()

    @rule(n=st.integers(0, 1), after=st.integers(0, 3), commits=st.booleans())
    def apply_and_die(self, n: int, after: int, commits: bool) -> None:
        mortal = self.mortal[n]
        mortal.dies_after, mortal.commits_first = after, commits
        try:
            with suppress(Killed):
                self.appliers[n][-1].step()
        finally:
            mortal.dies_after = None
        self._take_over(n)

    @rule(n=st.integers(0, 1), writer=WRITER, writes=st.lists(WRITE, max_size=3))
    def an_applier_is_overtaken_between_reading_and_writing(
        self, n: int, writer: int, writes: list[tuple[str, str, str]]
    ) -> None:
        def meanwhile() -> None:
            self.write_much_and_commit(writer, writes)
            self._take_over(n)
            self.appliers[n][-1].step()
            after.update(self._state(n))

        after: dict[str, bytes] = {}
        slow, mortal = self.appliers[n][-1], self.mortal[n]
        mortal.meanwhile = meanwhile
        try:
            slow.step()
        except StaleEpoch:
            assert self._state(n) == after
        else:
            assert mortal.meanwhile is not None, "it wrote behind its successor"
        finally:
            mortal.meanwhile = None

    @precondition(lambda self: any(len(a) > 1 for a in self.appliers))
    @rule(data=st.data())
    def an_applier_of_before_goes_on(self, data: st.DataObject) -> None:
        n = data.draw(st.sampled_from([n for n in range(2) if len(self.appliers[n]) > 1]))
        stale = data.draw(st.sampled_from(self.appliers[n][:-1]))
        before = self._state(n)
        with suppress(StaleEpoch):
            stale.step()
        assert self._state(n) == before

    @rule()
    def prune(self) -> None:
        before = prune_before(applier[-1].position for applier in self.appliers)
        assert before is not None
        self.outbox.prune(before)

    # --- what must hold

    @invariant()
    def what_the_statements_call_due_is_what_the_model_calls_due(self) -> None:
        if not hasattr(self, "writers"):
            return
        now, _ = self.outbox.moment()
        rows = self.database.execute(
            f"SELECT xid::text::bigint, seq FROM {CAPTURE.schema}.outbox ORDER BY xid, seq"  # type: ignore[arg-type]
        ).fetchall()
        for appliers in self.appliers:
            position = appliers[-1].position
            due = [place for place in rows if position.due(*place)]
            assert self.outbox.lag(position).changes == len(due)
            if position.window is None:
                found = self.outbox.read(position.opened(now), 10_000)
                assert [c.place for c in found] == [p for p in due if now.shows(p[0])]

    def _state(self, n: int) -> dict[str, bytes]:
        found = self.stores[n].digests([f"k{k}" for k in range(KEYS)])
        return {key: digest for (key, _), (digest, _) in found.items()}

    def _settle(self) -> None:
        expected = {
            key: text_digest(text)
            for key, text in self.database.execute("SELECT id, text FROM doc").fetchall()
        }
        for n in range(2):
            self.appliers[n][-1].step()
            assert self._state(n) == expected
            assert self.stores[n].count() == len(expected)
            assert self.appliers[n][-1].lag().changes == 0


@pytest.fixture
def machine_source(pg_server: postgres.Postgres) -> str:
    url = postgres.ensure_database(pg_server, f"source_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("CREATE TABLE doc (id text PRIMARY KEY, text text NOT NULL)")
        install(database, CAPTURE)
    return url


def test_nothing_that_is_committed_is_missed_or_undone(
    machine_source: str, target_url: str
) -> None:
    Machine.source_url, Machine.target_url = machine_source, target_url
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=50,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
