"""Judge a rollout by its evidence. Values in, values out; time and traffic are arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping

from qafila.core.analysis.calibration import Calibration
from qafila.core.analysis.evidence import BAD, State, e_alone, e_values
from qafila.core.analysis.guardrails import TENANT, ArmCounts, Limits
from qafila.core.analysis.objectives import allowed, tolerated
from qafila.core.analysis.planning import requests_to_prove
from qafila.core.verdict import Judgement, Verdict


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
    if (one := _one_tenant(state, calibration, e, limits, numbers)) is not None:
        return one
    if e["fine"] >= limits.promote_at:
        return Judgement(
            Verdict.PASS,
            f"harm ×{limits.harm_ratio:g} rejected (E = {_short(e['fine'])} ≥ "
            f"{limits.promote_at:.0f}).",
            numbers,
        )
    share = counts.share
    rate = (counts.baseline.bad + counts.candidate.bad + 0.5) / (counts.requests + 1)
    doubt = state.spread.get(BAD, 0.0)
    needed = math.inf if share is None else requests_to_prove(share, rate, limits, spread=doubt)
    suspicion = max(e[name] for name in (*limits.guardrails, TENANT))
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
    e = e_alone(state, limits)
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
    if (one := _one_tenant(state, calibration, e, limits, numbers)) is not None:
        return one
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


def _one_tenant(
    state: State,
    calibration: Calibration,
    e: Mapping[str, float],
    limits: Limits,
    numbers: Mapping[str, object],
) -> Judgement | None:
    if e[TENANT] < limits.abort_at or state.worst is None:
        return None
    now = state.tenants[state.worst]
    before = calibration.tenants.get(state.worst, ArmCounts())
    return Judgement(
        Verdict.FAIL,
        f"tenant {state.worst}: {now.wrong} of {now.judged} answers of the canary failed, were "
        f"empty or declared bad, {before.wrong(limits.guardrails)} of {before.requests} in the A/A "
        f"bake (E = {_short(e[TENANT])} ≥ {limits.abort_at:.0f}).",
        {**numbers, "tenant": state.worst},
    )


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
