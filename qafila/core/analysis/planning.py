"""What proof takes: requests and hours, before and while a canary runs."""

from __future__ import annotations

import math

from qafila.core.analysis.e_values import theta
from qafila.core.analysis.guardrails import Limits


def requests_to_prove(share: float, bad_rate: float, limits: Limits) -> float:
    """Return about how many requests (both arms) it takes to reject harm when there is none.

    log(1/β) over the Kullback–Leibler divergence of θ(1) from θ(δ) is the bad answers needed
    (Wald); divided by the bad rate it is requests. Infinite without bad answers or a split.
    """
    if not 0 < share < 1 or bad_rate <= 0:
        return math.inf
    p, q = theta(1.0, share), theta(limits.harm_ratio, share)
    divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    return math.log(limits.promote_at) / divergence / min(bad_rate, 1.0)
