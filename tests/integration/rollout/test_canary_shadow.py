"""Copies before the first weight: proof of harm ends the rollout before a user meets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from qafila.rollout import steps as canary
from qafila.rollout.plan import StepKind, plan_steps
from qafila.rollout.session import StepDone, Trial
from qafila.routers.memory import MemoryRouter
from qafila.routers.port import Abilities
from qafila.validation.judged import Answer, JudgedQuery
from qafila.workload.verdict import Verdict
from tests.integration.rollout.test_canary_clocks import begin
from tests.support.rollouts import World, go_up

QUERIES = [JudgedQuery(f"q{n}", f"question {n}", {f"d{n}": 1.0}) for n in range(600)]
AskBoth = Callable[[str], tuple[Answer, Answer]]


@pytest.fixture
def world() -> World:
    return World(rate=400.0)


def right(text: str) -> Answer:
    return Answer((f"d{text.split()[-1]}", "x"), 1.0)


def wrong(text: str) -> Answer:
    return Answer(("x", "y"), 1.0)


def shadow(trial: Trial, world: World, ask_both: AskBoth, **more: Any) -> StepDone:
    first, step, *_ = plan_steps(trial.spec.rollout, shadow=True)
    assert step.kind is StepKind.SHADOW
    canary.bake_aa(trial, first, 8.0, 1.0, world.tell, world.ask, last=False)
    return canary.bake_shadow(
        trial, step, 1.0, world.tell, world.ask, ask_both=ask_both, **{"queries": QUERIES, **more}
    )


def test_a_candidate_that_is_as_good_goes_on(ledger: psycopg.Connection[Any], world: World) -> None:
    trial = begin(ledger, world, shadow_percent=10, shadow_seconds=12)
    done = shadow(trial, world, lambda text: (right(text), right(text)))
    assert done.verdict == Verdict.PASS, done.sentence
    assert done.requests > 100  # a tenth of the users' requests in twelve seconds
    assert "copies, 0 failed" in done.sentence
    assert "nDCG@10 candidate − baseline +0.000" in done.sentence
    assert trial.seen.requests == 0  # copies are no user's requests
    assert [percent for _, percent in world.written] == [0, 0, 0]
    assert world.router.read().mirror_percent == 0
    looks = [k for k in canary.looks_of(ledger, trial.name) if k["step"] == "shadow"]
    assert sum(k["counts"]["candidate"]["requests"] for k in looks) == done.requests
    assert {k["weight"] for k in looks} == {0}


def test_worse_answers_end_it_before_the_first_weight(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(ledger, world, shadow_percent=10)
    with pytest.raises(canary.Aborted) as aborted:
        shadow(trial, world, lambda text: (right(text), wrong(text)))
    assert aborted.value.decision.verdict is Verdict.FAIL
    assert "shadow: nDCG@10" in aborted.value.decision.sentence
    assert max(percent for _, percent in world.written) == 0


def test_a_candidate_that_fails_copies_harms_nobody_and_goes_no_further(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(ledger, world, shadow_percent=10)
    world.router.candidate_fails = True
    with pytest.raises(canary.Aborted) as aborted:
        shadow(trial, world, lambda text: (right(text), right(text)))
    assert "shadow: errors" in aborted.value.decision.sentence
    assert trial.failed == 0
    assert trial.state.blast == 0


def test_what_cannot_be_told_is_said_and_goes_on(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(ledger, world, shadow_percent=10)
    nothing = Answer(None, 1.0)
    done = shadow(trial, world, lambda _: (nothing, nothing))
    assert done.verdict == Verdict.INCONCLUSIVE
    assert "gives no rankings to compare" in done.sentence
    none = begin(ledger, World(), shadow_percent=0)
    assert [s.kind for s in plan_steps(none.spec.rollout, shadow=True)][1] is StepKind.WEIGHT


def test_a_person_is_asked_only_after_the_copies(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(ledger, world, shadow_percent=10, approve_above=[0])
    world.at["asked"] = lambda: world.lines.append(f"mirror {world.router.read().mirror_percent}")
    shadow(trial, world, lambda text: (right(text), right(text)))
    assert trial.approvals == 1
    assert "mirror 0" in world.lines  # nobody is copied while a person thinks


class OneName(MemoryRouter):
    """A router that has no second name for the baseline and makes no copies."""

    @property
    def abilities(self) -> Abilities:
        return Abilities(twin=False, mirror=False)


def test_a_router_without_a_twin_measures_the_baseline_and_says_what_it_did_not(
    ledger: psycopg.Connection[Any],
) -> None:
    world = World(router=OneName())
    trial = begin(ledger, world, shadow_percent=10)
    go_up(trial, world)
    bake = trial.steps[0]
    assert bake.verdict == Verdict.PASS
    assert "no second name for the baseline, so the split was not compared" in bake.sentence
    assert trial.calibration is not None
    assert trial.calibration.skew == 1.0
    assert {s.step for s in trial.steps} == {"A/A", "5 %", "25 %", "50 %", "bake at 100 %"}
    assert world.router.read().candidate_percent == 100
