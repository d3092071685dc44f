"""What the objectives allow by themselves, without a baseline beside the canary."""

from __future__ import annotations

from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.guardrails import Guardrail, Limits

SLOW_SHARE = 0.05  # what a p95 objective allows to be slower


def allowed(guardrail: Guardrail, calibration: Calibration, limits: Limits) -> float:
    """Return the share of bad answers of one kind that the objectives allow by themselves."""
    match guardrail:
        case Guardrail.ERRORS:
            return max(limits.error_rate, 1e-6)
        case Guardrail.LATENCY:
            return SLOW_SHARE
        case Guardrail.EMPTY:
            # The baseline finds nothing for some queries too; that many are no fault.
            most = max(limits.error_rate, limits.harm_ratio * calibration.empty_share, 1e-6)
            return min(0.5, most)
        case _:
            return min(0.9, max(limits.at_most[guardrail], 1e-6))


def tolerated(calibration: Calibration, limits: Limits) -> float:
    """Return the share of bad answers, of any kind, that the objectives add up to."""
    return min(0.9, sum(allowed(g, calibration, limits) for g in limits.guardrails))


def tolerated_wrong(calibration: Calibration, limits: Limits) -> float:
    """Return the share of answers worth nothing that is no tenant's cause for alarm."""
    ways = (g for g in limits.guardrails if g is not Guardrail.LATENCY)
    return min(0.5, sum(allowed(g, calibration, limits) for g in ways))
