"""What brings a canary down, each by its own guardrail, and what two approvers change."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from qafila.ledger import approvals
from qafila.rollout import steps as canary
from qafila.rollout.decide import Answered
from qafila.routers.memory import MemoryRouter
from qafila.workload.verdict import Verdict
from tests.integration.rollout.test_canary_clocks import begin, stopped
from tests.support.rollouts import World, go_up


@pytest.fixture
def world() -> World:
    return World()


def of_candidate(weight: int) -> str:
    """Return a tenant whom that weight sends to the candidate, and one percent less does not."""
    router = MemoryRouter()
    router.write(weight, epoch=1, why="test")
    less = MemoryRouter()
    less.write(weight - 20, epoch=1, why="test")
    found = (f"heavy-{n}" for n in range(10_000))
    return next(
        t for t in found if router.arm_of(t) == "candidate" and less.arm_of(t) == "baseline"
    )


def test_a_candidate_that_is_wrong_for_one_tenant_only_is_caught(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    world.bad_tenant = of_candidate(25)
    aborted = stopped(begin(ledger, world), world)
    assert aborted.decision.verdict is Verdict.FAIL
    assert "tenant" in aborted.decision.sentence


@pytest.mark.parametrize(("how", "says"), [("slow", "latency"), ("empty", "empty")])
def test_a_slow_or_empty_candidate_is_caught(
    ledger: psycopg.Connection[Any], world: World, how: str, says: str
) -> None:
    def go_bad() -> None:
        world.slow_ms, world.empty = (300.0, False) if how == "slow" else (0.0, True)

    world.at["5 % · look"] = go_bad
    aborted = stopped(begin(ledger, world), world)
    assert aborted.decision.verdict is Verdict.FAIL
    assert says in aborted.decision.sentence or "failed or empty" in aborted.decision.sentence


def test_one_of_two_approvals_does_not_raise_a_weight(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(ledger, world)
    trial.spec = trial.spec.model_copy(update={"criticality": "high"})
    trial.requested_by = "Amal"
    second: list[int] = []

    def chaima() -> None:
        assert trial.answered is Answered.PENDING
        second.append(world.router.read().candidate_percent)
        approvals.answer(ledger, f"{trial.name}-25", "approve", by="Chaima")

    tell, waited = world.tell, 0

    def count(line: str) -> None:
        nonlocal waited
        tell(line)
        waited += "hold: waits for approval above 25 %" in line
        if waited == 5 and not second:
            chaima()

    world.tell = count  # type: ignore[method-assign]
    go_up(trial, world)
    assert second == [25]
    assert approvals.read_approval(ledger, f"{trial.name}-25").decided_by == "Badr and Chaima"
    assert trial.approvals == 1
    assert len(canary.looks_of(ledger, trial.name)) == trial.looks
