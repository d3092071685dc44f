"""A writer that does not own the ledger does all that flows do, and cannot change evidence.

The grants are those of docs/how-to/separate-ledger-roles.md.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from qafila.backfill.generations import open_for
from qafila.errors import Refused
from qafila.ledger import approvals, leases
from qafila.ledger.approvals import Question
from qafila.ledger.certificates import newest_certificate
from qafila.ledger.evidence import check_chain, record_evidence
from qafila.ledger.evidence_head import keep_head, seen_head
from qafila.ledger.ledger import ledger_identity, move_phase, newest_generation
from qafila.sql import apply_schema
from qafila.stack import postgres
from qafila.workload.phases import Event
from tests.support.applied import apply_demo

Ledger = psycopg.Connection[Any]
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "separate-ledger-roles.md"


@pytest.fixture
def writer(ledger: Ledger, ledger_url: str) -> Iterator[Ledger]:
    """A connection as the role that the page makes."""
    ledger.execute("DROP ROLE IF EXISTS qafila_writer")
    ledger.execute(PAGE.read_text().split("```sql\n")[1].split("```")[0])
    as_writer = make_conninfo(ledger_url, user="qafila_writer")
    try:
        with psycopg.connect(as_writer, autocommit=True) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("qafila_writer",)
            yield connection
    finally:
        ledger.execute("DROP OWNED BY qafila_writer")
        ledger.execute("DROP ROLE qafila_writer")


def test_a_writer_does_what_flows_do(writer: Ledger) -> None:
    assert apply_schema(writer, "ledger") == []
    spec, first = apply_demo(writer, "postgresql://127.0.0.1/nowhere")
    for event in (Event.AUDIT_ACCEPTED, Event.DECISION_APPROVED, Event.PLAN_APPLIED):
        first = move_phase(writer, first, event)
    move_phase(writer, first, Event.ABANDON)
    assert open_for(writer, spec).number == 2
    newest = newest_generation(writer, spec.name)
    assert newest is not None
    assert newest.number == 2

    epoch = leases.take_lease(writer, spec.name, "canary-cutover", generation=2)
    leases.beat_lease(writer, spec.name, "canary-cutover", epoch)
    with pytest.raises(Refused, match="holds the lease"):
        leases.take_lease(writer, spec.name, "rollback")
    leases.release_lease(writer, spec.name, epoch)
    assert leases.take_lease(writer, spec.name, "rollback", force=True) == epoch + 1

    approvals.ask(writer, Question("q", spec.name, 2, "above 25 %", "go on?", 60, needed=2))
    assert approvals.answer(writer, "q", "approve", by="Amal").state == "pending"
    assert approvals.answer(writer, "q", "approve", by="Badr").state == "approved"
    assert approvals.read_approval(writer, "q").approved_by == ["Amal", "Badr"]
    assert newest_certificate(writer, spec.name) is None

    number = record_evidence(writer, "test", "by the writer")
    assert check_chain(writer).intact
    assert keep_head(writer) is not None
    seen = seen_head(writer)
    assert seen is not None
    assert (seen.number, seen.problem) == (number, None)
    assert ledger_identity(writer)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE qafila.evidence SET sentence = 'x'",
        "DELETE FROM qafila.evidence",
        "TRUNCATE qafila.evidence CASCADE",
        "ALTER TABLE qafila.evidence DISABLE TRIGGER ALL",
        "ALTER TABLE qafila.evidence_head DISABLE TRIGGER ALL",
        "DROP TRIGGER evidence_is_append_only ON qafila.evidence",
        "DROP TABLE qafila.evidence CASCADE",
        "INSERT INTO qafila.evidence_head (number, digest) VALUES (0, '')",
        "DELETE FROM qafila.evidence_head",
        "TRUNCATE qafila.evidence_head",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION qafila.refuse_change() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN NEW; END $$",
        "CREATE TRIGGER mine BEFORE INSERT ON qafila.evidence FOR EACH ROW"
        " EXECUTE FUNCTION qafila.refuse_change()",
        "CREATE RULE mine AS ON INSERT TO qafila.evidence DO INSTEAD NOTHING",
        "CREATE TABLE qafila.mine (n integer)",
        "UPDATE qafila.ledger_identity SET id = gen_random_uuid()",
        "DELETE FROM qafila.ledger_identity",
        "UPDATE qafila.schema_file SET digest = ''",
        "DELETE FROM qafila.schema_file",
    ],
)
def test_a_writer_cannot_change_evidence_or_what_guards_it(
    writer: Ledger, ledger: Ledger, change: str
) -> None:
    record_evidence(writer, "test", "by the writer")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        writer.execute(change)
    assert check_chain(ledger).intact


def test_a_writer_cannot_move_the_head_past_its_rows(writer: Ledger) -> None:
    record_evidence(writer, "test", "by the writer")
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        writer.execute("UPDATE qafila.evidence_head SET number = 0, digest = ''")
    assert check_chain(writer).intact


def test_the_owner_makes_the_schema_as_the_page_says(
    pg_server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.ensure_database(pg_server, "a_ledger_of_ones_own")
    monkeypatch.setenv("QAFILA_LEDGER_URL", url)
    code = PAGE.read_text().split('python -c "')[1].split('"\n')[0]
    command = [sys.executable, "-c", code]
    first, second = (
        subprocess.run(command, cwd=PAGE.parents[2], capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert "ledger/0001_ledger.sql" in first.stdout
    assert second.stdout.strip() == ""
