"""Judge a rollout by its evidence. Values in, values out; time and traffic are arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping

from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.evidence import BAD, State, e_alone, e_values
from qafila.rollout.judge.guardrails import TENANT, ArmCounts, Guardrail, Limits
from qafila.rollout.judge.objectives import allowed, tolerated
from qafila.rollout.judge.sample_plan import requests_to_prove
from qafila.rollout.judge.tenant_names import carrier
from qafila.workload.verdict import Judgement, Verdict

OBSERVED = "tenant_observed"  # among a judgement's numbers: named, but not proven


def judge(
    state: State, calibration: Calibration, limits: Limits, *, reasonable_requests: float = 1000
) -> Judgement:
    """Judge a canary that runs beside its baseline.

    FAIL when one guardrail is proven worse, or one tenant's answers are, or the blast radius is
    used up. PASS when a bad rate of ``harm_ratio`` times the baseline's is rejected; or, where at
    today's bad rate that proof would take more than ``reasonable_requests``, when the canary's bad
    rate is proven to be under what the objectives add up to, no guardrail is under suspicion
    (E(harm) under 1/β), and none is suspected of breaking its own objective (E(over) under 1/β):
    the share that the sum leaves for slow answers is not for errors to use up. Anything else is
    INCONCLUSIVE.

    Where most of a guardrail's bad answers were one tenant's, the sentence says so; it begins with
    that tenant if it is proven too, and the others' answers are not under suspicion.
    """
    e = e_values(state, limits)
    counts = state.counts
    numbers = _numbers(state, e)
    if (stopped := _blast(state, limits, numbers)) is not None:
        return stopped
    for guardrail in limits.guardrails:
        if e[guardrail.value] >= limits.abort_at:
            bad, base = counts.candidate.of(guardrail), counts.baseline.of(guardrail)
            proven = (
                f"{guardrail.value}: canary {bad} of {counts.candidate.requests}, baseline {base} "
                f"of {counts.baseline.requests} (E = {_beyond(e[guardrail.value], limits)})"
            )
            return _failed(proven, guardrail, state, calibration, limits, e)
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
    by_objective = e_alone(state, limits)
    over = max(by_objective[g.value] for g in limits.guardrails)
    if e["under"] >= limits.promote_at > max(suspicion, over) and needed > reasonable_requests:
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
    blast radius is used up; PASS when all together are proven under what they add up to and none is
    under suspicion (E(harm) under 1/β): what slow answers leave of the sum is not for errors to use
    up. ``state`` holds the looks at weight 100 only.
    """
    e = e_alone(state, limits)
    numbers = _numbers(state, e)
    if (stopped := _blast(state, limits, numbers)) is not None:
        return stopped
    counts = state.counts.candidate
    for guardrail in limits.guardrails:
        if e[guardrail.value] >= limits.abort_at:
            proven = (
                f"{guardrail.value}: {counts.of(guardrail)} of {counts.requests}, more than "
                f"{allowed(guardrail, calibration, limits):.2%} "
                f"(E = {_beyond(e[guardrail.value], limits)})"
            )
            return _failed(proven, guardrail, state, calibration, limits, e, alone=True)
    if (one := _one_tenant(state, calibration, e, limits, numbers)) is not None:
        return one
    suspicion = max(e[name] for name in (*limits.guardrails, TENANT))
    if e["under"] >= limits.promote_at > suspicion:
        return Judgement(
            Verdict.PASS,
            f"bad answers under {tolerated(calibration, limits):.1%} proven "
            f"(E = {_short(e['under'])} ≥ {limits.promote_at:.0f}).",
            numbers,
        )
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"{counts.bad} bad of {counts.requests}, "
        f"E(harm) {_short(suspicion)} of {limits.abort_at:.0f}, "
        f"E(under) {_short(e['under'])} of {limits.promote_at:.0f}.",
        numbers,
    )


def _failed(
    proven: str,
    guardrail: Guardrail,
    state: State,
    calibration: Calibration,
    limits: Limits,
    e: Mapping[str, float],
    *,
    alone: bool = False,
) -> Judgement:
    """Say that a guardrail failed, and for whom: the tenant first who is proven and explains it."""
    numbers = _numbers(state, e)
    who = carrier(state, guardrail, calibration, limits, alone=alone)
    if who is None:
        return Judgement(Verdict.FAIL, f"{proven}.", numbers)
    own = math.exp(state.worst_alone) if state.worst == who.tenant else None
    shown = own is not None and own >= limits.abort_at
    if shown and guardrail is not Guardrail.LATENCY and who.rest_e < limits.promote_at:
        tenant = _of_tenant(who.tenant, state, calibration, limits, e)
        others = f"without this tenant {who.rest_bad} of {who.rest}"
        return Judgement(
            Verdict.FAIL, f"{tenant}; {proven}, {others}.", {**numbers, TENANT: who.tenant}
        )
    key, known = OBSERVED, "observed, not proven"
    if guardrail is Guardrail.LATENCY:
        known += ": slowness is not tested by tenant"
    elif own is not None and shown:
        key = TENANT
        known = f"proven: E(tenant) = {_beyond(own, limits)}; but it is not the only one"
    elif own is not None:
        known += f": E(tenant) = {_short(own)} of {limits.abort_at:.0f}"
    return Judgement(
        Verdict.FAIL,
        f"{proven}; {who.bad} of these {who.bad + who.rest_bad} were tenant {who.tenant}'s, with "
        f"{who.requests} of the {who.requests + who.rest} requests ({known}).",
        {**numbers, key: who.tenant},
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
    said = _of_tenant(state.worst, state, calibration, limits, e)
    return Judgement(Verdict.FAIL, f"{said}.", {**numbers, TENANT: state.worst})


def _of_tenant(
    tenant: str, state: State, calibration: Calibration, limits: Limits, e: Mapping[str, float]
) -> str:
    now, before = state.tenants[tenant], calibration.tenants.get(tenant, ArmCounts())
    own = math.exp(state.worst_alone)
    of_all = "" if own >= limits.abort_at else f" for all tenants, {_short(own)} for this one"
    return (
        f"tenant {tenant}: {now.wrong} of {now.judged} answers of the canary failed, were "
        f"empty or declared bad, {before.wrong(limits.guardrails)} of {before.requests} in the A/A "
        f"bake (E = {_beyond(e[TENANT], limits)}{of_all})"
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


def _beyond(e: float, limits: Limits) -> str:
    return f"{_short(e)} ≥ {limits.abort_at:.0f}"


def _short(e: float) -> str:
    return f"{e:.2g}" if e < 10 else f"{e:.0f}" if e < 1e5 else f"{e:.0e}"
