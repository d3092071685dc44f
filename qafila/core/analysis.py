"""Judge a canary by an exact sequential test on counts of bad answers.

Given one bad answer, it came from the canary with probability θ(r) = r·w / (r·w + 1 − w), where w
is the canary's share of the requests at that moment and r how many times as often it gives bad
answers as the baseline. Whatever the bad rate itself is cancels out. The likelihood ratio of r
against r₀, averaged over a grid of r, is an e-value: it stays under 1/α for ever with probability
at least 1 − α when r₀ is true, however often it is read and however the weights move
(after Lindon & Malek 2022, arXiv 2011.03567; Ville's inequality). With w counted in the same look
the count of canary events is hypergeometric, which is less spread than the binomial assumed, so
the test errs to the safe side.

Everything here is values in, values out; time and traffic are arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np

from qafila.core.verdict import Judgement, Verdict

HARM_GRID = (1.3, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0)
FINE_GRID = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.25)  # every point is under the δ it is against
_OVER_GRID = (1.4, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0)
_UNDER_GRID = (0.02, 0.1, 0.25, 0.4, 0.55, 0.7)
SKEW_MARGIN = 1.15
_SKEW_PRIOR = 20.0  # bad answers' worth of belief that the split is even
_SKEW_BOUNDS = (1 / 1.5, 1.5)
SLOW_SHARE = 0.05  # what a p95 objective allows to be slower
SLOW_LOOKS = 5  # slowness comes in bursts: that many looks at least until it is proven


class Guardrail(StrEnum):
    """What makes an answer bad. Each is judged by itself; promotion looks at any of them."""

    ERRORS = "errors"
    LATENCY = "latency"
    EMPTY = "empty"


class Answer(Protocol):
    """One finished request, as a router's port tells it."""

    @property
    def arm(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def attempts(self) -> int: ...
    @property
    def results(self) -> int | None: ...


@dataclass(frozen=True)
class Limits:
    """What the judge holds a canary to.

    ``alpha`` bounds a false abort and is shared by the guardrails; ``beta`` bounds a false
    promotion at ``harm_ratio`` times the baseline's bad rate.
    """

    harm_ratio: float = 2.0
    error_rate: float = 0.001
    latency_ratio: float = 1.25
    blast_radius: int = 100
    alpha: float = 0.01
    beta: float = 0.05

    @property
    def abort_at(self) -> float:
        return len(Guardrail) / self.alpha

    @property
    def promote_at(self) -> float:
        return 1 / self.beta


@dataclass(frozen=True)
class Calibration:
    """What the A/A bake measured, both arms being the baseline.

    ``slow_ms`` is the allowed ratio times the baseline's p95: slower than that is a bad answer.
    ``skew`` is how many times its share of the requests the twin's share of bad answers was:
    sticky users are not alike. It is drawn towards 1 by the fewness of the counts.
    """

    p95_ms: float
    slow_ms: float
    skew: float
    bad_share: float
    empty_share: float
    requests: int


@dataclass(frozen=True)
class ArmCounts:
    """Requests of one arm, and how many were bad in which way; ``bad`` counts each once."""

    requests: int = 0
    errors: int = 0
    latency: int = 0
    empty: int = 0
    bad: int = 0

    def __add__(self, other: ArmCounts) -> ArmCounts:
        return ArmCounts(
            self.requests + other.requests,
            self.errors + other.errors,
            self.latency + other.latency,
            self.empty + other.empty,
            self.bad + other.bad,
        )

    def of(self, guardrail: Guardrail) -> int:
        """Return the bad answers of one kind."""
        return {
            Guardrail.ERRORS: self.errors,
            Guardrail.LATENCY: self.latency,
            Guardrail.EMPTY: self.empty,
        }[guardrail]


@dataclass(frozen=True)
class Counts:
    """One look, or all of them so far."""

    baseline: ArmCounts = ArmCounts()
    candidate: ArmCounts = ArmCounts()

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.baseline + other.baseline, self.candidate + other.candidate)

    @property
    def requests(self) -> int:
        return self.baseline.requests + self.candidate.requests

    @property
    def share(self) -> float | None:
        """Return the candidate's share of the requests; None without a request."""
        return self.candidate.requests / self.requests if self.requests else None


Logs = tuple[float, ...]


@dataclass(frozen=True)
class State:
    """The evidence of one rollout so far: log likelihood ratios on each grid, and the counts.

    ``blast`` counts the canary's errors and empty answers, seen by users or caught by a retry.
    """

    counts: Counts = Counts()
    harm: Mapping[Guardrail, Logs] = field(
        default_factory=lambda: {g: (0.0,) * len(HARM_GRID) for g in Guardrail}
    )
    over: Mapping[Guardrail, Logs] = field(
        default_factory=lambda: {g: (0.0,) * len(_OVER_GRID) for g in Guardrail}
    )
    fine: Logs = (0.0,) * len(FINE_GRID)
    under: Logs = (0.0,) * len(_UNDER_GRID)
    blast: int = 0


def count(answers: Iterable[Answer], slow_ms: float, *, trial: str = "candidate") -> Counts:
    """Count answers by arm: ``trial`` is on trial, anything else is the baseline."""
    tallies = {"baseline": [0] * 5, "candidate": [0] * 5}
    for answer in answers:
        error = answer.status >= 500 or answer.status == 0 or answer.attempts > 1
        slow = answer.latency_ms > slow_ms
        empty = not error and answer.results == 0
        tally = tallies["candidate" if answer.arm == trial else "baseline"]
        for place, happened in enumerate((True, error, slow, empty, error or slow or empty)):
            tally[place] += happened
    return Counts(ArmCounts(*tallies["baseline"]), ArmCounts(*tallies["candidate"]))


def calibrate(answers: Sequence[Answer], limits: Limits) -> Calibration:
    """Return what an A/A bake says about the baseline and about the split.

    Raises:
        ValueError: no answer at all.
    """
    if not answers:
        raise ValueError("an A/A bake without a request calibrates nothing")
    p95 = float(np.quantile([a.latency_ms for a in answers], 0.95))
    slow_ms = max(limits.latency_ratio * p95, 1.0)  # routers log whole milliseconds
    # For the skew, the slowest twentieth: enough events to see whose users are the heavy ones.
    twin = count((a for a in answers if a.arm == "twin"), p95).baseline
    whole = count(answers, p95).baseline
    expected = whole.bad * twin.requests / whole.requests
    skew = (twin.bad + _SKEW_PRIOR) / (expected + _SKEW_PRIOR)
    measured = count(answers, slow_ms).baseline
    return Calibration(
        p95_ms=p95,
        slow_ms=slow_ms,
        skew=min(max(skew, _SKEW_BOUNDS[0]), _SKEW_BOUNDS[1]),
        bad_share=measured.bad / measured.requests,
        empty_share=measured.empty / measured.requests,
        requests=measured.requests,
    )


def update(state: State, look: Counts, calibration: Calibration, limits: Limits) -> State:
    """Return the state with one look added. A look without both arms adds nothing relative."""
    harm, fine = dict(state.harm), state.fine
    w = look.share
    if w is not None and 0 < w < 1:
        heavy = SKEW_MARGIN * max(1.0, calibration.skew)
        light = min(1.0, calibration.skew)
        for guardrail in Guardrail:
            y, n = look.candidate.of(guardrail), look.baseline.of(guardrail)
            harm[guardrail] = _add(
                harm[guardrail], y, n, [_theta(r * heavy, w) for r in HARM_GRID], _theta(heavy, w)
            )
        worst = limits.harm_ratio * light
        below = min(1.0, 0.95 * worst)
        fine = _add(
            fine,
            look.candidate.bad,
            look.baseline.bad,
            [_theta(below * r, w) for r in FINE_GRID],
            _theta(worst, w),
        )
    over = {
        g: _rate(state.over[g], look.candidate, g, allowed(g, calibration, limits), most_gain)
        for g, most_gain in (
            (Guardrail.ERRORS, math.inf),
            (Guardrail.LATENCY, math.log(limits.abort_at) / SLOW_LOOKS),
            (Guardrail.EMPTY, math.inf),
        )
    }
    most = tolerated(calibration, limits)
    good = look.candidate.requests - look.candidate.bad
    under = _add(state.under, look.candidate.bad, good, [most * f for f in _UNDER_GRID], most)
    return State(
        counts=state.counts + look,
        harm=harm,
        over=over,
        fine=fine,
        under=under,
        blast=state.blast + look.candidate.errors + look.candidate.empty,
    )


def allowed(guardrail: Guardrail, calibration: Calibration, limits: Limits) -> float:
    """Return the share of bad answers of one kind that the objectives allow by themselves."""
    return {
        Guardrail.ERRORS: max(limits.error_rate, 1e-6),
        Guardrail.LATENCY: SLOW_SHARE,
        # The baseline finds nothing for some queries too; that many are no fault.
        Guardrail.EMPTY: min(
            0.5, max(limits.error_rate, limits.harm_ratio * calibration.empty_share, 1e-6)
        ),
    }[guardrail]


def tolerated(calibration: Calibration, limits: Limits) -> float:
    """Return the share of bad answers, of any kind, that the objectives add up to."""
    return min(0.9, sum(allowed(g, calibration, limits) for g in Guardrail))


def e_values(state: State) -> dict[str, float]:
    """Return every e-value by name, as a look is stored.

    Latency counts as harm only when the canary is slow more often than the baseline *and* more
    often than the p95 objective allows: the smaller of the two e-values, which is an e-value for
    "one of the two does not hold". So a candidate that does more work, within its objective, is
    not aborted for it; and a machine that is slow for both is not the canary's fault. One look
    counts for at most a fifth of a proof: requests that waited for the same hiccup are one event.
    """
    relative = {g: _mean(state.harm[g]) for g in Guardrail}
    over_p95 = _mean(state.over[Guardrail.LATENCY])
    return {
        Guardrail.ERRORS.value: relative[Guardrail.ERRORS],
        Guardrail.LATENCY.value: min(relative[Guardrail.LATENCY], over_p95),
        Guardrail.EMPTY.value: relative[Guardrail.EMPTY],
        "fine": _mean(state.fine),
        "under": _mean(state.under),
    }


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
    e = e_values(state)
    counts = state.counts
    numbers = _numbers(state, e)
    if (stopped := _blast(state, limits, numbers)) is not None:
        return stopped
    for guardrail in Guardrail:
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
    suspicion = max(e[g.value] for g in Guardrail)
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
    e = {g.value: _mean(state.over[g]) for g in Guardrail} | {"under": _mean(state.under)}
    numbers = _numbers(state, e)
    if (stopped := _blast(state, limits, numbers)) is not None:
        return stopped
    counts = state.counts.candidate
    for guardrail in Guardrail:
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


def requests_to_prove(share: float, bad_rate: float, limits: Limits) -> float:
    """Return about how many requests (both arms) it takes to reject harm when there is none.

    log(1/β) over the Kullback–Leibler divergence of θ(1) from θ(δ) is the bad answers needed
    (Wald); divided by the bad rate it is requests. Infinite without bad answers or a split.
    """
    if not 0 < share < 1 or bad_rate <= 0:
        return math.inf
    p, q = _theta(1.0, share), _theta(limits.harm_ratio, share)
    divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    return math.log(limits.promote_at) / divergence / min(bad_rate, 1.0)


# -- arithmetic --------------------------------------------------------------------------------


def _theta(r: float, w: float) -> float:
    return r * w / (r * w + 1 - w)


def _add(logs: Logs, hits: int, misses: int, grid: Sequence[float], null: float) -> Logs:
    """Add hits·log(θ/θ₀) + misses·log((1−θ)/(1−θ₀)) at each point of the grid."""
    if not hits and not misses:
        return logs
    theta = np.asarray(grid)
    gain = hits * np.log(theta / null) + misses * np.log((1 - theta) / (1 - null))
    return tuple((np.asarray(logs) + gain).tolist())


def _rate(logs: Logs, arm: ArmCounts, guardrail: Guardrail, most: float, most_gain: float) -> Logs:
    """Add one look against ``most``; a gain cut off at ``most_gain`` only makes it safer."""
    grid = [min(most * f, (1 + most) / 2) for f in _OVER_GRID]
    bad = arm.of(guardrail)
    gain = _add((0.0,) * len(logs), bad, arm.requests - bad, grid, most)
    return tuple(log + min(more, most_gain) for log, more in zip(logs, gain, strict=True))


def _mean(logs: Logs) -> float:
    """Return the mean of exp(logs), at most 1e300 so that it can be stored."""
    values = np.asarray(logs)
    top = float(values.max())
    return math.exp(min(690.0, top + math.log(float(np.exp(values - top).mean()))))


def _blast(state: State, limits: Limits, numbers: Mapping[str, object]) -> Judgement | None:
    if state.blast <= limits.blast_radius:
        return None
    return Judgement(
        Verdict.FAIL,
        f"the canary gave {state.blast} failed or empty answers; "
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
