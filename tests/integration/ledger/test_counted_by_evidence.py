"""Approvals and certificates count only where the evidence says the same."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from qafila.errors import Refused
from qafila.ledger import approvals
from qafila.ledger.approvals import Question
from qafila.ledger.certificates import newest_certificate, valid_certificate
from qafila.ledger.evidence import record_evidence
from qafila.rollout.drill import issue_certificate
from qafila.rollout.preconditions import require_certificate
from qafila.workload.verdict import Judgement, Verdict
from tests.support.applied import apply_demo

Ledger = psycopg.Connection[Any]
VERSIONS = {"router": "1", "qafila": "2"}


def ask(ledger: Ledger, *, needed: int = 1) -> None:
    approvals.ask(ledger, Question("q", "w", 1, "w above 25 %", "go on?", 60, needed=needed))


def test_an_approval_written_into_the_table_does_not_count(ledger: Ledger) -> None:
    ask(ledger)
    ledger.execute("UPDATE qafila.approval SET state = 'approved', decided_by = 'Amal'")
    assert approvals.read_approval(ledger, "q").state == "pending"
    assert [a.id for a in approvals.pending_approvals(ledger)] == ["q"]
    assert approvals.answer(ledger, "q", "approve", by="Badr").state == "approved"
    read = approvals.read_approval(ledger, "q")
    assert (read.state, read.decided_by, read.approved_by) == ("approved", "Badr", ["Badr"])


def test_an_approval_written_into_the_table_lapses(ledger: Ledger) -> None:
    approvals.ask(ledger, Question("q", "w", 1, "w above 25 %", "go on?", 0))
    ledger.execute("UPDATE qafila.approval SET state = 'approved'")
    assert approvals.read_approval(ledger, "q").state == "lapsed"


def test_an_answer_written_into_the_table_does_not_count(ledger: Ledger) -> None:
    ask(ledger, needed=2)
    ledger.execute(
        "INSERT INTO qafila.approval_answer (approval, person, name, decision)"
        " VALUES ('q', 'amal', 'Amal', 'approve')"
    )
    assert approvals.read_approval(ledger, "q").approved_by == []
    assert approvals.answer(ledger, "q", "approve", by="Badr").state == "pending"
    ledger.execute("UPDATE qafila.approval SET state = 'approved'")
    assert approvals.read_approval(ledger, "q").state == "pending"
    assert approvals.answer(ledger, "q", "approve", by="Chaima").state == "approved"


def test_a_question_that_needs_fewer_than_when_it_was_answered_does_not_count(
    ledger: Ledger,
) -> None:
    ask(ledger, needed=2)
    approvals.answer(ledger, "q", "approve", by="Badr")
    ledger.execute("UPDATE qafila.approval SET state = 'approved', needed = 1")
    assert approvals.read_approval(ledger, "q").state == "pending"


def test_an_approval_of_another_question_does_not_count(ledger: Ledger) -> None:
    ask(ledger)
    approvals.answer(ledger, "q", "approve", by="Badr")
    for change in ("id = 'q2'", "workload = 'other'", "generation = 2", "subject = 'w above 1 %'"):
        with ledger.transaction(force_rollback=True):
            ledger.execute("DELETE FROM qafila.approval_answer")
            ledger.execute(f"UPDATE qafila.approval SET {change}")
            name = "q2" if change.startswith("id") else "q"
            assert approvals.read_approval(ledger, name).state == "pending", change


def test_a_rejection_made_an_approval_does_not_count(ledger: Ledger) -> None:
    ask(ledger)
    approvals.answer(ledger, "q", "reject", by="Badr")
    ledger.execute("UPDATE qafila.approval_answer SET decision = 'approve'")
    ledger.execute("UPDATE qafila.approval SET state = 'approved'")
    assert approvals.read_approval(ledger, "q").state == "pending"


def test_an_evidence_row_whose_digest_does_not_fit_does_not_count(ledger: Ledger) -> None:
    ask(ledger)
    approvals.answer(ledger, "q", "reject", by="Badr")
    ledger.execute("ALTER TABLE qafila.evidence DISABLE TRIGGER ALL")
    ledger.execute("UPDATE qafila.evidence SET body = body || %s", [Jsonb({"state": "approved"})])
    ledger.execute("UPDATE qafila.approval SET state = 'approved'")
    assert approvals.read_approval(ledger, "q").state == "pending"


def drilled(ledger: Ledger, target_url: str) -> Any:
    spec, generation = apply_demo(ledger, target_url)
    numbers = {"seconds_to_zero": 0.5, "failed_requests": 0}
    issue_certificate(
        ledger,
        generation,
        spec,
        Judgement(Verdict.PASS, "drilled", numbers),
        VERSIONS,
        valid_hours=24,
        run_id=None,
    )
    return spec, generation


def test_a_certificate_counts_as_its_drill_says(ledger: Ledger, target_url: str) -> None:
    spec, generation = drilled(ledger, target_url)
    block = spec.service.router.block
    assert valid_certificate(ledger, spec.name, generation.number, block) is not None
    assert newest_certificate(ledger, spec.name) is not None
    assert require_certificate(ledger, spec, generation, VERSIONS)["router"] == block


CERTIFICATE_CHANGES = (
    "generation = 2",
    "workload = 'other'",
    "router = 'another-edge'",
    "versions = '{}'",
    "seconds_to_zero = 0.1",
    "failed_requests = 1",
    "evidence_number = 1",
    "expires_at = expires_at + interval '1 day'",
    "issued_at = issued_at + interval '1 day', expires_at = expires_at + interval '1 day'",
)


@pytest.mark.parametrize("change", CERTIFICATE_CHANGES)
def test_a_changed_certificate_does_not_count(ledger: Ledger, target_url: str, change: str) -> None:
    record_evidence(ledger, "drill", "another drill", verdict=Verdict.PASS)
    spec, generation = drilled(ledger, target_url)
    ledger.execute(f"UPDATE qafila.certificate SET {change}")
    router = "another-edge" if "another-edge" in change else spec.service.router.block
    name = "other" if "other" in change else spec.name
    for number in (1, 2):
        assert valid_certificate(ledger, name, number, router) is None
    assert newest_certificate(ledger, name) is None
    with pytest.raises(Refused, match="no valid rollback certificate"):
        require_certificate(ledger, spec, generation, VERSIONS)


def test_a_certificate_of_a_failed_drill_does_not_count(ledger: Ledger, target_url: str) -> None:
    spec, generation = apply_demo(ledger, target_url)
    numbers = {"seconds_to_zero": 0.5, "failed_requests": 0}
    issue_certificate(
        ledger,
        generation,
        spec,
        Judgement(Verdict.FAIL, "slow", numbers),
        VERSIONS,
        valid_hours=24,
        run_id=None,
    )
    ledger.execute(
        "INSERT INTO qafila.certificate (workload, generation, router, versions, seconds_to_zero,"
        " failed_requests, evidence_number, issued_at, expires_at) VALUES (%s, 1, %s, %s, 0.5, 0,"
        " 1, now(), now() + interval '1 hour')",
        [spec.name, spec.service.router.block, Jsonb(VERSIONS)],
    )
    assert newest_certificate(ledger, spec.name) is None


def test_a_forged_certificate_does_not_hide_a_true_one(ledger: Ledger, target_url: str) -> None:
    spec, generation = drilled(ledger, target_url)
    ledger.execute(
        "INSERT INTO qafila.certificate (workload, generation, router, versions, seconds_to_zero,"
        " failed_requests, evidence_number, issued_at, expires_at) SELECT workload, generation,"
        " router, versions, 0.001, failed_requests, evidence_number, issued_at, expires_at"
        " FROM qafila.certificate"
    )
    found = valid_certificate(ledger, spec.name, generation.number, spec.service.router.block)
    assert found is not None
    assert found["seconds_to_zero"] == 0.5
