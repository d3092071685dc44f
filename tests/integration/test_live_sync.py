"""Live sync against real databases: nothing that is committed is missed, and nothing is left."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from qafila.core.corpus import WordLlamaEmbedder
from qafila.core.outbox import Position
from qafila.core.phases import Event
from qafila.errors import BadInput, Refused, StaleEpoch, Unavailable
from qafila.stack import postgres
from tasks.brief_lock import Patience
from tasks.embedders.wordllama import WordLlamaEmbedder as Embedder
from tasks.ledger import move_phase
from tasks.live_sync import (
    drain,
    ensure_capture,
    feed_all,
    follow,
    read_live_sync,
    remove_capture,
    verify_live,
)
from tasks.live_sync.applying import open_applier
from tasks.live_sync.capture import Capture, install, problems, recorded, uninstall
from tasks.live_sync.feeds import FedElsewhere, list_feeds
from tasks.live_sync.lifecycle import plan_capture
from tasks.live_sync.reading import Outbox
from tasks.stores.pgvector import PgvectorStore
from tasks.stores.port import Chunk, SyncMark
from tests.corpus import demo_workload, make_source, ready_generation
from tests.live import ROWS, Live, followed

OUTBOX = "qafila_outbox_aws_docs_search.outbox"


@pytest.fixture
def source_url(pg_server: postgres.Postgres) -> str:
    return postgres.ensure_database(pg_server, f"source_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def planned(
    ledger: psycopg.Connection, ledger_url: str, source_url: str, target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Live:  # fmt: skip
    """Captured and planned; nothing is loaded yet."""
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    return followed(ledger, source_url, target_url)


@pytest.fixture
def live(planned: Live) -> Live:
    """Captured and loaded."""
    planned.load()
    return planned


def put(key: str, body: str) -> str:
    return (
        f"INSERT INTO operation VALUES ('{key}', 'T', '{body}')"
        " ON CONFLICT (operation_id) DO UPDATE SET body = excluded.body"
    )


def assert_in_step(live: Live, number: int | None = None) -> None:
    with psycopg.connect(live.source_url) as source:
        rows = source.execute("SELECT operation_id, title, body FROM operation").fetchall()
    expected = {key: "\n".join(t for t in texts if t) for key, *texts in rows}
    assert live.texts(number) == {k: t for k, t in expected.items() if t}


def test_every_kind_of_write_arrives(live: Live) -> None:
    live.write(
        put("op-new", "inserted"),
        put("op-000001", "on conflict"),
        "UPDATE operation SET body = 'updated' WHERE operation_id = 'op-000002'",
        "DELETE FROM operation WHERE operation_id = 'op-000003'",
        "UPDATE operation SET operation_id = 'op-moved' WHERE operation_id = 'op-000004'",
        "MERGE INTO operation USING (VALUES ('op-000005')) AS v (k) ON operation_id = k"
        " WHEN MATCHED THEN UPDATE SET body = 'merged'",
        "SET session_replication_role = replica; DELETE FROM operation"
        " WHERE operation_id = 'op-000006'",
        "BEGIN; SAVEPOINT s; DELETE FROM operation; ROLLBACK TO s; UPDATE operation"
        " SET body = 'after a savepoint' WHERE operation_id = 'op-000007'; COMMIT",
        "BEGIN; DELETE FROM operation; ROLLBACK",
        "UPDATE operation SET title = NULL, body = NULL WHERE operation_id = 'op-000008'",
    )
    with (
        psycopg.connect(live.source_url, autocommit=True) as source,
        source.cursor().copy("COPY operation (operation_id, title, body) FROM STDIN") as copy,
    ):
        copy.write_row(("op-copied", "T", "by COPY"))
    applied = drain(live.ledger, live.workload, live.generation)
    assert_in_step(live)
    assert applied.changes == 11  # the key that moved is there twice
    assert "op-000008" not in live.texts()
    assert verify_live(live.ledger, live.generation).complete
    assert drain(live.ledger, live.workload, live.generation).changes == 0


def test_truncate_empties_the_target_too(live: Live) -> None:
    live.write(
        "BEGIN; TRUNCATE operation; INSERT INTO operation VALUES ('op-000001', 'T', 'again');"
        " COMMIT", put("op-000002", "later"),
    )  # fmt: skip
    drain(live.ledger, live.workload, live.generation)
    assert live.texts() == {"op-000001": "T\nagain", "op-000002": "T\nlater"}


def test_what_changes_during_the_load_is_carried_over(planned: Live) -> None:
    from tasks import backfill

    backfill.load_shard.fn(planned.generation, 0, 2, 50, None)
    planned.write(
        put("op-000001", "changed behind the loader"), put("op-000119", "changed before it"),
        "DELETE FROM operation WHERE operation_id = 'op-000002'", put("op-000000", "below"),
        "UPDATE operation SET operation_id = 'zz' WHERE operation_id = 'op-000003'",
    )  # fmt: skip
    with pytest.raises(Refused, match="still being loaded"):
        drain(planned.ledger, planned.workload, planned.generation)
    assert feed_all(planned.ledger, planned.workload) == []
    planned.load()
    drain(planned.ledger, planned.workload, planned.generation)
    assert_in_step(planned)


def test_a_position_by_sequence_would_lose_what_commits_late(live: Live) -> None:
    """The lower number commits after the higher one was read; a snapshot is not fooled."""
    with psycopg.connect(live.source_url) as slow, psycopg.connect(live.source_url) as reader:
        reader.autocommit = True
        slow.execute(put("op-000001", "slow"))
        live.write(put("op-000002", "quick"))
        highest = f"SELECT coalesce(max(seq), 0) FROM {OUTBOX}"
        seen = reader.execute(highest).fetchone()  # type: ignore[arg-type]
        drain(live.ledger, live.workload, live.generation)
        assert live.texts()["op-000002"].endswith("quick")
        slow.commit()
        missed = reader.execute(
            f"SELECT key FROM {OUTBOX} WHERE seq > %s",  # type: ignore[arg-type]
            seen,
        ).fetchall()
        assert missed == []  # by sequence there is nothing left to read
    assert drain(live.ledger, live.workload, live.generation).changes == 1
    assert_in_step(live)


def test_a_transaction_that_stays_open_holds_up_nobody_but_the_pruning(live: Live) -> None:
    with psycopg.connect(live.source_url) as slow:
        slow.execute("SELECT pg_current_xact_id()")
        live.write(put("op-000002", "quick"))
        assert drain(live.ledger, live.workload, live.generation).changes == 1
        feed_all(live.ledger, live.workload)
        state = read_live_sync(live.ledger, live.workload)
        assert state
        lag = state.generations[0].lag
        assert lag
        assert (state.held_changes, lag.changes) == (1, 0)
        capture, _ = recorded(live.ledger, live.workload.name) or (None, 0)
        assert capture
        with psycopg.connect(live.source_url, autocommit=True) as database:
            told = Outbox(database, capture).writers(seconds=0.0)
        assert any("idle in transaction" in one for one in told)
    live.write(put("op-000003", "next"))
    feed_all(live.ledger, live.workload)
    live.write(put("op-000003", "and next"))
    feed_all(live.ledger, live.workload)
    state = read_live_sync(live.ledger, live.workload)
    assert state
    assert state.held_changes <= 1


CATALOGS = {
    "schemas": "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)' ORDER BY 1",
    "relations": "SELECT relnamespace::regnamespace, relname, relkind, relacl, relowner, reloptions"
    " FROM pg_class WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace ORDER BY 1, 2",
    "functions": "SELECT proname FROM pg_proc WHERE oid >= 16384 ORDER BY 1",
    "triggers": "SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2",
    "types": "SELECT typname FROM pg_type WHERE oid >= 16384 ORDER BY 1",
    "columns": "SELECT attrelid::regclass, attname, atttypid, attnotnull, atthasdef FROM"
    " pg_attribute WHERE attrelid >= 16384 ORDER BY 1, 2",
    "constraints": "SELECT conname FROM pg_constraint WHERE oid >= 16384 ORDER BY 1",
    "comments": "SELECT objoid, description FROM pg_description WHERE objoid >= 16384 ORDER BY 1",
    "default rights": "SELECT defaclnamespace, defaclacl::text FROM pg_default_acl ORDER BY 1",
    "settings": "SELECT setconfig FROM pg_db_role_setting ORDER BY 1",
    "rows": "SELECT xmin, ctid, * FROM operation ORDER BY operation_id",
}


def state_of(url: str) -> dict[str, list[Any]]:
    with psycopg.connect(url) as database:
        return {what: database.execute(q).fetchall() for what, q in CATALOGS.items()}  # type: ignore[arg-type]


def test_removing_it_leaves_the_source_as_it_was(
    ledger: psycopg.Connection, ledger_url: str, source_url: str, target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    make_source(source_url, 5)
    workload = demo_workload(live_sync=True)
    ready_generation(ledger, workload, source_url, target_url)
    before = state_of(source_url)
    found, script = plan_capture(ledger, workload)
    assert (found, state_of(source_url)) == ([], before)
    assert "CREATE TRIGGER" in script
    for _ in range(2):
        ensure_capture(ledger, workload)
        assert state_of(source_url) != before
        assert remove_capture(ledger, workload)
        assert state_of(source_url) == before
        assert not remove_capture(ledger, workload)
    assert ledger.execute("SELECT count(*) FROM qafila.live_sync").fetchone() == (0,)


def test_it_is_not_removed_while_a_generation_needs_it(live: Live) -> None:
    with pytest.raises(Refused, match="is alive"):
        remove_capture(live.ledger, live.workload)
    assert remove_capture(live.ledger, live.workload, force=True)
    ensure_capture(live.ledger, live.workload)
    with pytest.raises(Refused, match="before the changes of its source were captured"):
        ensure_capture(live.ledger, live.workload, live.generation)
    (fed,) = feed_all(live.ledger, live.workload)
    assert "before the changes" in fed.problem


@pytest.mark.parametrize(
    ("prepare", "table", "told"),
    [
        ("CREATE VIEW v AS SELECT * FROM operation", "v", "a view"),
        ("CREATE UNLOGGED TABLE u (operation_id text PRIMARY KEY)", "u", "unlogged"),
        ("CREATE TABLE n (operation_id text)", "n", "no index keeps"),
        ("CREATE TABLE p (operation_id text PRIMARY KEY); CREATE TABLE c () INHERITS (p)", "p",
         "inherit"),
        ("SELECT 1", "nowhere", "has no table"),
        ("CREATE PUBLICATION everything FOR ALL TABLES", "operation", "FOR ALL TABLES"),
        ("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
         "CREATE TRIGGER qafila_outbox_w AFTER INSERT ON operation EXECUTE FUNCTION f()",
         "operation", "has a trigger"),
    ],
)  # fmt: skip
def test_what_cannot_be_captured_is_refused(
    source_url: str, prepare: str, table: str, told: str
) -> None:
    make_source(source_url, 1)
    capture = Capture("w", "t" * 12, "b", table, ("operation_id",))
    with psycopg.connect(source_url, autocommit=True) as database:
        database.execute(prepare)
        with pytest.raises(BadInput) as refused:
            install(database, capture)
    assert any(told in problem for problem in refused.value.problems), refused.value.problems


def test_who_may_not_install_is_told_everything_at_once(source_url: str) -> None:
    make_source(source_url, 1)
    capture = Capture("w", "t" * 12, "b", "operation", ("title",))
    role = f"reader_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(source_url, autocommit=True) as database:
        database.execute(f"CREATE ROLE {role}; GRANT SELECT ON operation TO {role}")  # type: ignore[arg-type]
        database.execute(f"SET ROLE {role}")  # type: ignore[arg-type]
        found = problems(database, capture)
    assert [any(w in p for p in found) for w in ("create a schema", "its owner", "unique")] == (
        [True] * 3
    )


def test_another_ledgers_capture_is_left_alone(
    ledger: psycopg.Connection, planned: Live, ledger_url: str, pg_server: postgres.Postgres,
    target_url: str,
) -> None:  # fmt: skip
    from qafila.sql import apply_schema

    other = postgres.ensure_database(pg_server, f"ledger_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(other, autocommit=True) as second:
        apply_schema(second, "ledger")
        ready_generation(second, planned.workload, planned.source_url, target_url)
        with pytest.raises(Refused, match="belongs to somebody else"):
            ensure_capture(second, planned.workload)
        with pytest.raises(Refused, match="belongs to somebody else"):
            remove_capture(second, planned.workload)


def test_installing_gives_way_to_a_transaction_that_holds_the_table(
    ledger: psycopg.Connection, source_url: str
) -> None:
    make_source(source_url, 3)
    capture = Capture("w", "t" * 12, "b", "operation", ("operation_id",))
    before = state_of(source_url)
    with psycopg.connect(source_url) as writer, psycopg.connect(source_url, autocommit=True) as d:
        writer.execute("UPDATE operation SET body = 'x' WHERE operation_id = 'op-000001'")
        with pytest.raises(Unavailable, match="never free"):
            install(d, capture, Patience(total_seconds=0.3))
        writer.rollback()
        assert state_of(source_url)["schemas"] == before["schemas"]
        threading.Timer(0.4, writer.rollback).start()
        writer.execute("UPDATE operation SET body = 'x' WHERE operation_id = 'op-000001'")
        assert install(d, capture, Patience(total_seconds=10))
        assert not install(d, capture)
        assert uninstall(d, capture)


def test_a_capture_that_was_switched_off_is_noticed(live: Live) -> None:
    live.write("ALTER TABLE operation DISABLE TRIGGER ALL")
    for call in (drain, feed_all):
        arguments = (live.generation,) if call is drain else ()
        with pytest.raises(Refused, match="does not fire always"):
            call(live.ledger, live.workload, *arguments)  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["numeric", "timestamptz", "uuid", "bytea", "char(9)"])
def test_a_key_is_written_as_the_reader_writes_it(
    ledger: psycopg.Connection, ledger_url: str, source_url: str, target_url: str, kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    value = {
        "numeric": "1.50", "timestamptz": "2026-03-01 10:00:00.123+00", "bytea": "\\x0a0b",
        "uuid": "7d0f4c1e-6c1b-5f0e-9a55-3f2c8f3f0d11", "char(9)": "a b",
    }[kind]  # fmt: skip
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute(
            f"CREATE TABLE doc (a {kind}, b bigint, text text, PRIMARY KEY (a, b))"  # type: ignore[arg-type]
        )
    spec = {"kind": "postgres", "block": "demo-source", "table": "doc", "key": ["a", "b"],
            "text": ["text"]}  # fmt: skip
    workload = demo_workload(live_sync=True, source=spec)
    ready_generation(ledger, workload, source_url, target_url)
    capture = ensure_capture(ledger, workload)
    assert capture
    with psycopg.connect(source_url, autocommit=True) as writer:
        writer.execute("SET TimeZone = 'Africa/Casablanca'; SET bytea_output = 'escape';"
                       "SET DateStyle = 'German'; SET extra_float_digits = 0")  # fmt: skip
        writer.execute("INSERT INTO doc VALUES (%s, 7, 'x')", [value])
    from tasks.opening import open_source, reach_of

    with (
        psycopg.connect(source_url, autocommit=True) as database,
        open_source(ledger, workload, reach_of(ledger, workload)) as source_port,
    ):
        outbox = Outbox(database, capture)
        now, line = outbox.moment()
        position = Position.parse(f"{line} 1:1: {now} -")
        (change,) = outbox.read(position, 10)
        key = json.dumps(list(change.key or ()))
        assert [row.key_text for row in source_port.fetch([key])] == [key]


def test_a_partitioned_table_is_followed_through_its_partitions(source_url: str) -> None:
    capture = Capture("w", "t" * 12, "b", "part", ("id",))
    with psycopg.connect(source_url, autocommit=True) as d:
        d.execute(
            "CREATE TABLE part (id int PRIMARY KEY, t text) PARTITION BY RANGE (id);"
            "CREATE TABLE part_a PARTITION OF part FOR VALUES FROM (0) TO (10)"
        )
        install(d, capture)
        d.execute(
            "CREATE TABLE part_b PARTITION OF part FOR VALUES FROM (10) TO (20);"
            "INSERT INTO part VALUES (1, 'a'); INSERT INTO part_b VALUES (11, 'b');"
            "UPDATE part SET id = 12 WHERE id = 1"
        )
        d.execute("SET session_replication_role = replica; DELETE FROM part_a; DELETE FROM part_b;"
                  "RESET session_replication_role")  # fmt: skip
        now, line = Outbox(d, capture).moment()
        changes = Outbox(d, capture).read(Position.parse(f"{line} 1:1: {now} -"), 50)
        assert {c.key for c in changes} == {("1",), ("11",), ("12",)}
        d.execute("TRUNCATE part")
        assert uninstall(d, capture)
        assert d.execute("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'qafila'").fetchone() == (
            (0,)
        )


def test_what_qafila_writes_into_the_table_itself_is_no_change(live: Live) -> None:
    live.write(
        "BEGIN; SELECT set_config('qafila.own_write', 'on', true);"
        " UPDATE operation SET body = 'ours'; COMMIT"
    )
    assert drain(live.ledger, live.workload, live.generation).changes == 0


def test_a_rejected_text_is_set_aside_and_its_former_text_is_not_served(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Embedder.embed

    def forgetful(self: Embedder, texts: list[str]) -> Any:
        vectors = real(self, texts)
        vectors[[n for n, text in enumerate(texts) if "poison" in text]] = 0
        return vectors

    monkeypatch.setattr(Embedder, "embed", forgetful)
    live.write(put("op-000001", "poison"), put("op-000002", "fine"))
    applied = drain(live.ledger, live.workload, live.generation)
    assert (applied.rejected, "op-000001" in live.texts()) == (1, False)
    letters = "SELECT source_key, reason FROM qafila.dead_letter"
    assert [row[0] for row in live.ledger.execute(letters).fetchall()] == ["op-000001"]
    assert verify_live(live.ledger, live.generation).complete
    live.write(put("op-000001", "cured"))
    drain(live.ledger, live.workload, live.generation)
    assert live.ledger.execute(letters).fetchall() == []
    assert_in_step(live)


def test_a_row_that_loses_its_text_is_set_aside_until_it_has_one_again(live: Live) -> None:
    live.write("UPDATE operation SET title = NULL, body = NULL WHERE operation_id = 'op-000001'")
    applied = drain(live.ledger, live.workload, live.generation)
    assert (applied.documents, applied.chunks, applied.rejected) == (1, 0, 1)
    assert "op-000001" not in live.texts()
    letters = "SELECT source_key, chunk_number, reason FROM qafila.dead_letter"
    assert live.ledger.execute(letters).fetchall() == [("op-000001", 0, "the row has no text")]
    compared = verify_live(live.ledger, live.generation)
    assert (compared.complete, compared.dead_letters) == (True, 1)
    live.ledger.execute("DELETE FROM qafila.dead_letter")
    compared = verify_live(live.ledger, live.generation, rounds=1)
    assert (compared.complete, compared.missing) == (False, 1)
    live.write(put("op-000001", "a text again"))
    drain(live.ledger, live.workload, live.generation)
    assert live.ledger.execute(letters).fetchall() == []
    assert_in_step(live)


def test_a_row_that_the_store_does_not_take_holds_up_nobody(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PgvectorStore.replace

    def picky(
        self: PgvectorStore, keys: list[str], chunks: list[Chunk], vectors: Any, mark: SyncMark
    ) -> None:
        if any("unfit" in c.text for c in chunks):
            raise psycopg.errors.ProgramLimitExceeded("it does not fit into a page")
        real(self, keys, chunks, vectors, mark)

    monkeypatch.setattr(PgvectorStore, "replace", picky)
    live.write(*[put(f"op-{n:06}", "unfit" if n == 3 else "fits") for n in range(1, 8)])
    applied = drain(live.ledger, live.workload, live.generation)
    assert (applied.documents, applied.chunks, applied.rejected) == (7, 6, 1)
    assert "op-000003" not in live.texts()
    reason = live.ledger.execute("SELECT source_key, reason FROM qafila.dead_letter").fetchone()
    assert reason == ("op-000003", "the store does not take it: it does not fit into a page")
    assert verify_live(live.ledger, live.generation).complete
    assert drain(live.ledger, live.workload, live.generation).changes == 0


def test_one_applier_a_generation_and_whoever_was_taken_over_cannot_write(live: Live) -> None:
    known = recorded(live.ledger, live.workload.name)
    assert known
    capture, opened = known[0], (live.ledger, known[0], live.workload, live.generation)
    live.write(put("op-000001", "old"))
    with open_applier(*opened) as slow:
        with pytest.raises(FedElsewhere), open_applier(*opened):
            pass
        live.ledger.execute("UPDATE qafila.live_sync_feed SET heartbeat = '-infinity'")
        with open_applier(*opened) as quick:
            live.write(put("op-000001", "new"))
            assert quick.step().changes == 2
            nothing = quick._vectorise([], []).vectors
            mark = SyncMark(slow._held.epoch, str(slow.position))
            with pytest.raises(StaleEpoch):
                slow._store.replace(["op-000001"], [], nothing, mark)
            with pytest.raises(StaleEpoch):
                slow.step()
    assert capture
    assert_in_step(live)


def test_the_generation_before_is_fed_until_its_successor_is_settled(
    live: Live, target_url: str
) -> None:
    """With another model: each generation gets its own vectors, and going back loses no write."""
    from tasks import backfill
    from tasks.generations import open_for
    from tasks.ledger import apply_workload

    ledger, first = live.ledger, live.generation
    for event in (Event.LADDER_PASS, Event.DRILL_PASS, Event.FIRST_WEIGHT, Event.BAKE_PASS):
        first = move_phase(ledger, first, event)
    smaller = WordLlamaEmbedder(kind="wordllama", dimensions=64)
    second_meaning = demo_workload(live_sync=True, embedder=smaller.model_dump())
    apply_workload(ledger, second_meaning)
    second = open_for(ledger, second_meaning)
    for event in (Event.AUDIT_ACCEPTED, Event.DECISION_APPROVED, Event.PLAN_APPLIED):
        second = move_phase(ledger, second, event)
    live.write(put("op-000001", "before the second"))
    ensure_capture(ledger, second_meaning, second)
    backfill.apply_plan.fn(second, *backfill.plan_load.fn(second.workload, second, 100, 1))
    live.write(put("op-000002", "while it is loaded"))
    live.generation, live.workload = second, second_meaning
    assert [f.generation for f in feed_all(ledger, second_meaning)] == [1]
    live.load()
    for event in (Event.LADDER_PASS, Event.DRILL_PASS, Event.FIRST_WEIGHT, Event.BAKE_PASS):
        second = move_phase(ledger, live.generation, event)
    live.write(put("op-000003", "after promotion"))
    fed = feed_all(ledger, second_meaning)
    assert [(f.generation, f.problem) for f in fed] == [(1, ""), (2, "")]
    for number in (1, 2):
        assert_in_step(live, number)
    move_phase(ledger, second, Event.SETTLE)
    live.write(put("op-000004", "after it is settled"))
    assert [f.generation for f in feed_all(ledger, second_meaning)] == [2]
    assert live.texts(1)["op-000004"] != live.texts(2)["op-000004"]
    assert set(list_feeds(ledger, live.workload.name)) == {2}
    state = read_live_sync(ledger, second_meaning)
    assert state
    assert state.held_changes <= 1  # pruned behind the one that is left


def test_a_target_that_went_back_is_not_fed_on(live: Live) -> None:
    live.write(put("op-000001", "one"))
    drain(live.ledger, live.workload, live.generation)
    with psycopg.connect(live.target_url) as target:
        before = target.execute("SELECT position FROM qafila.sync_mark").fetchone()
    live.write(put("op-000001", "two"))
    feed_all(live.ledger, live.workload)
    live.write(put("op-000001", "three"))
    feed_all(live.ledger, live.workload)
    with psycopg.connect(live.target_url) as target:  # as a restored backup would
        target.execute("UPDATE qafila.sync_mark SET position = %s", before)
    with pytest.raises(Refused, match="gone back"):
        drain(live.ledger, live.workload, live.generation)


def test_on_another_timeline_everything_is_applied_again(live: Live) -> None:
    live.write(put("op-000001", "one"))
    drain(live.ledger, live.workload, live.generation)
    with psycopg.connect(live.target_url) as target:
        target.execute("UPDATE qafila.sync_mark SET position = replace(position, ':0000', ':1000')")
    assert drain(live.ledger, live.workload, live.generation).changes == 1
    assert drain(live.ledger, live.workload, live.generation).changes == 0


def test_a_reload_begins_anew(live: Live) -> None:
    from tasks import backfill

    live.write(put("op-000001", "before"))
    feed_all(live.ledger, live.workload)
    live.generation = backfill.empty_generation.fn(live.generation)
    ensure_capture(live.ledger, live.workload, live.generation, emptied=True)
    live.write(put("op-000001", "after"))
    live.load()
    drain(live.ledger, live.workload, live.generation)
    assert_in_step(live)


def test_two_that_drain_at_once_both_return_when_it_is_done(live: Live) -> None:
    live.write(*[put(f"op-{n:06}", "busy") for n in range(1, 60)])
    errors: list[BaseException] = []

    def go() -> None:
        try:
            with psycopg.connect(live.ledger.info.dsn, autocommit=True) as own:
                drain(own, live.workload, live.generation)
                assert live.texts()["op-000059"].endswith("busy")
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert_in_step(live)


@pytest.fixture
def writer(live: Live) -> Iterator[threading.Event]:
    """Write to the source all the time: updates, inserts, deletes, key changes, roll-backs."""
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(live.source_url) as source:
            n = 0
            while not stop.wait(0.002):
                n += 1
                key, other = f"op-{n % ROWS + 1:06}", f"op-{(n * 7) % ROWS + 1:06}"
                source.execute(put(key, f"body {n}"))  # type: ignore[arg-type]
                if n % 5 == 0:
                    source.execute("DELETE FROM operation WHERE operation_id = %s", [other])
                if n % 7 == 0:
                    source.rollback()
                source.commit()

    thread = threading.Thread(target=write)
    thread.start()
    yield stop
    stop.set()
    thread.join()


def test_a_comparison_under_writes_ends_with_equality_or_the_truth(
    live: Live, writer: threading.Event
) -> None:
    heard: list[Any] = []
    followed = follow(live.ledger, live.workload, seconds=1.5, tell=heard.append, tell_seconds=0.5)
    assert followed[0].applied.changes > 50
    assert followed[0].problem == ""
    assert len(heard) >= 2
    compared = verify_live(live.ledger, live.generation)
    assert compared.complete, compared
    with psycopg.connect(live.target_url, autocommit=True) as target:
        target.execute(
            "DELETE FROM qafila.chunk_aws_docs_search_g1 WHERE source_key = 'op-quiet';"
            "UPDATE qafila.chunk_aws_docs_search_g1 SET source_key = 'op-stranger' WHERE"
            " source_key = (SELECT max(source_key) FROM qafila.chunk_aws_docs_search_g1)"
        )
    compared = verify_live(live.ledger, live.generation, rounds=3)
    assert compared.extra == 1
    writer.set()
    time.sleep(0.05)
    assert "extra op-stranger" in compared.examples


def test_what_a_position_calls_over_is_on_disk_before_it_is_kept(live: Live) -> None:
    """Otherwise a crash could give its number to a transaction that would then be skipped."""
    known = recorded(live.ledger, live.workload.name)
    assert known
    with (
        psycopg.connect(live.source_url) as writer,
        psycopg.connect(live.source_url, autocommit=True) as database,
    ):
        writer.execute("SET synchronous_commit = off")
        writer.commit()
        for end in (writer.commit, writer.rollback):
            writer.execute(put("op-000001", "not waited for"))
            end()
            written = database.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            Outbox(database, known[0]).start()
            flushed = database.execute(
                "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", written
            ).fetchone()
            assert flushed == (True,)


def test_the_commands_say_where_it_stands(live: Live) -> None:
    from typer.testing import CliRunner

    from qafila.cli import app

    def run(*words: str) -> Any:
        ran = CliRunner().invoke(app, ["live-sync", *words, live.workload.name, "--json"])
        assert ran.exit_code == 0, ran.output
        return json.loads(ran.stdout)

    live.write(put("op-000001", "one"))
    assert "CREATE TRIGGER" in run("install", "--dry-run")["sql"]
    assert run("install")["outbox"] == OUTBOX
    status = run("status")
    assert (status["installed"], status["faults"], status["held_changes"]) == (True, [], 1)
    assert status["generations"][0]["lag"]["changes"] == 1
    text = CliRunner().invoke(app, ["live-sync", "status", live.workload.name]).stdout
    assert "g1: fed, 1 changes" in text
    assert "nobody applies now" in text
    assert run("remove", "--force")["removed"]
    assert run("status") == {"workload": live.workload.name, "installed": False}
