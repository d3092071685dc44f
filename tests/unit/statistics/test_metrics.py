"""Ranking metrics against values worked out by hand, in trec_eval's definitions."""

from __future__ import annotations

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.statistics.rank_fusion import reciprocal_rank_fusion, score_fusion
from qafila.statistics.ranking_metrics import (
    mean,
    ndcg_at_k,
    overlap_at_k,
    percentile,
    precision_at_k,
    rank_biased_overlap,
    recall_at_k,
    reciprocal_rank,
)
from qafila.validation.judged import (
    Answer,
    JudgedQuery,
    both_measured,
    measure_arm,
    ndcg_scores,
    worst_changes,
)

RANKINGS = st.lists(st.sampled_from("abcdefgh"), max_size=8, unique=True)
GRADES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3), max_size=8)


@pytest.mark.parametrize(
    ("ranking", "grades", "expected"),
    [
        ("a", {"a": 1}, 1.0),
        ("xa", {"a": 1}, 1 / log2(3)),  # rank 2: 1/log2(3) over 1
        ("xyz", {"a": 1}, 0.0),
        # linear gain: (1/1 + 3/log2 3) over (3/1 + 1/log2 3); 2^g - 1 would give another number
        ("ab", {"a": 1, "b": 3}, (1 + 3 / log2(3)) / (3 + 1 / log2(3))),
        ("aa", {"a": 1, "b": 1}, 1 / (1 + 1 / log2(3))),  # named twice, counted once
        ("xxxxxxxxxxa", {"a": 1}, 1 / log2(3)),  # the same stranger ten times is one rank
        ("a", {}, None),
        ("a", {"a": 0}, None),
    ],
)
def test_ndcg(ranking: str, grades: dict[str, float], expected: float | None) -> None:
    assert ndcg_at_k(list(ranking), grades) == (
        None if expected is None else pytest.approx(expected)
    )


def test_ndcg_looks_at_the_first_k_only() -> None:
    eleven = [f"x{n}" for n in range(10)] + ["a"]
    assert ndcg_at_k(eleven, {"a": 1}) == 0.0
    assert ndcg_at_k(eleven, {"a": 1}, k=11) == pytest.approx(1 / log2(12))


@given(RANKINGS, GRADES)
def test_ndcg_never_leaves_0_to_1_and_the_ideal_order_is_1(
    ranking: list[str], grades: dict[str, float]
) -> None:
    value = ndcg_at_k(ranking, grades)
    assert value is None or 0.0 <= value <= 1.0 + 1e-12
    ideal = sorted(grades, key=lambda d: -grades[d])
    assert ndcg_at_k(ideal, grades) in (None, pytest.approx(1.0))


@pytest.mark.parametrize(
    ("ranking", "rr", "recall"),
    [
        ("ab", 1.0, 1.0),
        ("xa", 0.5, 0.5),
        ("xy", 0.0, 0.0),
        ("", 0.0, 0.0),
        ("xbya", 0.5, 1.0),
        ("xxa", 0.5, 0.5),  # named twice, counted once
    ],
)
def test_reciprocal_rank_and_recall(ranking: str, rr: float, recall: float) -> None:
    grades = {"a": 1.0, "b": 2.0, "c": 0.0}
    assert reciprocal_rank(list(ranking), grades) == rr
    assert recall_at_k(list(ranking), grades) == recall


@pytest.mark.parametrize(
    ("ranking", "k", "precision", "recall"),
    [("abxy", 2, 1.0, 1.0), ("xa", 2, 0.5, 0.5), ("a", 10, 0.1, 0.5), ("xxa", 2, 0.5, 0.5)],
)
def test_precision_and_recall_at_k(ranking: str, k: int, precision: float, recall: float) -> None:
    grades = {"a": 1.0, "b": 2.0, "c": 0.0}
    assert precision_at_k(list(ranking), grades, k) == precision
    assert recall_at_k(list(ranking), grades, k) == recall


@pytest.mark.parametrize(
    ("old", "new", "k", "overlap"),
    [
        ("abc", "cba", 3, 1.0),  # the order does not count
        ("abc", "xyz", 3, 0.0),
        ("abcd", "abxy", 4, 0.5),
        ("abcd", "bxya", 2, 0.5),  # the first two alone
        ("ab", "ab", 10, 1.0),  # all there was
        ("ab", "a", 10, 0.5),
        ("a", "", 10, 0.0),
        ("aab", "ab", 2, 1.0),
        ("", "", 10, None),
    ],
)
def test_overlap(old: str, new: str, k: int, overlap: float | None) -> None:
    assert overlap_at_k(list(old), list(new), k) == overlap


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("ab", "ab", 1.0),
        ("ab", "xy", 0.0),
        # p = .9, agreement 0 then 1: (.1/.9) · (0 + 1 · .81) + 1 · .81
        ("ab", "ba", 0.9),
        # agreement 1, then 1/2: (.1/.9) · (.9 + .5 · .81) + .5 · .81
        ("ab", "ax", 0.55),
        # uneven: X = 1, 1; the short list's agreement goes on at depth 2: 1 · (2−1) / (1 · 2)
        ("a", "ab", 1.0),  # (.1/.9) · (.9 + .5 · .81 + .5 · .81) + 1 · .81
        ("b", "ab", 0.45),  # (.1/.9) · (0 + .5 · .81 + 0) + (1/2) · .81 = .045 + .405
        ("a", "", 0.0),
        ("", "", None),
    ],
)
def test_rank_biased_overlap(old: str, new: str, expected: float | None) -> None:
    found = rank_biased_overlap(list(old), list(new))
    assert found == (None if expected is None else pytest.approx(expected))


@given(RANKINGS, RANKINGS, st.floats(0.05, 0.99), st.integers(1, 12))
def test_likeness_never_leaves_0_to_1_and_never_depends_on_the_side(
    old: list[str], new: list[str], persistence: float, k: int
) -> None:
    likeness = rank_biased_overlap(old, new, persistence)
    assert likeness is None or -1e-12 <= likeness <= 1 + 1e-12
    assert likeness == pytest.approx(rank_biased_overlap(new, old, persistence))
    overlap = overlap_at_k(old, new, k)
    assert overlap is None or 0 <= overlap <= 1
    assert overlap == overlap_at_k(new, old, k)
    if old:
        assert rank_biased_overlap(old, old, persistence) == pytest.approx(1.0)
        assert overlap_at_k(old, list(reversed(old)), len(old)) == 1.0


def test_a_cut_before_the_first_rank_is_refused() -> None:
    for metric in (ndcg_at_k, recall_at_k, precision_at_k):
        with pytest.raises(ValueError, match="at least 1"):
            metric(["a"], {"a": 1.0}, 0)
    with pytest.raises(ValueError, match="at least 1"):
        overlap_at_k(["a"], ["a"], 0)
    with pytest.raises(ValueError, match="persistence"):
        rank_biased_overlap(["a"], ["a"], 1.0)


def test_what_was_not_judged_or_not_measured_is_none() -> None:
    assert reciprocal_rank(["a"], {}) is None
    assert recall_at_k(["a"], {}) is None
    assert mean([None, None]) is None
    assert mean([None, 1.0, 0.0]) == 0.5
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 5), (0.95, 10), (0.9, 9), (0.91, 10), (0.0, 1), (1.0, 10)],  # nearest rank of 1 … 10
)
def test_percentile_is_a_measured_value(share: float, expected: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], share) == expected


def test_fusion_adds_reciprocal_ranks() -> None:
    fused = reciprocal_rank_fusion([["a", "b"], ["b", "c"]])
    assert [key for key, _ in fused] == ["b", "a", "c"]
    assert dict(fused)["b"] == pytest.approx(1 / 62 + 1 / 61)
    assert reciprocal_rank_fusion([["a", "a"]]) == [("a", 1 / 61)]
    assert [key for key, _ in reciprocal_rank_fusion([["z"], ["y"]])] == ["y", "z"]  # tie: by key


@given(st.lists(RANKINGS, max_size=4))
def test_fusion_never_loses_nor_repeats_a_key(rankings: list[list[str]]) -> None:
    keys = [key for key, _ in reciprocal_rank_fusion(rankings)]
    assert sorted(keys) == sorted({key for ranking in rankings for key in ranking})


QUERIES = [JudgedQuery(f"q{n}", "text", {"a": 1.0}) for n in range(3)]


def test_an_error_is_counted_and_has_neither_quality_nor_latency() -> None:
    answers = [Answer(("a",), 10.0), Answer(("x", "a"), 30.0), Answer(None, 9_999.0)]
    arm = measure_arm(QUERIES, answers)
    assert (arm.queries, arm.errors) == (3, 1)
    assert arm.ndcg_at_10 == pytest.approx((1 + 1 / log2(3)) / 2)
    assert (arm.mrr, arm.p50_ms, arm.p95_ms, arm.mean_ms) == (0.75, 10.0, 30.0, 20.0)
    assert ndcg_scores(QUERIES, answers)[2] is None
    assert both_measured([1.0, None, 0.5], [0.0, 1.0, None]) == ([1.0], [0.0])


def test_the_greatest_loss_comes_first() -> None:
    before = [Answer(("a",), 1.0), Answer(("a",), 1.0), Answer(("x",), 1.0)]
    after = [Answer(("x", "a"), 1.0), Answer(("x",), 1.0), Answer(("a",), 1.0)]
    changes = worst_changes(QUERIES, before, after, limit=5)
    assert [c.query.query_id for c in changes] == ["q1", "q0"]
    assert changes[0].delta == -1.0


def test_scores_are_fused_as_shares_of_the_best_keyword_and_between_far_and_near() -> None:
    # keyword: a 1, b .5; vector: c 1, b .5, d 0; three parts to one
    fused = score_fusion({"a": 0.4, "b": 0.2}, {"c": 0.9, "b": 0.7, "d": 0.5})
    assert fused == [("a", 0.75), ("b", 0.375 + 0.125), ("c", 0.25), ("d", 0.0)]
    assert score_fusion({}, {"b": 0.5, "a": 0.5}) == [("a", 0.25), ("b", 0.25)]
    assert score_fusion({"a": 0.0}, {}) == [("a", 0.0)]
    assert score_fusion({}, {}) == []


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1)),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(-1, 1)),
)
def test_fused_scores_always_hold_each_document_once_between_0_and_1(
    keyword: dict[str, float], vector: dict[str, float]
) -> None:
    fused = score_fusion(keyword, vector)
    assert sorted(key for key, _ in fused) == sorted(keyword.keys() | vector.keys())
    assert all(0 <= score <= 1 for _, score in fused)
