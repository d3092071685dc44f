"""The steps of a rollout in order, what each compares, and how long proof would take.

Pure: the traffic and its bad answers are arguments, as the A/A bake measured them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.guardrails import DECLARED, Limits
from qafila.rollout.judge.sample_plan import plan_proof
from qafila.workload.model import Objectives, Rollout

PROVE_FROM = 25


class StepKind(StrEnum):
    """What a step compares: two names of the baseline, copies, two arms, or the objectives."""

    AA = "A/A"
    SHADOW = "shadow"
    WEIGHT = "weight"
    BAKE = "bake"


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
            StepKind.SHADOW: "shadow",
            StepKind.WEIGHT: f"{self.weight} %",
            StepKind.BAKE: "bake at 100 %",
        }[self.kind]


def limits_of(objectives: Objectives, rollout: Rollout) -> Limits:
    """Return the judge's limits as the workload file states them."""
    faults = objectives.guardrails
    stated = ((g, getattr(faults, g.value)) for g in DECLARED)
    declared = {guardrail: most.at_most for guardrail, most in stated if most is not None}
    return Limits(
        harm_ratio=objectives.harm_ratio,
        error_rate=objectives.error_rate.at_most,
        latency_ratio=objectives.latency_p95.at_most_ratio,
        blast_radius=rollout.blast_radius,
        at_most=declared,
    )


def reasonable_requests(rollout: Rollout) -> int:
    """Return how many requests a proof by ratio may take before the objectives are the bound."""
    return 5 * rollout.minimum_requests


def plan_steps(rollout: Rollout, *, shadow: bool = False) -> tuple[Step, ...]:
    """Return the steps in order: A/A, copies where ``shadow``, each weight below 100, the bake.

    The A/A bake is there for every router; where the baseline has no second name it only counts.
    A person is asked at the last step below each weight of ``approve_above``, also when that is
    before the first weight.
    """
    steps = [Step(0, StepKind.AA, 0, False, False)]
    if shadow and rollout.shadow_percent:
        steps.append(Step(1, StepKind.SHADOW, 0, False, False))
    above = rollout.approval_weights
    if any(t < rollout.weights[0] for t in above):
        last = steps[-1]
        steps[-1] = Step(last.number, last.kind, 0, False, True)
    for weight, after in zip(rollout.weights, [*rollout.weights[1:], None], strict=True):
        kind = StepKind.BAKE if weight == 100 else StepKind.WEIGHT
        asks = after is not None and any(weight <= t < after for t in above)
        steps.append(Step(len(steps), kind, weight, weight >= PROVE_FROM, asks))
    return tuple(steps)


def describe_plan(
    steps: Sequence[Step], *, calibration: Calibration, requests_per_s: float, limits: Limits
) -> list[dict[str, object]]:
    """Return, for each weight, how many requests and hours proof would take as things are.

    By ratio and under the objectives; ``seconds_to_prove`` is by ratio, ``hours_to_prove`` by the
    sooner of the two. ``requests_per_s`` is the traffic of the A/A bake.
    """
    rows: list[dict[str, object]] = []
    for step in steps:
        if step.kind is not StepKind.WEIGHT:
            continue
        (proof,) = plan_proof([step.weight], calibration, limits, requests_per_s)
        rows.append(
            {
                "weight": step.weight,
                "must_prove": step.must_prove,
                "requests_to_prove": proof.by_ratio,
                "seconds_to_prove": (
                    round(proof.by_ratio / requests_per_s, 1)
                    if proof.by_ratio is not None and requests_per_s > 0
                    else None
                ),
                "requests_under_objectives": proof.by_objective,
                "hours_to_prove": proof.hours,
                "spread": round(proof.spread, 3),
            }
        )
    return rows


@dataclass(frozen=True)
class Forecast:
    """How long the weights and the bake take at the traffic of the A/A bake, in seconds.

    ``least`` is the minimum exposure of every step and nothing else: no rollout is faster.
    ``likely`` adds what proof takes where it is due, by the shorter of the judge's two ways;
    infinite where neither can prove anything at the baseline's own rate of bad answers.
    """

    least: float
    likely: float


def forecast(
    steps: Sequence[Step],
    rollout: Rollout,
    *,
    calibration: Calibration,
    requests_per_s: float,
    limits: Limits,
) -> Forecast:
    """Return how long the steps after the A/A bake take if the candidate is as the baseline."""
    if requests_per_s <= 0:
        return Forecast(math.inf, math.inf)
    least = likely = float(rollout.shadow_seconds if has_shadow(steps) else 0)
    for step in steps:
        if step.kind not in (StepKind.WEIGHT, StepKind.BAKE):
            continue
        shortest = rollout.minimum_requests / requests_per_s
        if step.kind is StepKind.BAKE:
            shortest = max(shortest, rollout.bake_seconds)
        least += shortest
        proof = 0.0
        if step.must_prove:
            proof = _requests(step.weight, calibration, limits) / requests_per_s
        likely += max(shortest, proof)
    return Forecast(least, likely)


def too_slow(expected: Forecast, rollout: Rollout) -> str | None:
    """Return why a plan cannot be through by its deadline, if it cannot, with the hours it needs.

    Only minimum exposure counts here: a proof may come sooner than is likely.
    """
    deadline_s = rollout.deadline_minutes * 60
    if expected.least <= deadline_s:
        return None
    return (
        f"too little traffic for the deadline: at this rate the steps take at least "
        f"{hours(expected.least)}, rollout.deadline_minutes allows {hours(deadline_s)}"
    )


def hours(seconds: float) -> str:
    """Return a duration as an operator reads it."""
    if math.isinf(seconds):
        return "for ever"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def has_shadow(steps: Sequence[Step]) -> bool:
    """Tell whether copies come before the first weight."""
    return any(step.kind is StepKind.SHADOW for step in steps)


def _requests(weight: int, calibration: Calibration, limits: Limits) -> float:
    """Return the requests (both arms) of the shorter proof: by ratio, or under the objectives."""
    (proof,) = plan_proof([weight], calibration, limits, requests_per_s=0)
    ways = (proof.by_ratio, proof.by_objective)
    return min(math.inf if way is None else float(way) for way in ways)
