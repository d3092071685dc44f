"""Add looks to the evidence of one rollout, and read the e-values from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.e_values import (
    GRID,
    MOST_LOG,
    NOTHING,
    Array,
    Logs,
    added,
    gains,
    log_e,
    log_mean,
    odds,
    rate_gains,
)
from qafila.rollout.judge.guardrails import TENANT, ArmCounts, Counts, Guardrail, Limits
from qafila.rollout.judge.objectives import allowed, tolerated, tolerated_wrong
from qafila.rollout.judge.tenants import (
    MOST_TENANTS,
    NAMED_FROM,
    Seen,
    add_seen,
    column,
    own_rate,
    prior,
    spread_of,
    wary_weight,
    worse_than_before,
)

HARM_POINTS = (0.5, 1.0, 1.4, 1.8, 2.4)  # log: 1.6, 2.7, 4.1, 6 and 11 times as often
FINE_GRID = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.25)  # every point is under the δ it is against
_OVER_GRID = (1.4, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0)
UNDER_GRID = (0.02, 0.1, 0.25, 0.4, 0.55, 0.7)
SKEW_MARGIN = 1.15  # where no tenants are named: what the skew of a short bake does not show
SLOW_LOOKS = 5  # slowness comes in bursts: that many looks at least until it is proven
_TROUBLE = 0.1  # of the baseline's own answers wrong: such a look says nothing about one tenant
BAD = "bad"  # beside the guardrails' names: bad in any way


@dataclass(frozen=True)
class State:
    """The evidence of one rollout so far: log likelihoods on each grid, and the counts.

    ``harm``, ``fine`` and ``spread`` are by guardrail's name, ``fine`` for answers bad in any way.
    ``blast`` counts the canary's answers that were worth nothing (failed, empty, declared bad),
    seen by users or caught by a retry. ``tenants`` are at most ``MOST_TENANTS``; ``tenant`` is the
    log e-value for one of them, ``worst`` who weighs most in it, and ``worst_alone`` the log of
    what it would be if all others counted 1: the evidence of that one by itself.
    """

    counts: Counts = field(default_factory=Counts)
    harm: Mapping[Guardrail, Logs] = field(
        default_factory=lambda: dict.fromkeys(Guardrail, NOTHING)
    )
    over: Mapping[Guardrail, Logs] = field(
        default_factory=lambda: {g: (0.0,) * len(_OVER_GRID) for g in Guardrail}
    )
    fine: Logs = NOTHING
    under: Logs = (0.0,) * len(UNDER_GRID)
    blast: int = 0
    spread: Mapping[str, float] = field(default_factory=dict)
    harm_ratio: float = 2.0
    tenants: Mapping[str, Seen] = field(default_factory=dict, repr=False)
    tenant: float = 0.0
    worst: str | None = None
    worst_alone: float = 0.0


def fine_points(harm_ratio: float) -> tuple[float, ...]:
    """Return the log odds, relative to ``harm_ratio``, that promotion is proven by."""
    below = min(1.0, 0.95 * harm_ratio)
    steps = (round(10 * math.log(below * f / harm_ratio)) for f in FINE_GRID)
    lowest = round(10 * float(GRID[0]))
    return tuple(max(lowest, min(-1, step)) / 10 for step in steps)


def update(state: State, look: Counts, calibration: Calibration, limits: Limits) -> State:
    """Return the state with one look added. A look without both arms adds nothing relative."""
    counts = state.counts + look
    tenants, tenant, worst, alone = _tenants(state, look, calibration, limits)
    harm, fine, spread = dict(state.harm), state.fine, dict(state.spread)
    splits = Splits(look, counts, tenants, calibration)
    for guardrail in limits.guardrails:
        w, spread[guardrail.value] = splits.of(guardrail.value)
        if 0 < w < 1:
            y, n = look.candidate.of(guardrail), look.baseline.of(guardrail)
            harm[guardrail] = added(harm[guardrail], gains(y, n, odds(w, splits.heavy)))
    w, spread[BAD] = splits.of(BAD)
    if 0 < w < 1:
        worse = odds(w, limits.harm_ratio * splits.light)
        fine = added(fine, gains(look.candidate.bad, look.baseline.bad, worse))
    burst = math.log(limits.abort_at) / SLOW_LOOKS
    over = dict(state.over)
    for g in limits.guardrails:
        most_gain = burst if g is Guardrail.LATENCY else math.inf
        over[g] = _over(over[g], look.candidate, g, allowed(g, calibration, limits), most_gain)
    most = tolerated(calibration, limits)
    good = look.candidate.requests - look.candidate.bad
    rates = [most * f for f in UNDER_GRID]
    return State(
        counts=counts,
        harm=harm,
        over=over,
        fine=fine,
        under=added(state.under, rate_gains(look.candidate.bad, good, rates, most)),
        blast=state.blast + look.candidate.wrong(limits.guardrails),
        spread=spread,
        harm_ratio=limits.harm_ratio,
        tenants=tenants,
        tenant=tenant,
        worst=worst,
        worst_alone=alone,
    )


class Splits:
    """The share of bad answers that the canary's users would have seen without it, by guardrail.

    By the tenants' own past where the router names them; else the share of the requests, with the
    twin's skew and a margin against it: ``heavy`` for an abort, ``light`` for a promotion.
    """

    def __init__(
        self, look: Counts, so_far: Counts, tenants: Mapping[str, Seen], calibration: Calibration
    ) -> None:
        self.look, self.so_far, self.seen, self.calibration = look, so_far, tenants, calibration
        self.named = calibration.named >= NAMED_FROM
        self.heavy = 1.0 if self.named else SKEW_MARGIN * max(1.0, calibration.skew)
        self.light = 1.0 if self.named else min(1.0, calibration.skew)
        known = tuple(calibration.tenants)
        self.known, self.everyone = known, tuple({**look.of_baseline, **look.of_candidate})

    def of(self, what: str) -> tuple[float, float]:
        """Return the share in this look and its spread so far; 0 where one arm had no request."""
        share, so_far = self.look.share or 0.0, self.so_far.share or 0.0
        if not self.named or not 0 < so_far < 1:
            return share, 0.0
        past = self.calibration.tenants
        rate, weight = prior(column(self.known, past, "requests"), column(self.known, past, what))
        on_c, on_b = self._expected(what, float(rate), float(weight))
        names = tuple(self.seen)
        mean, variance = own_rate(
            column(names, past, "requests"), column(names, past, what), rate, weight
        )
        c = np.array([self.seen[t].candidate for t in names], float)
        b = np.array([self.seen[t].baseline for t in names], float)
        rest_c = float(rate) * (self.so_far.candidate.requests - c.sum())
        rest_b = float(rate) * (self.so_far.baseline.requests - b.sum())
        split = on_c / (on_c + on_b) if 0 < share < 1 else share
        return split, float(spread_of(c, b, mean, variance, rest_c, rest_b))

    def _expected(self, what: str, rate: float, weight: float) -> tuple[float, float]:
        """Return the bad answers expected on either arm in this look."""
        past, look = self.calibration.tenants, self.look
        mean, _ = own_rate(
            column(self.everyone, past, "requests"),
            column(self.everyone, past, what),
            rate,
            weight,
        )
        on = []
        for arm, by in ((look.candidate, look.of_candidate), (look.baseline, look.of_baseline)):
            requests = column(self.everyone, by, "requests")
            rest = arm.requests - requests.sum()
            on.append(float((requests * mean).sum() + rest * rate))
        return on[0], on[1]


def _tenants(
    state: State, look: Counts, calibration: Calibration, limits: Limits
) -> tuple[Mapping[str, Seen], float, str | None, float]:
    """Return the tenants so far, log E of "one of them fares badly", who weighs most, its log E.

    The mean over ``MOST_TENANTS`` places, of which the empty ones and the baseline's are 1; in the
    last, all but one are.
    """
    watched = limits.guardrails
    base = look.baseline
    trouble = base.wrong(watched) > _TROUBLE * base.requests
    wrong = {t: c.wrong(watched) for t, c in look.of_candidate.items()}
    seen = add_seen(
        state.tenants,
        calibration.tenants,
        look.of_baseline,
        look.of_candidate,
        None if trouble else wrong,
    )
    names = tuple(t for t, s in seen.items() if s.judged)
    if not names:
        return seen, 0.0, None, 0.0
    past = calibration.tenants
    known = tuple(past)
    ways = {t: c.wrong(watched) for t, c in past.items()}
    asked, bad = column(known, past, "requests"), np.array([ways[t] for t in known], float)
    rate, weight = prior(asked, bad)
    logs = worse_than_before(
        [seen[t].judged for t in names],
        [seen[t].wrong for t in names],
        (column(names, past, "requests"), np.array([ways.get(t, 0) for t in names], float)),
        rate,
        wary_weight(bad, rate, weight),
        tolerated_wrong(calibration, limits),
    )
    places = np.concatenate([logs, np.zeros(MOST_TENANTS - len(logs))])
    first = int(np.argmax(logs))
    alone = log_mean(np.append(logs[first], np.zeros(MOST_TENANTS - 1)))
    return seen, float(log_mean(places)), names[first], float(alone)


def _over(logs: Logs, arm: ArmCounts, guardrail: Guardrail, most: float, most_gain: float) -> Logs:
    """Add one look against ``most``; a gain cut off at ``most_gain`` only makes it safer."""
    return added(logs, np.minimum(over_gains(arm.requests, arm.of(guardrail), most), most_gain))


def over_gains(requests: int, bad: int, most: float) -> Array:
    """Return the log likelihood ratios of rates over ``most`` against it."""
    rates = [min(most * f, (1 + most) / 2) for f in _OVER_GRID]
    return rate_gains(bad, requests - bad, rates, most)


def e_values(state: State, limits: Limits | None = None) -> dict[str, float]:
    """Return every e-value by name, as a look is stored; of what ``limits`` watch, or of all.

    Latency and what a service declares count as harm only when the canary is bad more often than
    the baseline *and* more often than the objective allows: the smaller of the two e-values, which
    is an e-value for "one of the two does not hold". So a candidate that does more work, within its
    objective, is not aborted for it; and a machine that is slow for both is not the canary's fault.
    One look counts for at most a fifth of a proof of slowness: requests that waited for the same
    hiccup are one event. ``tenant`` is the one for a single tenant who fares badly.
    """
    watched = tuple(Guardrail) if limits is None else limits.guardrails
    found: dict[str, float] = {}
    for g in watched:
        e = _relative(state.harm[g], state.spread.get(g.value, 0.0), HARM_POINTS)
        found[g.value] = min(e, _mean(state.over[g])) if over_too(g) else e
    points = fine_points(state.harm_ratio)
    return found | {
        TENANT: math.exp(state.tenant),
        "fine": _relative(state.fine, state.spread.get(BAD, 0.0), points),
        "under": _mean(state.under),
    }


def over_too(guardrail: Guardrail) -> bool:
    """Say whether harm is to be bad more often than the objective too, not only than before."""
    return guardrail not in (Guardrail.ERRORS, Guardrail.EMPTY)


def e_alone(state: State, limits: Limits) -> dict[str, float]:
    """Return the e-values of a candidate without a baseline beside it: against the objectives."""
    found = {g.value: _mean(state.over[g]) for g in limits.guardrails}
    return found | {TENANT: math.exp(state.tenant), "under": _mean(state.under)}


def _relative(logs: Logs, spread: float, points: Sequence[float]) -> float:
    return math.exp(float(log_e(logs, spread, points)))


def _mean(logs: Logs) -> float:
    """Return the mean of exp(logs), at most what can be stored."""
    return math.exp(min(MOST_LOG, float(log_mean(logs))))
