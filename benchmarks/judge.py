"""Simulate rollouts: how often the judge errs, and how soon it catches a bad canary.

    python -m benchmarks.judge --rollouts 1000

Prints one JSON object with ``rows``: per requests a look and weight, the share of equal canaries
that are aborted, of canaries twice as bad that are promoted, and the median requests until a canary
four times as bad is caught (None: fewer than half were, within the looks). The baseline's bad rate
is 2 %; 60 looks a rollout.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np

from qafila.core.analysis import (
    ArmCounts,
    Calibration,
    Counts,
    Limits,
    State,
    judge,
    update,
)
from qafila.core.verdict import Verdict

LOOKS = 60
BASE = 0.02
LIMITS = replace(Limits(), blast_radius=10**9)
EVEN = Calibration(10.0, 20.0, 1.0, 0.0, 0.0, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    rows = [
        row(arguments.rollouts, requests, weight, random)
        for requests in (100, 1000)
        for weight in (0.05, 0.25, 0.5)
    ]
    print(json.dumps({"rollouts": arguments.rollouts, "looks": LOOKS, "rows": rows}))


def row(
    rollouts: int, requests: int, weight: float, random: np.random.Generator
) -> dict[str, object]:
    """Return the three figures for one size of look and one weight."""
    equal = [rollout(requests, weight, 1.0, random)[0] for _ in range(rollouts)]
    double = [rollout(requests, weight, 2.0, random)[0] for _ in range(rollouts)]
    four = [rollout(requests, weight, 4.0, random) for _ in range(rollouts)]
    caught = sorted(looks * requests for verdict, looks in four if verdict is Verdict.FAIL)
    half = rollouts // 2
    return {
        "requests_per_look": requests,
        "weight": weight,
        "false_abort": equal.count(Verdict.FAIL) / rollouts,
        "false_promotion": double.count(Verdict.PASS) / rollouts,
        "proved_equal": equal.count(Verdict.PASS) / rollouts,
        "median_requests_to_catch": caught[half] if len(caught) > half else None,
    }


def rollout(
    requests: int, weight: float, ratio: float, random: np.random.Generator
) -> tuple[Verdict, int]:
    """Return how one simulated rollout ended, and after how many looks."""
    state = State()
    for number in range(1, LOOKS + 1):
        canary = int(random.binomial(requests, weight))
        arms = [
            (requests - canary, int(random.binomial(requests - canary, BASE))),
            (canary, int(random.binomial(canary, BASE * ratio))),
        ]
        look = Counts(*(ArmCounts(n, errors=bad, bad=bad) for n, bad in arms))
        state = update(state, look, EVEN, LIMITS)
        verdict = judge(state, EVEN, LIMITS, reasonable_requests=float("inf")).verdict
        if verdict is not Verdict.INCONCLUSIVE:
            return verdict, number
    return Verdict.INCONCLUSIVE, LOOKS


if __name__ == "__main__":
    main()
