"""The ledger against a real PostgreSQL: the chain, leases, answers, phases."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest
import yaml

from qafila.errors import Refused, StaleEpoch
from qafila.ledger import approvals, evidence, leases
from qafila.ledger.ledger import (
    apply_workload,
    move_phase,
    open_generation,
    put_plan,
    read_workload,
    require_generation,
)
from qafila.ledger.watchdog_mark import mark_watchdog, watchdog_age
from qafila.sql import apply_schema
from qafila.workload.fingerprint import Fingerprint
from qafila.workload.model import Workload
from qafila.workload.phases import Event
from qafila.workload.verdict import Verdict

FILE = Path(__file__).parents[3] / "workloads" / "aws-docs-search.yaml"
FINGERPRINT = Fingerprint("t", "whole", 1, "wordllama", "l2", 256, "cosine", True)


@pytest.fixture
def workload() -> Workload:
    text = (
        FILE.read_text()
        .replace("${QAFILA_VAR_DEMO_BASELINE_URL:-", "")
        .replace("${QAFILA_VAR_DEMO_CANDIDATE_URL:-", "")
        .replace('}"}', '"}')
    )
    return Workload.model_validate(yaml.safe_load(text))


def test_schema_files_apply_once(ledger: psycopg.Connection) -> None:
    assert apply_schema(ledger, "ledger") == []


def test_the_chain_shows_a_change_and_a_missing_tail(ledger: psycopg.Connection) -> None:
    for n in range(3):
        evidence.record_evidence(ledger, "test", f"row {n}", verdict=Verdict.PASS, body={"é": 1.5})
    assert evidence.check_chain(ledger).intact
    with pytest.raises(psycopg.errors.RaiseException):
        ledger.execute("UPDATE qafila.evidence SET sentence = 'x' WHERE number = 2")
    ledger.execute("ALTER TABLE qafila.evidence DISABLE TRIGGER ALL")
    ledger.execute("UPDATE qafila.evidence SET body = '{}' WHERE number = 2")
    assert evidence.check_chain(ledger).problems == ("row 2 was changed after it was written",)
    ledger.execute("DELETE FROM qafila.evidence WHERE number >= 2")
    assert "the chain ends at row 1" in evidence.check_chain(ledger).problems[0]


def test_what_is_appended_by_its_id_is_there_once(ledger: psycopg.Connection) -> None:
    def append(kind: str, append_id: str | None, workload: str | None = "docs") -> int:
        return evidence.record_evidence(ledger, kind, "s", workload=workload, append_id=append_id)

    assert [append("test", "a"), append("test", "a"), append("test", "b")] == [1, 1, 2]
    assert [append("test", None), append("test", None)] == [3, 4]  # as ever
    assert [append("other", "a"), append("test", "a", "more"), append("test", "a")] == [5, 6, 1]
    assert [append("test", "a", None), append("test", "a", None)] == [7, 7]
    assert evidence.check_chain(ledger).intact


def test_a_watchdog_that_looks_is_seen(ledger: psycopg.Connection) -> None:
    assert watchdog_age(ledger) is None
    mark_watchdog(ledger, "a")
    mark_watchdog(ledger, "a")
    mark_watchdog(ledger)
    age = watchdog_age(ledger)
    assert age is not None
    assert 0 <= age < 60
    assert ledger.execute("SELECT count(*) FROM qafila.watchdog").fetchone() == (2,)
    ledger.execute("UPDATE qafila.watchdog SET seen_at = seen_at - interval '1 hour'")
    assert (watchdog_age(ledger) or 0) > 3500


def test_a_lease_lapses_and_its_former_holder_is_stale(ledger: psycopg.Connection) -> None:
    first = leases.take_lease(ledger, "w", "a", ttl_seconds=0.2)
    with pytest.raises(Refused, match="a holds the lease"):
        leases.take_lease(ledger, "w", "b")
    time.sleep(0.3)
    assert [row.holder for row in leases.lapsed_leases(ledger)] == ["a"]
    second = leases.take_lease(ledger, "w", "b")
    assert second > first
    with pytest.raises(StaleEpoch):
        leases.beat_lease(ledger, "w", "a", first)
    assert leases.take_lease(ledger, "w", "rollback", force=True) > second


def test_the_first_answer_wins(ledger: psycopg.Connection) -> None:
    approvals.ask(ledger, approvals.Question("q1", "w", 1, "above 25 %", "go on?", 60))
    assert [a.id for a in approvals.pending_approvals(ledger)] == ["q1"]
    with pytest.raises(Refused, match="name"):
        approvals.answer(ledger, "q1", "approve", by="")
    assert approvals.answer(ledger, "q1", "approve", by="Amal").state == "approved"
    with pytest.raises(Refused, match="approved already by Amal"):
        approvals.answer(ledger, "q1", "reject", by="Other")


def test_an_open_question_lapses(ledger: psycopg.Connection) -> None:
    approvals.ask(ledger, approvals.Question("q2", "w", 1, "s", "?", 0))
    assert approvals.read_approval(ledger, "q2").state == "lapsed"
    with pytest.raises(Refused, match="lapsed"):
        approvals.answer(ledger, "q2", "approve", by="Amal")


def test_a_generation_opens_once_and_moves_along_the_table(
    ledger: psycopg.Connection, workload: Workload
) -> None:
    assert apply_workload(ledger, workload) == apply_workload(ledger, workload) == 1
    assert read_workload(ledger, workload.name)[0] == workload
    generation = open_generation(ledger, workload, FINGERPRINT)
    assert open_generation(ledger, workload, FINGERPRINT) == generation
    audited = move_phase(ledger, generation, Event.AUDIT_ACCEPTED)
    with pytest.raises(Refused, match="cannot take the event"):
        move_phase(ledger, generation, Event.BAKE_PASS)
    assert put_plan(ledger, audited, "backfill", {"rows": 1}) == {"rows": 1}
    assert put_plan(ledger, audited, "backfill", {"rows": 2}) == {"rows": 1}


def test_a_name_that_nobody_applied_is_told_apart_from_one_that_nobody_audited(
    ledger: psycopg.Connection, workload: Workload
) -> None:
    apply_workload(ledger, workload)
    with pytest.raises(Refused, match="there is no workload 'nope'"):
        require_generation(ledger, "nope")
    with pytest.raises(Refused, match=f"{workload.name} has no generation yet"):
        require_generation(ledger, workload.name)
