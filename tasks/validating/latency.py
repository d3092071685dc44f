"""Rung 8: how fast the systems answer."""

from __future__ import annotations

from qafila.core.judged import measure_arm
from qafila.core.ladder import judging
from qafila.core.ladder.climb import Climbed
from qafila.core.ladder.rungs import Finding, Rung
from tasks.validating.asking import CHALLENGERS, SYSTEMS
from tasks.validating.climb import Climb, rung


@rung(Rung.LATENCY, "time answers")
def judge_latency(climb: Climb) -> Climbed:
    """Judge the ratio of the 95th percentiles, through HTTP, past the router."""
    arms = {s: measure_arm(climb.queries, climb.answers[s]) for s in SYSTEMS}
    at_most = climb.workload.objectives.latency_p95.at_most_ratio
    judged = {n: judging.judge_latency(n, arms[n], arms["baseline"], at_most) for n in CHALLENGERS}
    return Finding(
        Rung.LATENCY,
        judged.pop("candidate"),
        compared="the 95th percentile of answers with the baseline's, asked in turn",
        on=f"{len(climb.queries)} queries",
        others=judged,
    )
