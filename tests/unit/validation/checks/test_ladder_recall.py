"""Recall under filters: shares, foreign hits, verdicts, remedies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.validation.checks.judge_recall import (
    Filter,
    IndexFound,
    Reached,
    Setting,
    foreign_hits,
    interval_of,
    judge_filter,
    judge_index,
    judge_parts,
    queries_needed,
    remedy_of,
    share_found,
)
from qafila.workload.verdict import Verdict

ALL = Filter("all rows", "all", 1000, 1000)
HR = Filter("readers of hr", "group", 10, 1000)
DRAWN = Filter("1 % of the rows, drawn at random", "drawn", 10, 1000)
GOOD = [1.0] * 100 + [0.9] * 20
POOR = [0.5] * 60 + [0.6] * 60
UNSURE = [1.0] * 6 + [0.7] * 6


def scores(**found: float) -> dict[tuple[str, int], float]:
    return {(key, 0): score for key, score in found.items()}


@pytest.mark.parametrize(
    ("truth", "found", "share", "foreign"),
    [
        (scores(a=0.9, b=0.8), scores(a=0.9, b=0.8), 1.0, 0),
        (scores(a=0.9, b=0.8), scores(a=0.9, c=0.7), 0.5, 0),  # c is farther: b was missed
        (scores(a=0.9, b=0.8), scores(a=0.9, c=0.8), 1.0, 0),  # c is as near as b: a tie
        (scores(a=0.9, b=0.8), scores(a=0.9, c=0.95), 1.0, 1),  # what is so near would be found
        (scores(a=0.9), scores(a=0.9, c=0.1), 1.0, 1),  # there is no other row under the filter
        (scores(a=0.9, b=0.8), {}, 0.0, 0),
        ({}, {}, None, 0),
        ({}, scores(c=0.1), None, 1),  # nobody may see anything
    ],
)
def test_shares_and_what_cannot_be(
    truth: dict[tuple[str, int], float],
    found: dict[tuple[str, int], float],
    share: float | None,
    foreign: int,
) -> None:
    assert share_found(truth, found, 2) == share
    assert len(foreign_hits(truth, found, 2)) == foreign


@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=30, unique=True),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_exact_search_never_misses_and_is_never_foreign(
    values: list[float], k: int, chance: object
) -> None:
    ordered = sorted(values, reverse=True)
    truth = {(f"k{n}", 0): v for n, v in enumerate(ordered[:k])}
    assert share_found(truth, truth, k) == 1.0
    assert foreign_hits(truth, truth, k) == []
    fewer = dict(list(truth.items())[: len(truth) // 2])
    share = share_found(truth, fewer, k)
    assert share is not None
    assert 0 <= share <= 1
    assert foreign_hits(truth, fewer, k) == []


@pytest.mark.parametrize(
    ("reached", "verdict", "said"),
    [
        (Reached(ALL, GOOD), Verdict.PASS, "recall@10 0.983"),
        (Reached(ALL, POOR), Verdict.FAIL, "all of it below 0.9"),
        (Reached(ALL, UNSURE), Verdict.INCONCLUSIVE, "recall_queries: "),
        (Reached(ALL, []), Verdict.INCONCLUSIVE, "no query could be compared"),
        (Reached(HR, [1.0] * 3, scanned=True), Verdict.PASS, "looks at every one"),
        (Reached(HR, [0.5] * 60 + [0.6] * 60, scanned=True), Verdict.FAIL, "below 0.9"),
        (Reached(DRAWN, POOR), Verdict.INCONCLUSIVE, "it decides nothing"),
        (Reached(DRAWN, GOOD), Verdict.PASS, "drawn at random"),
        (Reached(HR, GOOD, foreign=[("k1", 0)]), Verdict.FAIL, "k1 (0): it is not applied"),
    ],
)
def test_one_filter(reached: Reached, verdict: Verdict, said: str) -> None:
    judged = judge_filter(reached, 0.9, of=1, seed=7)
    assert judged.verdict is verdict
    assert said in judged.sentence


@given(
    st.lists(st.sampled_from([0.0, 0.5, 0.8, 0.9, 1.0]), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_a_filter_never_passes_unless_its_whole_interval_does(shares: list[float], of: int) -> None:
    judged = judge_filter(Reached(ALL, shares), 0.9, of=of, seed=7)
    found = interval_of(shares, of=of, seed=7)
    assert found is not None
    assert (judged.verdict is Verdict.PASS) == (found.low >= 0.9)
    assert (judged.verdict is Verdict.FAIL) == (found.high < 0.9)
    alone = interval_of(shares, of=1, seed=7)
    assert alone is not None
    assert found.low <= alone.low + 0.02  # more filters at once: a wider interval
    needed = queries_needed(shares, 0.9, of=of)
    assert needed is None or needed >= 1


def test_how_many_queries_would_do() -> None:
    # Wilson at 95 %: 1.96² · 0.9 / 0.1 = 34.6
    assert queries_needed([1.0] * 5, 0.9, of=1) == 36
    assert queries_needed([0.5] * 5, 0.9, of=1) is None  # all alike, and below: no more needed
    assert queries_needed([0.8, 1.0], 0.9, of=1) is None  # on the objective itself
    assert queries_needed([1.0] * 5, 1.0, of=1) is None  # nothing proves perfection
    assert queries_needed([], 0.9, of=1) is None


def test_the_first_setting_that_is_enough_is_the_remedy() -> None:
    tried = [
        Setting("ef_search 200", "set corpus.target.ef_search: 200", POOR, 0.9),
        Setting("ef_search 400", "set corpus.target.ef_search: 400", GOOD, 1.4),
        Setting("ef_search 800", "set corpus.target.ef_search: 800", [1.0] * 120, 2.0),
    ]
    said = remedy_of(tried, 0.9, seed=7)
    assert said.startswith("ef_search 400 reaches 0.983 (0.9")
    assert said.endswith("at p50 1.4 ms: set corpus.target.ef_search: 400.")
    assert remedy_of(tried[:1], 0.9, seed=7) == (
        "No setting that was tried reaches 0.9; ef_search 200 reaches 0.550 at p50 0.9 ms."
    )
    assert remedy_of([], 0.9, seed=7) == "No other setting was measured."


def test_the_index_is_as_good_as_its_worst_real_filter() -> None:
    good = IndexFound([], [Reached(ALL, GOOD), Reached(HR, [1.0] * 120), Reached(DRAWN, POOR)])
    judged = judge_index(good, 0.9, seed=7)
    assert judged.verdict is Verdict.PASS
    assert "the least 0.983 for all rows" in judged.sentence
    assert "Not so sure, and not asked by anybody here: 1 % of the rows" in judged.sentence
    bad = replace(
        good,
        reached=[Reached(ALL, GOOD), Reached(HR, POOR)],
        remedies={"readers of hr": "ef_search 400 reaches it."},
    )
    judged = judge_index(bad, 0.9, seed=7)
    assert judged.verdict is Verdict.FAIL
    assert judged.sentence.startswith("readers of hr (10 rows, 1 %): recall@10 0.550")
    assert judged.sentence.endswith("ef_search 400 reaches it.")
    unsure = replace(good, reached=[Reached(ALL, UNSURE), Reached(HR, [1.0] * 120)])
    assert judge_index(unsure, 0.9, seed=7).verdict is Verdict.INCONCLUSIVE
    assert judge_index(IndexFound([]), 0.9, seed=7).verdict is Verdict.INCONCLUSIVE


def test_a_problem_of_the_index_fails_whatever_was_found() -> None:
    found = IndexFound(["there is no index: build it"], [Reached(ALL, [1.0] * 120)])
    judged = judge_index(found, 0.9, seed=7)
    assert (judged.verdict, judged.sentence) == (Verdict.FAIL, "there is no index: build it.")
    two = judge_parts(IndexFound(["a: b", "c: d"]), 0.9, seed=7)
    assert list(two) == ["the index, 1", "the index, 2"]
