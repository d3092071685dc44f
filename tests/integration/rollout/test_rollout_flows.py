"""The canary and the drill as runs in Prefect, on one server.

The canary: what it asks before it starts, its steps, and its way back. The drill: certificate,
phase, card, picture; again after a promotion.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from flows.canary_cutover import CanaryCutover, canary_cutover, take_back_if_ours
from flows.rollback_drill import RollbackDrill, rollback_drill
from qafila.errors import Inconclusive, NotReady, Refused
from qafila.ledger import approvals
from qafila.ledger.evidence import latest_evidence
from qafila.ledger.leases import take_lease
from qafila.ledger.ledger import apply_workload, newest_generation
from qafila.rollback.card import card_path
from qafila.rollout import drill as drilling
from qafila.rollout.preconditions import versions_of
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from tests.support.edges import Edge
from tests.support.rollouts import rules

QUICK = {
    "weights": [25, 50, 100],
    "minimum_requests": 60,
    "bake_seconds": 1,
    "deadline_minutes": 5,
    "shadow_percent": 20,
    "shadow_seconds": 2,
}
FLIP = drilling.Flip(0.01, 0.002, 100, 20, 0, 50, 0, 0)


@pytest.fixture
def spec(
    ledger: psycopg.Connection[Any],
    ledger_url: str,
    workload: Workload,
    edge: Edge,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Workload:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    edge.candidate.errors = edge.candidate.empties = edge.candidate.delay_s = 0.0
    spec = workload.model_copy(update={"rollout": rules(**QUICK)})
    revision = apply_workload(ledger, spec)
    ledger.execute("UPDATE qafila.generation SET phase = 'drilled', revision = %s", [revision])
    generation = newest_generation(ledger, spec.name)
    assert generation is not None
    drilling.issue_certificate(
        ledger,
        generation,
        spec,
        drilling.judge_flips([FLIP], 1.0),
        versions_of(edge.router, revision),
        valid_hours=1,
        run_id=None,
    )
    return spec


@pytest.mark.usefixtures("traffic", "prefect_server")
def test_a_run_goes_up_by_card_copies_and_a_person(
    spec: Workload, edge: Edge, ledger: psycopg.Connection[Any], ledger_url: str
) -> None:
    done = threading.Event()

    def person() -> None:
        with psycopg.connect(ledger_url, autocommit=True) as own:
            while not done.wait(0.2):
                for question in approvals.pending_approvals(own, spec.name):
                    with pytest.raises(Refused, match="asked for this"):
                        approvals.answer(own, question.id, "approve", by="amal")
                    approvals.answer(own, question.id, "approve", by="Badr")

    helper = threading.Thread(target=person)
    helper.start()
    try:
        body = canary_cutover(
            CanaryCutover(workload=spec.name, look_seconds=0.3, aa_seconds=2, requested_by="Amal")
        )
    finally:
        done.set()
        helper.join()
    assert body["verdict"] == "PASS"
    assert body["weights"] == [25, 50, 100]
    assert [s["step"] for s in body["steps"]][:2] == ["A/A", "shadow"]
    assert "copies, 0 failed" in body["steps"][1]["sentence"]
    assert (body["approvals"], body["failed_requests"], body["final_weight"]) == (1, 0, 100)
    assert card_path(spec.name).exists()
    now = newest_generation(ledger, spec.name)
    assert now is not None
    assert now.phase == Phase.PROMOTED
    assert latest_evidence(ledger, spec.name, "rollout") is not None


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_is_not_ready_names_everything_and_touches_nothing(
    spec: Workload, edge: Edge, ledger: psycopg.Connection[Any]
) -> None:
    high = spec.model_copy(update={"criticality": "high"})
    apply_workload(ledger, high)
    before = edge.router.read()
    with pytest.raises(NotReady) as refused:
        canary_cutover(CanaryCutover(workload=spec.name))
    assert len(refused.value.problems) == 3  # another revision was drilled, the order, the name
    assert edge.router.read() == before
    assert latest_evidence(ledger, spec.name, "rollout") is None


def test_a_run_that_was_cancelled_leaves_no_weight(
    spec: Workload, edge: Edge, ledger: psycopg.Connection[Any]
) -> None:
    """What Prefect calls when a person presses Cancel, and also when a run crashes."""
    run = SimpleNamespace(id="run-1", parameters={"request": {"workload": spec.name}})
    state = SimpleNamespace(name="Cancelling")
    epoch = take_lease(
        ledger,
        spec.name,
        "canary-cutover",
        generation=1,
        run_id="run-1",
        above=edge.router.read().epoch,
    )
    ledger.execute("UPDATE qafila.generation SET phase = 'canary'")
    edge.router.acknowledged(edge.router.write(25, epoch=epoch, why="test"))
    stranger = SimpleNamespace(id="run-2", parameters=run.parameters)
    take_back_if_ours(None, stranger, state)  # type: ignore[arg-type]
    assert edge.router.read().candidate_percent == 25  # somebody else's rollout is left alone
    take_back_if_ours(None, run, state)  # type: ignore[arg-type]
    assert edge.router.read().candidate_percent == 0
    now = newest_generation(ledger, spec.name)
    assert now is not None
    assert now.phase == Phase.ROLLED_BACK
    kept = latest_evidence(ledger, spec.name, "rollback")
    assert kept is not None
    assert "the canary run ended Cancelling" in kept.sentence


@pytest.mark.usefixtures("traffic", "prefect_server")
def test_a_drill_certifies_and_drills_again_what_was_promoted(
    edge: Edge,
    workload: Workload,
    ledger: psycopg.Connection,
    ledger_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    ledger.execute("UPDATE qafila.generation SET phase = 'validated'")
    asked = RollbackDrill(workload=workload.name, flips=2, hold_seconds=0.4, least_users=10)

    first = rollback_drill(asked)
    assert first["verdict"] == "PASS"
    assert first["drilled"] == "candidate"
    assert first["p50_ms"] <= first["p99_ms"] <= first["max_ms"]
    assert first["user_requests"] >= 10
    assert card_path(workload.name).exists()
    now = newest_generation(ledger, workload.name)
    assert now is not None
    assert now.phase == Phase.DRILLED

    ledger.execute("UPDATE qafila.generation SET phase = 'promoted'")
    router = edge.router
    router.acknowledged(router.write(100, epoch=router.read().epoch, why="promoted"))
    before = card_path(workload.name).read_text()
    again = rollback_drill(asked)
    assert (again["verdict"], again["drilled"]) == ("PASS", "baseline")
    assert again["certificate_id"] > first["certificate_id"]
    assert router.read().candidate_percent == 100
    assert card_path(workload.name).read_text() == before

    few = asked.model_copy(update={"flips": 1, "least_users": 100_000})
    with pytest.raises(Inconclusive, match="of at least 100000 users"):
        rollback_drill(few)
    assert router.read().candidate_percent == 100
