"""Preflight's steps against a real ledger: the gate, and an override that covers one gap only."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from qafila.decision import preflight as preflight_checks
from qafila.ledger import approvals
from qafila.ledger.ledger import Generation, move_phase
from qafila.ledger.preflight_record import latest_preflight
from qafila.workload.phases import Event
from qafila.workload.verdict import Verdict
from tasks import preflight, target_architecture
from tests.support.applied import apply_demo, audit, fill_source

pytestmark = pytest.mark.usefixtures("ledger_named")

NAME = "aws-docs-search"


@pytest.fixture
def source_url(target_url: str) -> str:
    fill_source(target_url)
    return target_url


def design(ledger: psycopg.Connection[Any], source_url: str, **changes: Any) -> Generation:
    _, generation = apply_demo(ledger, source_url, **changes)
    generation = audit(ledger, generation)
    need, how = target_architecture.measure_need.fn(NAME)
    body = target_architecture.compare_patterns.fn(
        NAME, need, how, target_architecture.read_audit.fn(NAME), 1, 400
    )
    target_architecture.record_decision.fn(NAME, generation.number, body)
    return move_phase(ledger, generation, Event.DECISION_APPROVED)


def test_six_yes_let_the_backfill_start(ledger: psycopg.Connection, source_url: str) -> None:
    generation = design(ledger, source_url)
    assert latest_preflight(ledger, NAME, generation.number) is None
    answers = preflight.answer_questions.fn(NAME, generation.number)
    assert [a.key for a in answers if not a.answer] == []
    preflight.record_preflight.fn(NAME, generation.number, answers, None)
    found = latest_preflight(ledger, NAME, generation.number)
    assert found is not None
    assert found.allows
    page = preflight_checks.markdown(NAME, generation.number, answers, None)
    assert "6 of 6 questions answered yes" in page


def test_a_generation_without_anything_answers_no_with_commands(
    ledger: psycopg.Connection, source_url: str
) -> None:
    _, generation = apply_demo(ledger, source_url)
    answers = preflight.answer_questions.fn(NAME, generation.number)
    remedies = {a.key: a.remedy for a in answers if not a.answer}
    assert remedies == {
        "workloads": f"qafila run inventory-audit {NAME}",
        "cost": f"qafila run target-architecture {NAME}",
    }
    preflight.record_preflight.fn(NAME, generation.number, answers, None)
    found = latest_preflight(ledger, NAME, generation.number)
    assert found is not None
    assert (found.verdict, found.allows) == (Verdict.FAIL, False)


def test_an_override_needs_a_reason_and_covers_these_questions_only(
    ledger: psycopg.Connection, source_url: str
) -> None:
    generation = design(ledger, source_url, monitoring={"traces": None, "metrics": "prometheus"})
    number = generation.number
    answers = preflight.answer_questions.fn(NAME, number)
    assert [a.key for a in answers if not a.answer] == ["monitoring"]
    assert preflight.find_override.fn(NAME, number, answers, False, 1) is None

    def ask_and_approve(notes: str) -> str:
        approval_id, standing = preflight_checks.override_slot(ledger, NAME, number, answers)
        assert standing is None
        subject = preflight_checks.override_subject(NAME, number, answers)
        approvals.ask(
            ledger, approvals.Question(approval_id, NAME, number, subject, "?", expires_s=60)
        )
        approvals.answer(ledger, approval_id, "approve", by="Amal", notes=notes)
        return approval_id

    assert ask_and_approve("") == f"preflight-{NAME}-g{number}-override"
    assert preflight.find_override.fn(NAME, number, answers, False, 1) is None
    assert ask_and_approve("traces follow in March").endswith("-2")
    override = preflight.find_override.fn(NAME, number, answers, False, 1)
    assert override is not None
    preflight.record_preflight.fn(NAME, number, answers, override)
    found = latest_preflight(ledger, NAME, number)
    assert found is not None
    assert found.verdict is Verdict.FAIL  # an override does not turn a no into a yes
    assert found.allows
    assert (found.overridden_by, found.reason) == ("Amal", "traces follow in March")

    apply_demo(ledger, source_url, monitoring={}, skills={"ai": ["a"], "infrastructure": []})
    wider = preflight.answer_questions.fn(NAME, number)
    assert preflight.find_override.fn(NAME, number, wider, False, 1) is None
