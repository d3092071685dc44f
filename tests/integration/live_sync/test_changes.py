"""Live sync against real databases: no write that is committed is missed."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from importlib.resources import files

import psycopg
import pytest
from psycopg import sql

from qafila.errors import Refused
from qafila.live_sync.capture import Capture, install, recorded, uninstall
from qafila.live_sync.drain import drain
from qafila.live_sync.feeder import feed_all
from qafila.live_sync.lifecycle import ensure_capture
from qafila.live_sync.outbox import Position
from qafila.live_sync.outbox_reader import Outbox
from qafila.live_sync.status import read_live_sync
from qafila.live_sync.verify import verify_live
from tests.support.corpus import demo_workload, ready_generation
from tests.support.live import Live, assert_in_step, put
from tests.support.loads import load_shard

OUTBOX = "qafila_outbox_aws_docs_search.outbox"


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
        " COMMIT",
        put("op-000002", "later"),
    )
    drain(live.ledger, live.workload, live.generation)
    assert live.texts() == {"op-000001": "T\nagain", "op-000002": "T\nlater"}


def test_what_changes_during_the_load_is_carried_over(planned: Live) -> None:
    load_shard(planned.generation, 0, 50)
    planned.write(
        put("op-000001", "changed behind the loader"),
        put("op-000119", "changed before it"),
        "DELETE FROM operation WHERE operation_id = 'op-000002'",
        put("op-000000", "below"),
        "UPDATE operation SET operation_id = 'zz' WHERE operation_id = 'op-000003'",
    )
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


@pytest.mark.parametrize("kind", ["numeric", "timestamptz", "uuid", "bytea", "char(9)"])
def test_a_key_is_written_as_the_reader_writes_it(
    ledger: psycopg.Connection,
    ledger_url: str,
    source_url: str,
    target_url: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    value = {
        "numeric": "1.50",
        "timestamptz": "2026-03-01 10:00:00.123+00",
        "bytea": "\\x0a0b",
        "uuid": "7d0f4c1e-6c1b-5f0e-9a55-3f2c8f3f0d11",
        "char(9)": "a b",
    }[kind]
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute(
            f"CREATE TABLE doc (a {kind}, b bigint, text text, PRIMARY KEY (a, b))"  # type: ignore[arg-type]
        )
    spec = {
        "kind": "postgres",
        "block": "demo-source",
        "table": "doc",
        "key": ["a", "b"],
        "text": ["text"],
    }
    workload = demo_workload(live_sync=True, source=spec)
    ready_generation(ledger, workload, source_url, target_url)
    capture = ensure_capture(ledger, workload)
    assert capture
    with psycopg.connect(source_url, autocommit=True) as writer:
        writer.execute(
            "SET TimeZone = 'Africa/Casablanca'; SET bytea_output = 'escape';"
            "SET DateStyle = 'German'; SET extra_float_digits = 0"
        )
        writer.execute("INSERT INTO doc VALUES (%s, 7, 'x')", [value])
    from qafila.endpoints import open_source, reach_of

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
        d.execute(
            "SET session_replication_role = replica; DELETE FROM part_a; DELETE FROM part_b;"
            "RESET session_replication_role"
        )
        now, line = Outbox(d, capture).moment()
        changes = Outbox(d, capture).read(Position.parse(f"{line} 1:1: {now} -"), 50)
        assert {c.key for c in changes} == {("1",), ("11",), ("12",)}
        d.execute("TRUNCATE part")
        assert uninstall(d, capture)
        assert d.execute("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'qafila'").fetchone() == (
            (0,)
        )


OWN_WRITE = (
    "BEGIN; SELECT set_config('qafila.own_write', 'on', true);"
    " UPDATE operation SET body = 'ours'; COMMIT"
)


def test_what_qafila_writes_into_the_table_itself_is_no_change(live: Live) -> None:
    live.write(OWN_WRITE)
    assert drain(live.ledger, live.workload, live.generation).changes == 0


@pytest.fixture
def application(live: Live) -> Iterator[str]:
    """A role of its own that may write the table, and its address."""
    role = f"application_{uuid.uuid4().hex[:8]}"
    live.write(f"CREATE ROLE {role} LOGIN", f"GRANT SELECT, INSERT, UPDATE ON operation TO {role}")
    yield role
    live.write(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_another_role_cannot_hide_its_writes_with_the_setting_of_our_own(
    live: Live, application: str
) -> None:
    with psycopg.connect(live.source_url, user=application, autocommit=True) as session:
        assert session.execute("SELECT current_user").fetchone() == (application,)
        session.execute(OWN_WRITE)
        session.execute("SET qafila.own_write = 'on'")
        session.execute(put("op-000001", "hidden"))
    assert drain(live.ledger, live.workload, live.generation).changes >= 120
    assert live.texts()["op-000001"].endswith("hidden")


def test_a_capture_of_an_earlier_version_is_replaced_without_losing_a_change(
    live: Live, application: str
) -> None:
    """Its trigger believed the setting of every role."""
    known = recorded(live.ledger, live.workload.name)
    assert known
    capture = known[0]
    trigger, schema = capture.triggers[0], capture.schema
    with psycopg.connect(live.source_url, autocommit=True) as database:
        text = (files("qafila.sql") / "source" / "install.sql").read_text()
        old = hashlib.sha256(json.dumps([text, capture.table, capture.key]).encode()).hexdigest()[
            :12
        ]
        database.execute(
            f"DROP TRIGGER {trigger} ON operation;"  # type: ignore[arg-type]
            f"CREATE TRIGGER {trigger} AFTER INSERT OR UPDATE OR DELETE ON operation FOR EACH ROW"
            " WHEN (current_setting('qafila.own_write', true) IS DISTINCT FROM 'on')"
            f" EXECUTE FUNCTION {schema}.capture();"
            f"ALTER TABLE operation ENABLE ALWAYS TRIGGER {trigger}"
        )
        row = database.execute("SELECT obj_description(%s::regnamespace)", [schema]).fetchone()
        assert row
        told = {**json.loads(row[0]), "definition": old}
        database.execute(
            sql.SQL("COMMENT ON SCHEMA {} IS {}").format(
                sql.Identifier(schema), sql.Literal(json.dumps(told))
            )
        )
    live.write(put("op-000002", "before the upgrade"))
    ensure_capture(live.ledger, live.workload, live.generation)
    with psycopg.connect(live.source_url, user=application, autocommit=True) as session:
        session.execute("SET qafila.own_write = 'on'")
        session.execute(put("op-000003", "after the upgrade"))
    drain(live.ledger, live.workload, live.generation)
    assert live.texts()["op-000002"].endswith("before the upgrade")
    assert live.texts()["op-000003"].endswith("after the upgrade")


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
