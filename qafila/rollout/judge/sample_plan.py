"""What proof takes: requests and hours, before and while a canary runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.e_values import MOST_SPREAD, odds
from qafila.rollout.judge.guardrails import Limits
from qafila.rollout.judge.objectives import tolerated
from qafila.rollout.judge.tenants import NAMED_FROM, column, own_rate, prior


@dataclass(frozen=True)
class Proof:
    """What a weight takes until it may pass on proof, at the A/A bake's rate.

    ``by_ratio``: requests of both arms until harm is rejected relative to the baseline;
    ``by_objective``: until the canary's bad answers are proven under what the objectives add up to.
    None where it cannot be proven so however long, or nothing bad was seen to compare. ``hours`` is
    the sooner of the two; None without either, or without traffic. Expected values of a canary that
    is as good as its baseline.
    """

    weight: int
    by_ratio: int | None
    by_objective: int | None
    hours: float | None
    spread: float


def requests_to_prove(
    share: float, bad_rate: float, limits: Limits, *, spread: float = 0.0
) -> float:
    """Return about how many requests (both arms) it takes to reject harm when there is none.

    log(1/β) over the Kullback–Leibler divergence of θ(1) from θ(δ) is the bad answers needed
    (Wald); divided by the bad rate it is requests. What ``spread`` the tenants leave in the split
    is a variance that no further request lessens: harm of δ lies log(δ)/spread standard deviations
    away, and from (log δ)²/(2·log(1/β)) on the proof never comes. Infinite then, and without bad
    answers or a split.
    """
    if not 0 < share < 1 or bad_rate <= 0:
        return math.inf
    most = math.log(limits.harm_ratio) ** 2 / (2 * math.log(limits.promote_at))
    if spread**2 >= most:
        return math.inf
    p, q = share, float(odds(share, limits.harm_ratio))
    divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    needed = math.log(limits.promote_at) / divergence / (1 - spread**2 / most)
    return needed / min(bad_rate, 1.0)


def requests_to_stay_under(share: float, bad_rate: float, most: float, limits: Limits) -> float:
    """Return about how many requests (both arms) prove a bad rate under ``most``; infinite if not.

    log(1/β) over the Kullback–Leibler divergence of the rate from ``most`` is the canary's requests
    needed (Wald).
    """
    if share <= 0 or bad_rate >= most:
        return math.inf
    p, q = max(bad_rate, 0.0), most
    divergence = (p * math.log(p / q) if p else 0.0) + (1 - p) * math.log((1 - p) / (1 - q))
    return math.log(limits.promote_at) / divergence / share


def expected_spread(calibration: Calibration, share: float) -> float:
    """Return the spread to expect where ``share`` of the bake's tenants are on the canary.

    Σ n²·Var(p) / (Σ n·p)² / (w·(1 − w)) is its square: a tenant is on it with probability w.
    """
    names = tuple(calibration.tenants)
    if not 0 < share < 1 or calibration.named < NAMED_FROM or not names:
        return 0.0
    requests = column(names, calibration.tenants, "requests")
    bad = column(names, calibration.tenants, "bad")
    mean, variance = own_rate(requests, bad, *prior(requests, bad))
    doubt = float((requests**2 * variance).sum() / (requests * mean).sum() ** 2)
    return float(np.minimum(math.sqrt(doubt / (share * (1 - share))), MOST_SPREAD))


def plan_proof(
    weights: Sequence[int], calibration: Calibration, limits: Limits, requests_per_s: float
) -> tuple[Proof, ...]:
    """Return what each weight (percent) takes; at 100 there is nothing to compare with."""
    rate = calibration.bad_share
    most = tolerated(calibration, limits)
    rows = []
    for weight in weights:
        share = weight / 100
        spread = expected_spread(calibration, share)
        ratio = requests_to_prove(share, rate, limits, spread=spread)
        under = requests_to_stay_under(share, rate, most, limits)
        rows.append(
            Proof(
                weight,
                _whole(ratio),
                _whole(under),
                hours_to_prove(min(ratio, under), requests_per_s),
                spread,
            )
        )
    return tuple(rows)


def hours_to_prove(requests: float, requests_per_s: float) -> float | None:
    """Return the hours that many requests take at a rate; None where they never come."""
    if not math.isfinite(requests) or requests_per_s <= 0:
        return None
    return requests / requests_per_s / 3600


def _whole(requests: float) -> int | None:
    return math.ceil(requests) if math.isfinite(requests) else None
