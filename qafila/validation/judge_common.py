"""Comparisons that several rungs share: an interval, a ratio, a share against its objective.

A difference or a share is judged by its confidence interval, not by its point: PASS when the whole
interval meets the objective, FAIL when the whole interval misses it, INCONCLUSIVE in between. A
system that answered with errors was not measured: ERROR, never FAIL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from qafila.statistics.paired import PairedComparison
from qafila.validation.judged import ArmMeasurement
from qafila.workload.verdict import Judgement, Verdict, worst

FEWEST_QUERIES = 30  # below this a percentile bootstrap promises more than it keeps


def judge_interval(what: str, low: float, high: float, at_least: float) -> Judgement:
    """Judge an interval against a least value."""
    numbers = {"ci_low": low, "ci_high": high, "at_least": at_least}
    said = f"{what} lies in {low:.3f}…{high:.3f} (95 %)"
    if low >= at_least:
        return Judgement(Verdict.PASS, f"{said}, all of it at or above {at_least:g}.", numbers)
    if high < at_least:
        return Judgement(Verdict.FAIL, f"{said}, all of it below {at_least:g}.", numbers)
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"{said}, on both sides of {at_least:g}: more judged queries would decide.",
        numbers,
    )


def judge_quality(arm: str, comparison: PairedComparison, at_least_delta: float) -> Judgement:
    """Judge nDCG@10 of an arm minus the baseline's, on the queries that both answered."""
    numbers = {
        "pairs": comparison.pairs,
        "delta": comparison.delta,
        "p_value": comparison.p_value,
        "smallest_effect": comparison.smallest_effect,
    }
    if comparison.pairs < FEWEST_QUERIES:
        return too_few(arm, comparison.pairs)
    judged = judge_interval(
        f"{arm}: nDCG@10 minus the baseline's is {comparison.delta:+.3f} and",
        comparison.ci_low,
        comparison.ci_high,
        at_least_delta,
    )
    return Judgement(judged.verdict, judged.sentence, {**judged.numbers, **numbers})


def too_few(arm: str, pairs: int) -> Judgement:
    """Say that an arm cannot be judged on so few queries that both systems answered."""
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"{arm}: {pairs:,} judged queries with both answers are too few, at least {FEWEST_QUERIES} "
        "are needed.",
        {"pairs": pairs, "at_least": FEWEST_QUERIES},
    )


def judge_errors(arm: str, measured: ArmMeasurement, at_most: float) -> Judgement:
    """Judge the share of queries that were answered with an error or not at all."""
    numbers = {"queries": measured.queries, "errors": measured.errors, "at_most": at_most}
    if measured.queries == 0:
        return Judgement(Verdict.INCONCLUSIVE, f"{arm}: no query was asked.", numbers)
    broken = measured.errors / measured.queries > at_most
    return Judgement(
        Verdict.ERROR if broken else Verdict.PASS,
        f"{arm}: {measured.errors:,} of {measured.queries:,} queries ended in an error"
        + (f", more than {at_most:g} of them: it was not measured." if broken else "."),
        numbers,
    )


def judge_recall(
    recall: float | None, low: float, high: float, at_least: float, *, queries: int
) -> Judgement:
    """Judge recall@10 of the index against exact search; None: no query could be compared."""
    numbers = {"queries": queries, "recall_at_10": recall, "at_least": at_least}
    if recall is None:
        return Judgement(
            Verdict.INCONCLUSIVE,
            "recall@10: no query could be compared with exact search.",
            numbers,
        )
    judged = judge_interval(
        f"recall@10 against exact search is {recall:.3f} on {queries:,} queries and",
        low,
        high,
        at_least,
    )
    return Judgement(judged.verdict, judged.sentence, {**judged.numbers, **numbers})


def judge_arm(arm: str, rungs: Sequence[Judgement]) -> Judgement:
    """Return the worst of an arm's rungs with the sentences of the rungs that decided."""
    verdict = worst(r.verdict for r in rungs)
    deciding = [r.sentence for r in rungs if r.verdict is verdict]
    numbers: Mapping[str, object] = {
        "rungs": [{"verdict": r.verdict.value, "sentence": r.sentence} for r in rungs]
    }
    if not deciding:
        return Judgement(verdict, f"{arm}: nothing was measured.", numbers)
    if verdict is Verdict.PASS:
        return Judgement(verdict, f"{arm}: every rung holds ({len(rungs)}).", numbers)
    return Judgement(verdict, " ".join(deciding), numbers)


def cost_per_thousand(hourly_price: Decimal, mean_ms: float, vcpus: int) -> Decimal:
    """Return what 1 000 queries cost in machine time, in the price's currency.

    price per hour / 3600 s × 1 000 × mean service time in s / vCPUs. Assumes that a query keeps
    one vCPU busy for all of its measured time and that the machine is fully used: a floor for the
    cost and a fair comparison of two systems on one machine, not a bill.

    Raises:
        ValueError: there is no vCPU to share the price.
    """
    if vcpus < 1:
        raise ValueError("a machine has at least one vCPU")
    seconds = Decimal(repr(mean_ms)) / 1000
    return (hourly_price / 3600 * 1000 * seconds / vcpus).quantize(Decimal("0.000001"))
