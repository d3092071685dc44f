"""Add looks to the evidence of a rollout, and judge it.

Everything here is values in, values out; time and traffic are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from qafila.core.analysis.calibration import Calibration
from qafila.core.analysis.e_values import Logs, add, mean, theta
from qafila.core.analysis.guardrails import ArmCounts, Counts, Guardrail, Limits
from qafila.core.analysis.planning import requests_to_prove
from qafila.core.verdict import Judgement, Verdict

HARM_GRID = (1.3, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0)
FINE_GRID = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.25)  # every point is under the δ it is against
_OVER_GRID = (1.4, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0)
_UNDER_GRID = (0.02, 0.1, 0.25, 0.4, 0.55, 0.7)
SKEW_MARGIN = 1.15
SLOW_SHARE = 0.05  # what a p95 objective allows to be slower
SLOW_LOOKS = 5  # slowness comes in bursts: that many looks at least until it is proven


@dataclass(frozen=True)
class State:
    """The evidence of one rollout so far: log likelihood ratios on each grid, and the counts.

    ``blast`` counts the canary's answers that were worth nothing (failed, empty, declared bad),
    seen by users or caught by a retry.
    """

    counts: Counts = field(default_factory=Counts)
    harm: Mapping[Guardrail, Logs] = field(
        default_factory=lambda: {g: (0.0,) * len(HARM_GRID) for g in Guardrail}
    )
    over: Mapping[Guardrail, Logs] = field(
        default_factory=lambda: {g: (0.0,) * len(_OVER_GRID) for g in Guardrail}
    )
    fine: Logs = (0.0,) * len(FINE_GRID)
    under: Logs = (0.0,) * len(_UNDER_GRID)
    blast: int = 0


def update(state: State, look: Counts, calibration: Calibration, limits: Limits) -> State:
    """Return the state with one look added. A look without both arms adds nothing relative."""
    harm, fine = dict(state.harm), state.fine
    w = look.share
    if w is not None and 0 < w < 1:
        heavy = SKEW_MARGIN * max(1.0, calibration.skew)
        light = min(1.0, calibration.skew)
        for guardrail in limits.guardrails:
            y, n = look.candidate.of(guardrail), look.baseline.of(guardrail)
            harm[guardrail] = add(
                harm[guardrail], y, n, [theta(r * heavy, w) for r in HARM_GRID], theta(heavy, w)
            )
        worst = limits.harm_ratio * light
        below = min(1.0, 0.95 * worst)
        fine = add(
            fine,
            look.candidate.bad,
            look.baseline.bad,
            [theta(below * r, w) for r in FINE_GRID],
            theta(worst, w),
        )
    burst = math.log(limits.abort_at) / SLOW_LOOKS
    over = dict(state.over)
    for g in limits.guardrails:
        most_gain = burst if g is Guardrail.LATENCY else math.inf
        over[g] = _rate(over[g], look.candidate, g, allowed(g, calibration, limits), most_gain)
    most = tolerated(calibration, limits)
    good = look.candidate.requests - look.candidate.bad
    under = add(state.under, look.candidate.bad, good, [most * f for f in _UNDER_GRID], most)
    return State(
        counts=state.counts + look,
        harm=harm,
        over=over,
        fine=fine,
        under=under,
        blast=state.blast + look.candidate.wrong(limits.guardrails),
    )


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


def e_values(state: State, limits: Limits | None = None) -> dict[str, float]:
    """Return every e-value by name, as a look is stored; of what ``limits`` watch, or of all.

    Latency and what a service declares count as harm only when the canary is bad more often than
    the baseline *and* more often than the objective allows: the smaller of the two e-values, which
    is an e-value for "one of the two does not hold". So a candidate that does more work, within its
    objective, is not aborted for it; and a machine that is slow for both is not the canary's fault.
    One look counts for at most a fifth of a proof of slowness: requests that waited for the same
    hiccup are one event.
    """
    watched = Guardrail if limits is None else limits.guardrails
    found = {g.value: mean(state.harm[g]) for g in watched}
    for g in watched:
        if g not in (Guardrail.ERRORS, Guardrail.EMPTY):
            found[g.value] = min(found[g.value], mean(state.over[g]))
    return found | {"fine": mean(state.fine), "under": mean(state.under)}


def judge(
    state: State, calibration: Calibration, limits: Limits, *, reasonable_requests: float = 1000
) -> Judgement:
    """Judge a canary that runs beside its baseline.

    FAIL when one guardrail is proven worse, or the blast radius is used up. PASS when a bad rate
    of ``harm_ratio`` times the baseline's is rejected; or, where at today's bad rate that proof
    would take more than ``reasonable_requests``, when the canary's bad rate is proven to be under
    what the objectives add up to and no guardrail is under suspicion (E(harm) under 1/β).
    Anything else is INCONCLUSIVE.
    """
    e = e_values(state, limits)
    counts = state.counts
    numbers = _numbers(state, e)
    if (stopped := _blast(state, limits, numbers)) is not None:
        return stopped
    for guardrail in limits.guardrails:
        if e[guardrail.value] >= limits.abort_at:
            bad, base = counts.candidate.of(guardrail), counts.baseline.of(guardrail)
            return Judgement(
                Verdict.FAIL,
                f"{guardrail.value}: canary {bad} of {counts.candidate.requests}, baseline {base} "
                f"of {counts.baseline.requests} (E = {_short(e[guardrail.value])} ≥ "
                f"{limits.abort_at:.0f}).",
                numbers,
            )
    if e["fine"] >= limits.promote_at:
        return Judgement(
            Verdict.PASS,
            f"harm ×{limits.harm_ratio:g} rejected (E = {_short(e['fine'])} ≥ "
            f"{limits.promote_at:.0f}).",
            numbers,
        )
    share = counts.share
    rate = (counts.baseline.bad + counts.candidate.bad + 0.5) / (counts.requests + 1)
    needed = requests_to_prove(share, rate, limits) if share is not None else math.inf
    suspicion = max(e[g.value] for g in limits.guardrails)
    if e["under"] >= limits.promote_at > suspicion and needed > reasonable_requests:
        return Judgement(
            Verdict.PASS,
            f"bad answers too rare for a ratio; under {tolerated(calibration, limits):.1%} "
            f"proven (E = {_short(e['under'])} ≥ {limits.promote_at:.0f}).",
            numbers,
        )
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"E(harm) {_short(suspicion)} of {limits.abort_at:.0f}, "
        f"E(fine) {_short(max(e['fine'], e['under']))} of {limits.promote_at:.0f}.",
        numbers,
    )


def judge_alone(state: State, calibration: Calibration, limits: Limits) -> Judgement:
    """Judge a candidate that has all traffic, so that there is no baseline beside it.

    FAIL when one kind of bad answer is proven more frequent than the objectives allow, or the
    blast radius is used up; PASS when all together are proven under what they add up to. ``state``
    holds the looks at weight 100 only.
    """
    e = {g.value: mean(state.over[g]) for g in limits.guardrails} | {"under": mean(state.under)}
    numbers = _numbers(state, e)
    if (stopped := _blast(state, limits, numbers)) is not None:
        return stopped
    counts = state.counts.candidate
    for guardrail in limits.guardrails:
        if e[guardrail.value] >= limits.abort_at:
            return Judgement(
                Verdict.FAIL,
                f"{guardrail.value}: {counts.of(guardrail)} of {counts.requests}, more than "
                f"{allowed(guardrail, calibration, limits):.2%} "
                f"(E = {_short(e[guardrail.value])} ≥ {limits.abort_at:.0f}).",
                numbers,
            )
    if e["under"] >= limits.promote_at:
        return Judgement(
            Verdict.PASS,
            f"bad answers under {tolerated(calibration, limits):.1%} proven "
            f"(E = {_short(e['under'])} ≥ {limits.promote_at:.0f}).",
            numbers,
        )
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"{counts.bad} bad of {counts.requests}, "
        f"E(under) {_short(e['under'])} of {limits.promote_at:.0f}.",
        numbers,
    )


def _rate(logs: Logs, arm: ArmCounts, guardrail: Guardrail, most: float, most_gain: float) -> Logs:
    """Add one look against ``most``; a gain cut off at ``most_gain`` only makes it safer."""
    grid = [min(most * f, (1 + most) / 2) for f in _OVER_GRID]
    bad = arm.of(guardrail)
    gain = add((0.0,) * len(logs), bad, arm.requests - bad, grid, most)
    return tuple(log + min(more, most_gain) for log, more in zip(logs, gain, strict=True))


def _blast(state: State, limits: Limits, numbers: Mapping[str, object]) -> Judgement | None:
    if state.blast <= limits.blast_radius:
        return None
    return Judgement(
        Verdict.FAIL,
        f"the canary gave {state.blast} answers that failed, were empty or declared bad; "
        f"{limits.blast_radius} are the most in one rollout.",
        numbers,
    )


def _numbers(state: State, e: Mapping[str, float]) -> dict[str, object]:
    return {
        "canary_requests": state.counts.candidate.requests,
        "canary_bad": state.counts.candidate.bad,
        "baseline_requests": state.counts.baseline.requests,
        "baseline_bad": state.counts.baseline.bad,
        "blast": state.blast,
        "e_values": dict(e),
    }


def _short(e: float) -> str:
    return f"{e:.2g}" if e < 10 else f"{e:.0f}" if e < 1e5 else f"{e:.0e}"
