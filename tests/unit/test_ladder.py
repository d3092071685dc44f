"""The ladder's decisions: which numbers give which verdict."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.core import ladder
from qafila.core.judged import ArmMeasurement
from qafila.core.statistics import PairedComparison
from qafila.core.verdict import Judgement, Verdict

BASELINE = ArmMeasurement(1000, 0, 0.6, 0.55, 5.0, 10.0, 6.0)
PAIR = PairedComparison(1000, 0.03, 0.01, 0.05, 0.001, 0.02)


@pytest.mark.parametrize(
    ("low", "high", "at_least", "expected"),
    [
        (0.01, 0.05, 0.0, Verdict.PASS),  # all of it above
        (0.0, 0.05, 0.0, Verdict.PASS),  # touching from above meets it
        (-0.09, -0.04, 0.0, Verdict.FAIL),  # all of it below
        (-0.01, 0.05, 0.0, Verdict.INCONCLUSIVE),
        (-0.05, 0.0, 0.0, Verdict.INCONCLUSIVE),  # touching from below has not failed
        (-0.01, 0.05, -0.02, Verdict.PASS),  # a tolerated loss
        (0.01, 0.05, 0.06, Verdict.FAIL),  # better, but not by what was asked
    ],
)
def test_quality_is_judged_by_the_whole_interval(
    low: float, high: float, at_least: float, expected: Verdict
) -> None:
    judged = ladder.judge_quality("candidate", replace(PAIR, ci_low=low, ci_high=high), at_least)
    assert judged.verdict is expected


@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_an_interval_never_passes_while_part_of_it_misses(a: float, b: float, at: float) -> None:
    low, high = min(a, b), max(a, b)
    verdict = ladder.judge_interval("x", low, high, at).verdict
    assert (verdict is Verdict.PASS) == (low >= at)
    assert (verdict is Verdict.FAIL) == (high < at)


def test_too_few_queries_prove_nothing() -> None:
    judged = ladder.judge_quality("candidate", replace(PAIR, pairs=29), 0.0)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.numbers["at_least"] == ladder.FEWEST_QUERIES


@pytest.mark.parametrize(
    ("p95", "expected"),
    [(12.5, Verdict.PASS), (12.6, Verdict.FAIL), (1.0, Verdict.PASS), (None, Verdict.INCONCLUSIVE)],
)
def test_latency_is_a_ratio_of_95th_percentiles(p95: float | None, expected: Verdict) -> None:
    judged = ladder.judge_latency("candidate", replace(BASELINE, p95_ms=p95), BASELINE, 1.25)
    assert judged.verdict is expected


@pytest.mark.parametrize(
    ("queries", "errors", "expected"),
    [
        (1000, 1, Verdict.PASS),  # 0.001 is allowed
        (1000, 2, Verdict.ERROR),  # a broken system is not a bad one
        (0, 0, Verdict.INCONCLUSIVE),
    ],
)
def test_errors_are_not_a_failure(queries: int, errors: int, expected: Verdict) -> None:
    arm = replace(BASELINE, queries=queries, errors=errors)
    assert ladder.judge_errors("baseline", arm, 0.001).verdict is expected


@pytest.mark.parametrize(
    ("recall", "low", "high", "expected"),
    [
        (0.98, 0.97, 0.99, Verdict.PASS),
        (0.80, 0.75, 0.85, Verdict.FAIL),
        (0.90, 0.85, 0.95, Verdict.INCONCLUSIVE),
        (None, 0.0, 1.0, Verdict.INCONCLUSIVE),
    ],
)
def test_recall(recall: float | None, low: float, high: float, expected: Verdict) -> None:
    assert ladder.judge_recall(recall, low, high, 0.9, queries=50).verdict is expected


def test_the_worst_rung_decides_and_gives_the_sentence() -> None:
    rungs = [
        Judgement(Verdict.PASS, "rows are there."),
        Judgement(Verdict.FAIL, "worse answers."),
        Judgement(Verdict.INCONCLUSIVE, "few."),
    ]
    judged = ladder.judge_arm("candidate", rungs)
    assert (judged.verdict, judged.sentence) == (Verdict.FAIL, "worse answers.")
    assert ladder.judge_arm("candidate", rungs[:1]).sentence == "candidate: every rung holds (1)."
    assert ladder.judge_arm("candidate", []).verdict is Verdict.INCONCLUSIVE


def test_cost_of_a_thousand_queries() -> None:
    # 0.36 an hour is 0.0001 a second; 1 000 queries of 20 ms take 20 s; two vCPUs share the price
    assert ladder.cost_per_thousand(Decimal("0.36"), 20.0, 2) == Decimal("0.001000")
    with pytest.raises(ValueError, match="at least one vCPU"):
        ladder.cost_per_thousand(Decimal(1), 1.0, 0)
