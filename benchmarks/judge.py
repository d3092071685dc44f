"""Simulate rollouts: how often the judge errs, and how soon it catches a bad canary.

    python -m benchmarks.judge --rollouts 10000 > judge.json

Prints one JSON object. ``rows``: one for each number of requests a look, weight, and kind of users:
``tenants`` 400 whose k-th sends a share ∝ 1/k of the requests and whose bad rates are Beta(1, 49),
sticky by a hash; 0: alike, split request by request. Baseline 2 % bad, 60 looks, an A/A bake of ten
looks' requests before. Shares have Wilson intervals at 95 %.

- ``false_abort``: of canaries that are as good as the baseline, by any e-value;
- ``false_promotion``: of canaries twice as bad, by the ratio;
- ``median_requests_to_catch``: both arms, until half of the canaries four times as bad are aborted;
- ``z_test_false_abort``: of a one-sided z-test of two shares at 1 %, peeked at every look, on the
  same data as ``false_abort``.

The best fixed-sample test to compare with knows more than the judge: that the ratio is four, all
that the bake says of the tenants, and when to look, once. It is the likelihood ratio test (Neyman
and Pearson), its critical value is the quantile under equal canaries of the same simulation, and it
reads whole looks, as the judge does. ``fixed_sample_requests``: the least requests that it
needs at the judge's own error rates, its share of α for one guardrail and its β, so missing one bad
canary of twenty; ``ratio`` is the judge's median over that. ``…_80``: at the customary power of
80 %. ``…_50``: catching half, as the judge has at its median. ``…_50_as_made``: half, at the false
aborts that the judge really made (Wilson's upper end), since a test that is allowed more of them is
quicker. ``fixed_sample_exact``: of users alike, the exact binomial test, in requests and
not in whole looks. None: not within the looks.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from benchmarks.judge_world import (
    BASE,
    LIMITS,
    LOOKS,
    TENANTS,
    Crowd,
    Flags,
    Floats,
    Ints,
    Judges,
    Look,
    World,
)
from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.e_values import log_mean, rate_gains
from qafila.rollout.judge.evidence import UNDER_GRID
from qafila.rollout.judge.objectives import tolerated
from qafila.statistics.intervals import wilson

SIZES = (100, 1000, 10_000)
WEIGHTS = (0.05, 0.25)
BATCH = 500
NEVER = 10**6
_FOUR = (1.4,)  # log of 4.06: where the grid has the ratio that the fixed test knows
_Z = float(stats.norm.isf(LIMITS.alpha))
_CLIMB = (0.01, 0.05, 0.25, 0.5)


@dataclass
class Ended:
    """When the judge and a peeking z-test ended each rollout (look number, or NEVER).

    ``known`` (rollouts, looks): the log likelihood ratio of a test that knows the ratio.
    """

    aborted: Ints
    promoted: Ints
    by_tenant: Flags
    z: Ints
    known: Floats
    spread: Floats

    @property
    def failed(self) -> Flags:
        return self.aborted < np.minimum(self.promoted + 1, NEVER)

    @property
    def passed(self) -> Flags:
        return (self.promoted < NEVER) & ~self.failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--weights", type=float, nargs="*", default=list(WEIGHTS))
    parser.add_argument("--short", action="store_true", help="rows only")
    given = parser.parse_args()
    random = np.random.default_rng(given.seed)
    rows = []
    for tenants in (False, True):
        for requests in given.requests:
            for weight in given.weights:
                rows.append(row(given.rollouts, requests, weight, tenants, random))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    extra = (
        {}
        if given.short
        else {
            "climb": [climb(given.rollouts // 5, n, random) for n in given.requests],
            "one_tenant": [one_tenant(given.rollouts // 5, n, random) for n in given.requests],
            "under": [under(given.rollouts, n, random) for n in given.requests],
            "curves": [curves(given.rollouts // 5, t, random) for t in (False, True)],
        }
    )
    about = {"rollouts": given.rollouts, "looks": LOOKS, "seed": given.seed, "bad_rate": BASE}
    print(json.dumps({**about, "rows": rows, **extra}))


def row(
    rollouts: int, requests: int, weight: float, tenants: bool, random: np.random.Generator
) -> dict[str, object]:
    """Return the figures for one size of look, one weight and one kind of users."""
    world = World(requests, (weight,) * LOOKS, tenants)
    equal = simulate(world, rollouts, random, whole=True)
    double = simulate(replace(world, ratio=2.0), rollouts, random)
    four = simulate(replace(world, ratio=4.0), rollouts, random, half=True)
    median = median_look(np.where(four.failed, four.aborted, NEVER))
    aborts = int(equal.failed.sum())
    nominal = 1 / LIMITS.abort_at
    made = min(nominal, wilson(aborts, rollouts)[1])
    fixed = {
        "": fixed_looks(equal.known, four.known, nominal, 1 - LIMITS.beta),
        "_80": fixed_looks(equal.known, four.known, nominal, 0.8),
        "_50": fixed_looks(equal.known, four.known, nominal, 0.5),
        "_50_as_made": fixed_looks(equal.known, four.known, made, 0.5),
    }
    found: dict[str, object] = {
        "requests_per_look": requests,
        "tenants": TENANTS if tenants else 0,
        "weight": weight,
        **_share("false_abort", aborts, rollouts),
        **_share("false_promotion", int(double.passed.sum()), rollouts),
        "proved_equal": float(equal.passed.mean()),
        "median_requests_to_catch": None if median is None else median * requests,
    }
    for name, looks in fixed.items():
        found[f"fixed_sample_requests{name}"] = None if looks is None else looks * requests
        found[f"ratio{name}"] = (
            None if looks is None or median is None else round(median / looks, 3)
        )
    found["fixed_sample_exact"] = None if tenants else round(exact_fixed(weight, nominal, 0.5))
    found |= _share("z_test_false_abort", int((equal.z < NEVER).sum()), rollouts)
    found["spread"] = round(float(np.median(equal.spread)), 3)
    return found


def climb(rollouts: int, requests: int, random: np.random.Generator) -> dict[str, object]:
    """Return the errors where the weight climbs and ever more of the same tenants are on it."""
    weights = tuple(w for w in _CLIMB for _ in range(LOOKS // len(_CLIMB)))
    world = World(requests, weights, tenants=True)
    equal = simulate(world, rollouts, random)
    double = simulate(replace(world, ratio=2.0), rollouts, random)
    return {
        "requests_per_look": requests,
        "weights": list(_CLIMB),
        **_share("false_abort", int(equal.failed.sum()), rollouts),
        **_share("false_promotion", int(double.passed.sum()), rollouts),
    }


def one_tenant(rollouts: int, requests: int, random: np.random.Generator) -> dict[str, object]:
    """Return how a canary ends that gives one middling tenant 90 % bad answers, the rest none more.

    At weight 25 %; it may be promoted before the tenant has asked often enough.
    """
    world = World(requests, (0.25,) * LOOKS, tenants=True, one_wrong=0.9)
    ended = simulate(world, rollouts, random)
    looks = median_look(np.where(ended.failed, ended.aborted, NEVER))
    return {
        "requests_per_look": requests,
        **_share("caught", int(ended.failed.sum()), rollouts),
        "by_the_tenant": float((ended.failed & ended.by_tenant).mean()),
        "promoted": float(ended.passed.mean()),
        "median_requests_to_catch": None if looks is None else looks * requests,
    }


def under(rollouts: int, requests: int, random: np.random.Generator) -> dict[str, object]:
    """Return how often a bad rate of what is tolerated is taken for less, and what proof takes.

    At weight 25 %: ``requests`` of both arms a look, of a canary with half of what is tolerated.
    """
    most = tolerated(Calibration(10.0, 20.0, 1.0, 0.0, 0.0, 1000), LIMITS)

    def first(rate: float) -> Ints:
        logs, ended = np.zeros((rollouts, len(UNDER_GRID))), np.full(rollouts, NEVER)
        for number in range(1, LOOKS + 1):
            n = random.binomial(requests, 0.25, rollouts)
            bad = random.binomial(n, rate)
            logs += rate_gains(bad, n - bad, [most * f for f in UNDER_GRID], np.full(n.shape, most))
            proven = log_mean(logs) >= np.log(LIMITS.promote_at)
            ended = np.minimum(ended, np.where(proven, number, NEVER))
        return np.asarray(ended)

    looks = median_look(first(most / 2))
    return {
        "requests_per_look": requests,
        "tolerated": most,
        **_share("false_promotion", int((first(most) < NEVER).sum()), rollouts),
        "median_requests_at_half": None if looks is None else looks * requests,
    }


def curves(rollouts: int, tenants: bool, random: np.random.Generator) -> dict[str, object]:
    """Return, look by look, the share ended so far: what a plot draws. 1 000 requests, 25 %."""
    world = World(1000, (0.25,) * LOOKS, tenants)
    equal = simulate(world, rollouts, random, whole=True)
    four = simulate(replace(world, ratio=4.0), rollouts, random)
    double = simulate(replace(world, ratio=2.0), rollouts, random)

    def so_far(ended: Ints) -> list[float]:
        return [round(float((ended <= look).mean()), 5) for look in range(1, LOOKS + 1)]

    return {
        "tenants": TENANTS if tenants else 0,
        "z_test_false_abort": so_far(equal.z),
        "false_abort": so_far(np.where(equal.failed, equal.aborted, NEVER)),
        "proved_equal": so_far(np.where(equal.passed, equal.promoted, NEVER)),
        "twice_aborted": so_far(np.where(double.failed, double.aborted, NEVER)),
        "twice_promoted": so_far(np.where(double.passed, double.promoted, NEVER)),
        "four_times_aborted": so_far(np.where(four.failed, four.aborted, NEVER)),
    }


def simulate(
    world: World,
    rollouts: int,
    random: np.random.Generator,
    *,
    whole: bool = False,
    half: bool = False,
) -> Ended:
    """Run rollouts in batches; each stops where the judge ends it.

    ``whole``: none stops, so that every look is known; ``half``: all stop some looks after most
    are caught.
    """
    parts = [
        _batch(world, min(BATCH, rollouts - first), random, whole, half)
        for first in range(0, rollouts, BATCH)
    ]
    return Ended(
        *(
            np.concatenate([getattr(p, name) for p in parts])
            for name in ("aborted", "promoted", "by_tenant", "z", "known", "spread")
        )
    )


def _batch(
    world: World, rollouts: int, random: np.random.Generator, whole: bool, half: bool
) -> Ended:
    crowd = Crowd(world, random, rollouts)
    judges = Judges(crowd.bake(), named=world.tenants)
    ended = Ended(
        np.full(rollouts, NEVER),
        np.full(rollouts, NEVER),
        np.zeros(rollouts, bool),
        np.full(rollouts, NEVER),
        np.full((rollouts, len(world.weights)), -np.inf),
        np.zeros(rollouts),
    )
    seen = np.zeros((4, rollouts))
    for number, (live, look) in enumerate(crowd.looks(), start=1):
        judges.add(live, look)
        harm, tenant = judges.log_harm(live), judges.log_tenant(live, exact=False)
        stop = np.log(LIMITS.abort_at)
        aborts = (harm >= stop) | (tenant >= stop)
        promotes = judges.log_fine(live) >= np.log(LIMITS.promote_at)
        ended.by_tenant[live] |= (tenant >= stop) & (ended.aborted[live] == NEVER)
        ended.aborted[live] = np.minimum(ended.aborted[live], np.where(aborts, number, NEVER))
        ended.promoted[live] = np.minimum(ended.promoted[live], np.where(promotes, number, NEVER))
        if number == 1:
            ended.spread[live] = judges.spread[live]
        if whole or half:
            ended.known[live, number - 1] = judges.log_harm(live, _FOUR)
        if whole:
            rejects = _z_rejects(seen, live, look)
            ended.z[live] = np.minimum(ended.z[live], np.where(rejects, number, NEVER))
        if half:
            if (ended.aborted < NEVER).mean() > 0.97:
                break
        elif not whole:
            crowd.keep(~(aborts | promotes))
            if not len(crowd.live):
                break
    return ended


def _z_rejects(seen: Floats, live: Ints, look: Look) -> Flags:
    """Return where a z-test of the two bad shares so far rejects, one-sided."""
    parts = (look.candidate, look.candidate_bad, look.baseline, look.baseline_bad)
    for place, part in enumerate(parts):
        seen[place, live] += part.sum(axis=1)
    n, y, m, z = seen[:, live]
    pooled = (y + z) / (n + m)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = (y / n - z / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return np.asarray(score > _Z)


def median_look(aborted: Ints) -> int | None:
    """Return the look at which half were aborted; None when fewer than half ever were."""
    at = int(np.sort(aborted)[(len(aborted) - 1) // 2])
    return at if at < NEVER else None


def fixed_looks(equal: Floats, bad: Floats, alpha: float, power: float) -> int | None:
    """Return the least looks at which the test that knows the ratio has ``power`` at ``alpha``."""
    allowed = math.floor(alpha * len(equal))
    for look in range(equal.shape[1]):
        critical = np.sort(equal[:, look])[::-1][allowed]  # rejects above: at most alpha of them
        if float((bad[:, look] > critical).mean()) >= power:
            return look + 1
    return None


def exact_fixed(weight: float, alpha: float, power: float) -> float:
    """Return the requests (both arms) of the exact fixed-sample test of one against four times.

    Given n bad answers the canary's are binomial(n, θ(1)), and θ(4) on trial. The least n from
    which on five in a row have ``power``, since power is a saw; over the rate of bad answers.
    """
    null, on_trial = weight, 4 * weight / (4 * weight + 1 - weight)
    in_a_row = 0
    for n in range(1, 10_000):
        critical = int(stats.binom.isf(alpha, n, null))
        in_a_row = in_a_row + 1 if stats.binom.sf(critical, n, on_trial) >= power else 0
        if in_a_row == 5:
            return (n - 4) / (BASE * (4 * weight + 1 - weight))
    return math.inf


def _share(name: str, hits: int, of: int) -> dict[str, object]:
    low, high = wilson(hits, of)
    return {name: hits / of, f"{name}_interval": [round(low, 5), round(high, 5)]}


def shown(rows: Sequence[dict[str, object]]) -> str:
    """Return the rows as a table for a page."""
    keys = (
        "requests_per_look",
        "tenants",
        "weight",
        "false_abort",
        "z_test_false_abort",
        "false_promotion",
        "median_requests_to_catch",
        "fixed_sample_requests",
        "ratio",
        "ratio_80",
        "ratio_50",
        "ratio_50_as_made",
    )
    lines = ["| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
    lines += ["| " + " | ".join(str(r[k]) for k in keys) + " |" for r in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
