"""Decide the next move of a rollout: A/A bake, weights, bake at 100 %. Pure: time is an argument.

Going up needs proof and, above a weight, a person; coming down needs nothing. A weight below
``PROVE_FROM`` may be too small to prove anything in reasonable time: it passes on its minimum
exposure without a FAIL, and says that it proved no more. From ``PROVE_FROM`` on, and at 100 % by
the objectives alone, a step passes only on proof; evidence adds up over the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from qafila.core.analysis import Limits, requests_to_prove
from qafila.core.verdict import Judgement, Verdict
from qafila.core.workload import Objectives, Rollout

PROVE_FROM = 25
MOST_ERRORS_IN_A_ROW = 5


class StepKind(StrEnum):
    """What a step compares: two names of the baseline, two arms, or the objectives."""

    AA = "A/A"
    WEIGHT = "weight"
    BAKE = "bake"


class Action(StrEnum):
    """What to do after a look."""

    HOLD = "hold"
    PASS = "pass"
    ASK = "ask"
    ABORT = "abort"


class Answered(StrEnum):
    """How the question above a weight stands; ``NOT_ASKED`` until it is due."""

    NOT_ASKED = "not asked"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    LAPSED = "lapsed"


@dataclass(frozen=True)
class Step:
    """One stage of the rollout; ``must_prove``: exposure alone does not pass it."""

    number: int
    kind: StepKind
    weight: int
    must_prove: bool
    asks_before_next: bool

    @property
    def name(self) -> str:
        return {
            StepKind.AA: "A/A",
            StepKind.WEIGHT: f"{self.weight} %",
            StepKind.BAKE: "bake at 100 %",
        }[self.kind]


@dataclass(frozen=True)
class Situation:
    """Where the rollout stands in its step: requests and times since the step and the start."""

    step_requests: int
    step_seconds: float
    rollout_seconds: float
    step_canary_requests: int = 0
    errors_in_a_row: int = 0
    answered: Answered = Answered.NOT_ASKED


@dataclass(frozen=True)
class Decision:
    """What to do, and the sentence that says why."""

    action: Action
    verdict: Verdict
    sentence: str


def limits_of(objectives: Objectives, rollout: Rollout) -> Limits:
    """Return the judge's limits as the workload file states them."""
    return Limits(
        harm_ratio=objectives.harm_ratio,
        error_rate=objectives.error_rate.at_most,
        latency_ratio=objectives.latency_p95.at_most_ratio,
        blast_radius=rollout.blast_radius,
    )


def reasonable_requests(rollout: Rollout) -> int:
    """Return how many requests a proof by ratio may take before the objectives are the bound."""
    return 5 * rollout.minimum_requests


def plan_steps(rollout: Rollout) -> tuple[Step, ...]:
    """Return the steps in order: the A/A bake, each weight below 100, the bake at 100 %."""
    steps = [Step(0, StepKind.AA, 0, False, False)]
    for weight, after in zip(rollout.weights, [*rollout.weights[1:], None], strict=True):
        kind = StepKind.BAKE if weight == 100 else StepKind.WEIGHT
        asks = after is not None and weight <= rollout.approve_above < after
        steps.append(Step(len(steps), kind, weight, weight >= PROVE_FROM, asks))
    first = rollout.weights[0]
    if rollout.approve_above < first:  # a person is asked before the first weight already
        steps[0] = Step(0, StepKind.AA, 0, False, True)
    return tuple(steps)


def describe_plan(
    steps: Sequence[Step], *, bad_rate: float, requests_per_s: float, limits: Limits
) -> list[dict[str, object]]:
    """Return, for each weight, how many requests and seconds proof would take as things are.

    ``bad_rate`` is the share of bad answers and ``requests_per_s`` the traffic of the A/A bake.
    """
    rows: list[dict[str, object]] = []
    for step in steps:
        if step.kind is not StepKind.WEIGHT:
            continue
        needed = requests_to_prove(step.weight / 100, bad_rate, limits)
        known = needed != float("inf")
        rows.append(
            {
                "weight": step.weight,
                "must_prove": step.must_prove,
                "requests_to_prove": round(needed) if known else None,
                "seconds_to_prove": (
                    round(needed / requests_per_s, 1) if known and requests_per_s else None
                ),
            }
        )
    return rows


def decide(step: Step, situation: Situation, judged: Judgement, rollout: Rollout) -> Decision:
    """Return what to do after one look.

    Order matters: harm first, then blindness, then the clock, then a person's no, then proof.
    """
    if judged.verdict is Verdict.FAIL:
        return Decision(Action.ABORT, Verdict.FAIL, judged.sentence)
    if judged.verdict is Verdict.ERROR:
        if situation.errors_in_a_row >= MOST_ERRORS_IN_A_ROW:
            return Decision(
                Action.ABORT,
                Verdict.ERROR,
                f"{situation.errors_in_a_row} looks in a row saw nothing: {judged.sentence}",
            )
        return Decision(Action.HOLD, Verdict.ERROR, judged.sentence)
    if situation.answered is Answered.REJECTED:
        return Decision(Action.ABORT, Verdict.FAIL, f"rejected above {step.weight} %.")
    if situation.answered is Answered.LAPSED:
        return Decision(
            Action.ABORT, Verdict.INCONCLUSIVE, f"nobody answered above {step.weight} % in time."
        )
    if situation.rollout_seconds >= rollout.deadline_minutes * 60:
        return Decision(
            Action.ABORT,
            Verdict.INCONCLUSIVE,
            f"not through after {rollout.deadline_minutes:g} min, at {step.name}: "
            f"{judged.sentence}",
        )
    if (missing := _missing(step, situation, judged, rollout)) is not None:
        return Decision(Action.HOLD, Verdict.INCONCLUSIVE, missing)
    proof = (
        judged.sentence
        if judged.verdict is Verdict.PASS
        else f"{situation.step_requests} requests, {situation.step_canary_requests} on the canary, "
        "without harm; proved nothing more."
    )
    if step.asks_before_next and situation.answered is not Answered.APPROVED:
        asked = situation.answered is Answered.PENDING
        waiting = f"waits for approval above {step.weight} %; {proof}"
        return Decision(Action.HOLD if asked else Action.ASK, Verdict.INCONCLUSIVE, waiting)
    return Decision(Action.PASS, Verdict.PASS, proof)


def _missing(step: Step, situation: Situation, judged: Judgement, rollout: Rollout) -> str | None:
    """Return what the step still needs before it may pass, if anything."""
    if situation.step_requests < rollout.minimum_requests:
        return (
            f"{situation.step_requests} of at least {rollout.minimum_requests} requests; "
            f"{judged.sentence}"
        )
    if step.kind is StepKind.BAKE and situation.step_seconds < rollout.bake_seconds:
        return (
            f"bakes {situation.step_seconds:.0f} of {rollout.bake_seconds:g} s; {judged.sentence}"
        )
    if step.must_prove and judged.verdict is not Verdict.PASS:
        return judged.sentence
    return None
