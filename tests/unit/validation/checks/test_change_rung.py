"""Rung 7 decides: change passes, unless an objective says how much may change."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.validation.checks.judge_change import Overlap, judge_change, overlap_of
from qafila.workload.verdict import Verdict


def overlaps(*values: float) -> list[Overlap]:
    return [Overlap(n, v, v) for n, v in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "at_least", "expected"),
    [
        ([0.0] * 200, None, Verdict.PASS),  # all is different, and nobody asked
        ([0.9] * 200, 0.8, Verdict.PASS),
        ([0.5] * 200, 0.8, Verdict.FAIL),
        ([0.8, 0.9] * 5, 0.8, Verdict.INCONCLUSIVE),
    ],
)
def test_change_decides_only_by_an_objective(
    values: list[float], at_least: float | None, expected: Verdict
) -> None:
    judged = judge_change(overlaps(*values), at_least)
    assert judged.judgement.verdict is expected
    assert judged.low <= judged.mean <= judged.high
    assert judged.series[-1]["queries"] == len(values)


def test_inconclusive_says_how_many_queries_would_decide() -> None:
    judged = judge_change(overlaps(*[0.7, 1.0] * 10), 0.8)
    assert judged.judgement.numbers["needed"] > 20
    assert "would decide" in judged.judgement.sentence
    assert "no number" in judge_change(overlaps(*[0.7, 0.9] * 10), 0.8).judgement.sentence


def test_errors_and_two_empty_answers_are_not_compared() -> None:
    assert overlap_of(0, None, ["a"]) is None
    assert overlap_of(0, [], []) is None
    assert overlap_of(3, ["a", "b"], []) == Overlap(3, 0.0, 0.0)
    with pytest.raises(ValueError, match="must be a query"):
        judge_change([], None)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_without_an_objective_it_always_passes(values: list[float]) -> None:
    judged = judge_change(overlaps(*values), None)
    assert judged.judgement.verdict is Verdict.PASS
    assert judged.low <= judged.mean <= judged.high
