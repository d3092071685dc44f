"""What an A/A bake measures: the baseline under two names, so what differs is the split's doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qafila.rollout.judge.guardrails import Answer, ArmCounts, ByTenant, Limits, count
from qafila.rollout.judge.tenants import keep_heaviest

_SKEW_PRIOR = 20.0  # bad answers' worth of belief that the split is even
_SKEW_BOUNDS = (1 / 1.5, 1.5)


@dataclass(frozen=True)
class Calibration:
    """What the A/A bake measured, both arms being the baseline.

    ``slow_ms`` is the allowed ratio times the baseline's p95: slower than that is a bad answer.
    ``skew`` is how many times its share of the requests the twin's share of bad answers was:
    sticky users are not alike. It is drawn towards 1 by the fewness of the counts, and used where
    the router names no tenants. ``named`` is the share of requests with a tenant, ``tenants`` the
    heaviest of these with their counts; all add up to ``whole``.
    """

    p95_ms: float
    slow_ms: float
    skew: float
    bad_share: float
    empty_share: float
    requests: int
    named: float = 0.0
    tenants: ByTenant = field(default_factory=dict, repr=False)
    whole: ArmCounts = field(default_factory=ArmCounts)


def calibrate(answers: Sequence[Answer], limits: Limits) -> Calibration:
    """Return what an A/A bake says about the baseline, its tenants and the split.

    Raises:
        ValueError: no answer at all.
    """
    if not answers:
        raise ValueError("an A/A bake without a request calibrates nothing")
    watched = limits.guardrails
    p95 = float(np.quantile([a.latency_ms for a in answers], 0.95))
    slow_ms = max(limits.latency_ratio * p95, 1.0)  # routers log whole milliseconds
    # For the skew, the slowest twentieth: enough events to see whose users are the heavy ones.
    twin = count((a for a in answers if a.arm == "twin"), p95, guardrails=watched).baseline
    whole = count(answers, p95, guardrails=watched).baseline
    expected = whole.bad * twin.requests / whole.requests
    skew = (twin.bad + _SKEW_PRIOR) / (expected + _SKEW_PRIOR)
    measured = count(answers, slow_ms, guardrails=watched)
    counts = measured.baseline
    named = sum(of.requests for of in measured.of_baseline.values())
    return Calibration(
        p95_ms=p95,
        slow_ms=slow_ms,
        skew=min(max(skew, _SKEW_BOUNDS[0]), _SKEW_BOUNDS[1]),
        bad_share=counts.bad / counts.requests,
        empty_share=counts.empty / counts.requests,
        requests=counts.requests,
        named=named / counts.requests,
        tenants=keep_heaviest(measured.of_baseline),
        whole=counts,
    )
