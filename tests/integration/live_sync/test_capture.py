"""Capture in the source: what is refused, whom it gives way to, and that nothing is left of it."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from qafila.cli import app
from qafila.errors import BadInput, Refused, Unavailable
from qafila.live_sync.capture import Capture, install, problems, uninstall
from qafila.live_sync.drain import drain
from qafila.live_sync.feeder import feed_all
from qafila.live_sync.feeds import forget_feed
from qafila.live_sync.lifecycle import ensure_capture, plan_capture, remove_capture
from qafila.stack import postgres
from qafila.stores.brief_lock import Patience
from tests.support.corpus import demo_workload, make_source, ready_generation
from tests.support.live import Live

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
    ledger: psycopg.Connection,
    ledger_url: str,
    source_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
        (
            "CREATE TABLE p (operation_id text PRIMARY KEY); CREATE TABLE c () INHERITS (p)",
            "p",
            "inherit",
        ),
        ("SELECT 1", "nowhere", "has no table"),
        ("CREATE PUBLICATION everything FOR ALL TABLES", "operation", "FOR ALL TABLES"),
        (
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER qafila_outbox_w AFTER INSERT ON operation EXECUTE FUNCTION f()",
            "operation",
            "has a trigger",
        ),
    ],
)
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
    ledger: psycopg.Connection,
    planned: Live,
    ledger_url: str,
    pg_server: postgres.Postgres,
    target_url: str,
) -> None:
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


def test_a_generation_loaded_before_changes_were_captured_is_not_called_fed(live: Live) -> None:
    forget_feed(live.ledger, live.workload.name, live.generation.number)
    told = CliRunner().invoke(app, ["live-sync", "status", live.workload.name]).stdout
    assert "  g1: not fed; begun before changes were captured: reload it" in told.splitlines()
    data = CliRunner().invoke(app, ["live-sync", "status", live.workload.name, "--json"]).stdout
    assert json.loads(data)["generations"][0]["fed"] is False
