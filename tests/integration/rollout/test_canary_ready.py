"""What must hold before the first weight: all that is missing at once, each with its next step."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from qafila.errors import Disagreement, NotReady, Refused
from qafila.ledger import approvals
from qafila.ledger.evidence import record_evidence
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import apply_workload, newest_generation
from qafila.rollout import drill as drilling
from qafila.rollout import order as ordering
from qafila.rollout import preconditions
from qafila.rollout.preconditions import require_canary, versions_of
from qafila.workload.model import Rollout, Workload
from qafila.workload.phases import Phase
from tasks import asking
from tests.support.edges import Edge

NAME = "aws-docs-search"
GOOD = drilling.Flip(0.01, 0.002, 100, 20, 0, 50, 0, 0)


def ready(
    ledger: psycopg.Connection[Any], spec: Workload, edge: Edge, *, drilled: bool = True
) -> int:
    """Apply the workload as it is meant now, drilled for it; return its revision."""
    revision = apply_workload(ledger, spec)
    ledger.execute("UPDATE qafila.generation SET phase = 'drilled' WHERE workload = %s", [NAME])
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    if drilled:
        drilling.issue_certificate(
            ledger,
            generation,
            spec,
            drilling.judge_flips([GOOD], 1.0),
            versions_of(edge.router, revision),
            valid_hours=1,
            run_id=None,
        )
    return revision


def problems(
    ledger: psycopg.Connection[Any],
    spec: Workload,
    edge: Edge,
    revision: int,
    by: str | None = None,
) -> list[str]:
    try:
        require_canary(ledger, spec, revision, edge.router, requested_by=by)
    except NotReady as error:
        return [p.what for p in error.problems]
    except Refused as error:
        return [error.what]
    return []


def settled(ledger: psycopg.Connection[Any], spec: Workload, *, rolled_out: bool) -> None:
    """Let another workload have settled on the same kinds of target and router."""
    apply_workload(ledger, spec)
    ledger.execute(
        "INSERT INTO qafila.generation (workload, number, revision, fingerprint, fingerprint_body,"
        " phase) VALUES (%s, 1, 1, 'f', '{}', 'settled')",
        [spec.name],
    )
    if rolled_out:
        record_evidence(ledger, "settle", "settled", workload=spec.name, generation=1)


def test_a_drilled_workload_is_ready(
    ledger: psycopg.Connection[Any], workload: Workload, edge: Edge
) -> None:
    revision = ready(ledger, workload, edge)
    assert problems(ledger, workload, edge, revision) == []


def test_everything_that_is_missing_is_named_at_once(
    ledger: psycopg.Connection[Any], ledger_url: str, workload: Workload, edge: Edge
) -> None:
    frozen = Rollout.model_validate(
        {
            "freezes": [
                {
                    "from": "2020-01-01T00:00:00+00:00",
                    "to": "2099-01-01T00:00:00+00:00",
                    "why": "for the test",
                }
            ]
        }
    )
    spec = workload.model_copy(update={"rollout": frozen, "criticality": "high"})
    revision = ready(ledger, spec, edge, drilled=False)
    ledger.execute("UPDATE qafila.generation SET phase = 'validated'")
    with held_lease(ledger, NAME, "somebody", ledger_address=ledger_url):
        found = problems(ledger, spec, edge, revision)
    said = "\n".join(found)
    for each in (
        "this step needs 'drilled'",
        "never drilled",
        "frozen (for the test) until Thu 01 Jan 00:00",
        "of low or medium criticality has settled",
        "who asks for the rollout",
        "somebody holds",
    ):
        assert each in said, said
    assert len(found) == 6
    with pytest.raises(NotReady) as raised:
        require_canary(ledger, spec, revision, edge.router, requested_by="Amal")
    assert "  1. generation 1" in raised.value.render()
    assert "qafila run rollback-drill aws-docs-search" in raised.value.render()


def test_a_rollout_under_way_is_the_only_thing_to_say(
    ledger: psycopg.Connection[Any], workload: Workload, edge: Edge
) -> None:
    revision = ready(ledger, workload, edge, drilled=False)
    ledger.execute("UPDATE qafila.generation SET phase = %s", [Phase.CANARY.value])
    assert "never taken over" in problems(ledger, workload, edge, revision)[0]


def test_a_weight_that_the_ledger_does_not_know_stops_it(
    ledger: psycopg.Connection[Any], workload: Workload, edge: Edge
) -> None:
    revision = ready(ledger, workload, edge)
    state = edge.router.read()
    edge.router.acknowledged(edge.router.write(7, epoch=state.epoch, why="by hand"))
    found = problems_or_disagreement(ledger, workload, edge, revision)
    edge.router.write(0, epoch=state.epoch, why="back")
    assert "disagree" in found


def problems_or_disagreement(
    ledger: psycopg.Connection[Any], spec: Workload, edge: Edge, revision: int
) -> str:
    with pytest.raises(Disagreement) as raised:
        require_canary(ledger, spec, revision, edge.router, requested_by=None)
    return raised.value.what


def test_high_criticality_goes_after_a_lower_one_or_with_two_approvals(
    ledger: psycopg.Connection[Any],
    workload: Workload,
    edge: Edge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = workload.rollout.model_copy(update={"approvers": ["Amal", "Badr", "Chaima"]})
    spec = workload.model_copy(update={"criticality": "high", "rollout": listed})
    revision = ready(ledger, spec, edge)
    assert (
        "has settled on a pgvector target behind a envoy-file router"
        in (problems(ledger, spec, edge, revision, by="Amal")[0])
    )
    # one that was adopted was never rolled out; one that was rolled out and settled counts
    lower = workload.model_copy(update={"name": "lower-one"})
    settled(ledger, lower, rolled_out=False)
    assert len(problems(ledger, spec, edge, revision, by="Amal")) == 1
    record_evidence(ledger, "settle", "settled", workload="lower-one", generation=1)
    assert problems(ledger, spec, edge, revision, by="Amal") == []
    assert ordering.first_settled(ledger, spec) == "lower-one"
    # without it: two persons, neither of whom asked
    ledger.execute("DELETE FROM qafila.generation WHERE workload = 'lower-one'")
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    monkeypatch.setattr(asking, "ask_person", approvals.ask)

    def answer(ledger: Any, approval_id: str, say: object) -> approvals.Approval:
        if approvals.read_approval(ledger, approval_id).state == "approved":
            return approvals.read_approval(ledger, approval_id)
        with pytest.raises(Refused, match="so 2 others approve"):
            approvals.answer(ledger, approval_id, "approve", by="amal")
        approvals.answer(ledger, approval_id, "approve", by="Badr")
        assert not ordering.in_order(ledger, spec, generation)
        return approvals.answer(ledger, approval_id, "approve", by="Chaima", notes="small traffic")

    def ask(reason: str) -> approvals.Approval:
        question = ordering.override_request(ledger, spec, generation, reason, "Amal")
        return asking.ask_and_wait(ledger, question, print)

    monkeypatch.setattr(asking, "wait_for_answer", answer)
    asked = ask("the sale needs it")
    assert asked.state == "approved"
    assert "the sale needs it" in asked.question
    assert problems(ledger, spec, edge, revision, by="Amal") == []
    # it is said once: the same generation is not asked about again
    assert ask("again") == asked


def test_an_order_never_holds_back_low_or_medium(
    ledger: psycopg.Connection[Any], workload: Workload, edge: Edge
) -> None:
    for criticality in ("low", "medium"):
        spec = workload.model_copy(update={"criticality": criticality})
        assert problems(ledger, spec, edge, ready(ledger, spec, edge)) == []
    assert preconditions.require_requester(workload, None) is None  # type: ignore[func-returns-value]
