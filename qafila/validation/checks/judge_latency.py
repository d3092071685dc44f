"""Rung 8 decides: latency under load, errors, and whether the generator was to blame.

Latency counts from the moment a request was due, not from when it could be sent, so a service that
stalls is not spared the requests it delayed (coordinated omission). The ratio of the 95th
percentiles at the lowest level is judged, by its whole interval; the levels above only tell where
a system saturates. If the result is inconclusive, both systems may be measured for longer and all
data evaluated again, at most four times in all. Each evaluation uses an interval of 98.75 %, so
that together they err no more often than one of 95 % (Bonferroni). With too few answers for a
bootstrap there is one evaluation, of 95 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, exp, inf, isfinite, log

from scipy import stats

from qafila.statistics.intervals import clopper_pearson
from qafila.statistics.ranking_metrics import percentile
from qafila.statistics.samples import PercentileRatio, fewest_for_percentile, ratio_of_percentiles
from qafila.validation.load_test.model import (
    LEAST_THROUGHPUT,
    SHARE,
    Load,
    answered_by_both,
    generator_late,
    generator_late_ms,
)
from qafila.workload.verdict import Judgement, Verdict

LOOKS = 4  # at most; what disturbs one look on a busy machine is often over at the next
_OF_EACH_LOOK = 1 - 0.05 / LOOKS
_CORRELATED_S = 0.25  # requests this near to each other are slow together
_FEWEST_RUNS, _RESAMPLES = 8, 4000
_LONGEST_MORE_S = 3600.0
_FOUR_OF_FIVE = 0.84  # standard errors beyond the interval: an effect seen in four of five runs


@dataclass(frozen=True)
class JudgedLoad:
    """The verdict on the lowest level and what it is made of; ``ratio`` None: not judged.

    ``is_open``: the ratio is not decided, and more answers may decide it. ``seconds_more``: how
    much longer to ask both, in all, if the ratio stays what it is; None if it is decided, or so
    near the objective that no reasonable time would do.
    """

    judgement: Judgement
    parts: Mapping[str, Judgement] = field(default_factory=dict)
    ratio: PercentileRatio | None = None
    seconds_more: float | None = None
    is_open: bool = False


def judge_load(
    loads: Mapping[str, Load], *, at_most_ratio: float, at_most_errors: float, seed: int
) -> JudgedLoad:
    """Judge the candidate against the baseline at one level.

    A system that answered errors was not measured: ERROR. A generator that was late, or two
    systems that both fall behind, prove nothing: INCONCLUSIVE.
    """
    parts = {f"errors of {s}": judge_errors(s, load, at_most_errors) for s, load in loads.items()}
    broken = [j for j in parts.values() if j.verdict is not Verdict.PASS]
    if broken:
        verdict = max((j.verdict for j in broken), key=[Verdict.INCONCLUSIVE, Verdict.ERROR].index)
        said = " ".join(j.sentence for j in broken if j.verdict is verdict)
        return JudgedLoad(Judgement(verdict, said, {}), parts)
    generator = parts["load generator"] = judge_generator(loads)
    if generator.verdict is not Verdict.PASS:
        return JudgedLoad(generator, parts)
    behind = [s for s in loads if (loads[s].throughput or 0.0) < LEAST_THROUGHPUT]
    if behind:
        at = loads["candidate"].level.name
        shares = ", ".join(f"{s} {loads[s].throughput or 0.0:.0%}" for s in loads)
        both = "baseline" in behind
        parts["throughput"] = Judgement(
            Verdict.INCONCLUSIVE if both else Verdict.FAIL,
            f"at {at} only a part of what arrives is answered ({shares}): "
            + (
                "measure where the baseline keeps up (latency_rate)."
                if both
                else "the candidate falls behind where the baseline keeps up."
            ),
            {s: loads[s].throughput for s in loads},
        )
        return JudgedLoad(parts["throughput"], parts)
    ratio = compare_p95(loads["candidate"], loads["baseline"], seed=seed)
    judged = parts["95th percentile"] = judge_ratio(
        ratio,
        at_most_ratio,
        seconds=sum(b.seconds for load in loads.values() for b in load.blocks),
        answers=min(len(v.ms) for v in loads.values()),
    )
    may_look_again = ratio is not None and ratio.confidence == _OF_EACH_LOOK
    is_open = may_look_again and judged.verdict is Verdict.INCONCLUSIVE
    more = judged.numbers.get("seconds_more") if is_open else None
    return JudgedLoad(judged, parts, ratio, more if isinstance(more, float) else None, is_open)


def judge_errors(system: str, load: Load, at_most: float) -> Judgement:
    """Judge the share of errors: ERROR only when the whole interval is above what is allowed."""
    numbers = {"sent": load.sent, "errors": load.errors, "at_most": at_most}
    said = f"{system}: {load.errors:,} of {load.sent:,} requests under load ended in an error"
    if load.sent == 0:
        return Judgement(Verdict.INCONCLUSIVE, f"{system}: no request was sent.", numbers)
    if clopper_pearson(load.errors, load.sent)[0] > at_most:
        return Judgement(
            Verdict.ERROR, f"{said}, more than {at_most:g} of them: it was not measured.", numbers
        )
    return Judgement(Verdict.PASS, f"{said}.", numbers)


def judge_generator(loads: Mapping[str, Load]) -> Judgement:
    """Judge the load generator: one that was late itself has measured itself."""
    late = generator_late_ms(loads.values())
    p95 = loads["baseline"].percentile(SHARE)
    numbers = {"late_p95_ms": late, "baseline_p95_ms": p95}
    if late is None or not p95:
        return Judgement(Verdict.INCONCLUSIVE, "latency: nothing could be sent in time.", numbers)
    if generator_late(loads.values(), loads["baseline"]):
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"the load generator itself was late: one request in twenty left {late:.1f} ms or more "
            f"after it was due, and the baseline's p95 is {p95:.1f} ms. Its machine is busy: run "
            "it elsewhere, or set a lower latency_rate.",
            numbers,
        )
    return Judgement(
        Verdict.PASS, f"the load generator sent 95 % within {late:.1f} ms of their time.", numbers
    )


def compare_p95(candidate: Load, baseline: Load, *, seed: int) -> PercentileRatio | None:
    """Return the ratio of p95 with its interval; None when a side has no answer.

    From 200 requests that both answered it is one of 98.75 %, by a bootstrap of runs of neighbours,
    both sides together: of runs of a quarter of a second and of whole blocks, at each end the
    farther, since a queue lasts as long as the one and a disturbance of the machine as long as the
    other.
    Below that, the exact interval (95 %) of each percentile (order statistics: Conover, Practical
    Nonparametric Statistics, 3.2), the farther ends divided; it is wider than need be, and open
    where there are too few values.
    """
    new, old = answered_by_both(candidate, baseline)
    if len(new) >= fewest_for_percentile(SHARE):
        runs = max(2, round(candidate.level.rate * _CORRELATED_S))
        blocks = max(2, round(candidate.level.rate * candidate.level.block_s))
        short, long = (
            ratio_of_percentiles(
                new,
                old,
                share=SHARE,
                seed=seed,
                confidence=_OF_EACH_LOOK,
                resamples=_RESAMPLES,
                paired=True,
                block=min(size, len(new) // _FEWEST_RUNS),
            )
            for size in (runs, blocks)
        )
        return replace(
            short,
            ci_low=min(short.ci_low, long.ci_low),
            ci_high=max(short.ci_high, long.ci_high),
        )
    new, old = candidate.ms, baseline.ms
    if not new or not old:
        return None
    mine, other = (percentile(v, SHARE) or 0.0 for v in (new, old))
    (low, high), (least, most) = _exact(new), _exact(old)
    return PercentileRatio(
        SHARE, mine, other, mine / other, low / most, high / least if least else inf
    )


def _exact(values: Sequence[float]) -> tuple[float, float]:
    """Return the order-statistic interval (95 %) of the percentile, open where it must be."""
    ordered, n = sorted(values), len(values)
    low, high = (int(stats.binom.ppf(p, n, SHARE)) for p in (0.025, 0.975))
    return ordered[low - 1] if low else 0.0, ordered[high] if high < n else inf


def judge_ratio(
    ratio: PercentileRatio | None, at_most: float, *, seconds: float, answers: int
) -> Judgement:
    """Judge the ratio by its whole interval; between, say how many seconds more would decide.

    ``seconds`` is how long both systems were asked at this level, ``answers`` what the one with
    fewer gave.
    """
    if ratio is None:
        return Judgement(
            Verdict.INCONCLUSIVE, "candidate: latency was not measured.", {"at_most_ratio": at_most}
        )
    numbers = {
        "ratio": ratio.ratio,
        "ci_low": ratio.ci_low,
        "ci_high": ratio.ci_high if isfinite(ratio.ci_high) else None,
        "at_most_ratio": at_most,
    }
    high = f"{ratio.ci_high:.2f}" if isfinite(ratio.ci_high) else "not known"
    said = (
        f"candidate: p95 is {ratio.candidate:.1f} ms, {ratio.ratio:.2f} times the baseline's "
        f"{ratio.baseline:.1f} ms ({100 * ratio.confidence:g} % {ratio.ci_low:.2f}…{high})"
    )
    if ratio.ci_high <= at_most:
        return Judgement(Verdict.PASS, f"{said}; at most {at_most:g} times is allowed.", numbers)
    if ratio.ci_low > at_most:
        return Judgement(
            Verdict.FAIL, f"{said}, all of it above the {at_most:g} times allowed.", numbers
        )
    more = seconds_more(ratio, at_most, seconds, answers)
    remedy = (
        "so near to it that more seconds would hardly decide"
        if more is None
        else f"some {more:.0f} s more (latency_seconds) would decide"
    )
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"{said}, on both sides of the {at_most:g} times allowed: {remedy}.",
        {**numbers, "seconds_more": more},
    )


def seconds_more(
    ratio: PercentileRatio, at_most: float, seconds: float, answers: int
) -> float | None:
    """Return how much longer to ask until the interval would lie on one side; None: too long.

    The interval of the logarithm narrows with the square root of the time; where there are too few
    answers for one, it is the time until there are enough.
    """
    if not isfinite(ratio.ci_high) or ratio.ci_low <= 0:
        enough = fewest_for_percentile(SHARE) / max(1, answers)
        return float(ceil(seconds * max(1.0, enough - 1)))
    distance = abs(log(at_most / ratio.ratio))
    half = log(
        ratio.ci_high / ratio.ratio if ratio.ratio <= at_most else ratio.ratio / ratio.ci_low
    )
    if distance == 0 or (more := seconds * ((half / distance) ** 2 - 1)) > _LONGEST_MORE_S:
        return None
    return float(max(1, ceil(more)))


def smallest_ratio(ratio: PercentileRatio | None) -> float | None:
    """Return the least ratio that four of five such runs would tell from 1; None: not known."""
    if ratio is None or not isfinite(ratio.ci_high) or ratio.ci_low <= 0:
        return None
    z = float(stats.norm.ppf((1 + ratio.confidence) / 2))
    return exp(log(ratio.ci_high / ratio.ci_low) / 2 * (z + _FOUR_OF_FIVE) / z)
