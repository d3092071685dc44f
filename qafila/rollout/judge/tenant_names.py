"""Name the tenant on whom a guardrail's bad answers fell, where it failed: words, never a verdict.

A guardrail counts all answers of the canary, and a tenant who alone is served badly can be seen in
the sum before his own e-value is beyond its threshold. Whether and when a canary is stopped is
settled by then; what is said here is of the past, read once, at the look that stopped it.

Told apart are what is *proven* (the tenant's own e-value, with all others' places in it) and what
is *observed*: the tenant had most of these answers, and more of them than one of so many tenants
would have by chance if the canary were as bad for all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scipy.special import bdtrc

from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.e_values import gains, log_e, log_mean, odds
from qafila.rollout.judge.evidence import HARM_POINTS, Splits, State, over_gains, over_too
from qafila.rollout.judge.guardrails import ArmCounts, Counts, Guardrail, Limits
from qafila.rollout.judge.objectives import allowed

_CHANCE = 0.01  # that equal treatment puts as many on any one tenant, at most


@dataclass(frozen=True)
class Carrier:
    """The tenant who had most of one kind of bad answers of the canary.

    ``bad`` of its ``requests``; ``rest_bad`` of ``rest`` are the canary's other answers, and
    ``rest_e`` is the guardrail's e-value without the tenant's answers: of counts pooled over the
    looks, so that it is read to explain a failure and not to decide one.
    """

    tenant: str
    bad: int
    requests: int
    rest_bad: int
    rest: int
    rest_e: float


def carrier(
    state: State, guardrail: Guardrail, calibration: Calibration, limits: Limits, *, alone: bool
) -> Carrier | None:
    """Return who had most of a guardrail's bad answers on the canary, beyond chance; or None.

    Beyond chance: of k bad answers each falls on the tenant with the probability of its share of
    the requests, or of the bad answers that the bake lets expect where that is more; the binomial
    tail from what it had, times the number of tenants on the canary (Bonferroni), is under 1 %.
    ``alone``: no baseline is beside it (``judge_alone``).
    """
    on_canary = {t: s for t, s in state.tenants.items() if s.candidate}
    if not on_canary:
        return None
    tenant = max(on_canary, key=lambda t: on_canary[t].answers.of(guardrail))
    own, whole = on_canary[tenant].answers, state.counts.candidate
    bad, of_all = own.of(guardrail), whole.of(guardrail)
    if 2 * bad <= of_all:
        return None
    share = _share(state, tenant, guardrail, calibration)
    if len(on_canary) * float(bdtrc(bad - 1, of_all, share)) > _CHANCE:
        return None
    return Carrier(
        tenant,
        bad,
        own.requests,
        of_all - bad,
        whole.requests - own.requests,
        _without(state, tenant, guardrail, calibration, limits, alone=alone),
    )


def _share(state: State, tenant: str, guardrail: Guardrail, calibration: Calibration) -> float:
    """Return the tenant's share of what the canary answers, or of what was to be bad of it."""
    canary = {t: s.answers for t, s in state.tenants.items()}
    own = {tenant: canary.pop(tenant)}
    whole = state.counts.candidate
    others = replace(whole, requests=whole.requests - own[tenant].requests)
    apart = Counts(others, own[tenant], canary, own)
    expected, _ = Splits(apart, apart, {}, calibration).of(guardrail.value)
    return max(expected, apart.share or 0.0)


def _without(
    state: State,
    tenant: str,
    guardrail: Guardrail,
    calibration: Calibration,
    limits: Limits,
    *,
    alone: bool,
) -> float:
    """Return the guardrail's e-value without one tenant's answers of the canary."""
    whole, own = state.counts.candidate, state.tenants[tenant].answers
    bad, requests = whole.of(guardrail) - own.of(guardrail), whole.requests - own.requests
    most = allowed(guardrail, calibration, limits)
    over = float(log_mean(over_gains(requests, bad, most)))
    if alone:
        return math.exp(over)
    seen = {**state.tenants, tenant: replace(state.tenants[tenant], answers=ArmCounts())}
    rest = Counts(
        state.counts.baseline,
        replace(whole, requests=requests),
        {t: ArmCounts(s.baseline) for t, s in seen.items()},
        {t: s.answers for t, s in seen.items()},
    )
    splits = Splits(rest, rest, seen, calibration)
    share, spread = splits.of(guardrail.value)
    if not 0 < share < 1:
        return 1.0
    found = gains(bad, rest.baseline.of(guardrail), odds(share, splits.heavy))
    relative = float(log_e(found, spread, HARM_POINTS))
    return math.exp(min(relative, over) if over_too(guardrail) else relative)
