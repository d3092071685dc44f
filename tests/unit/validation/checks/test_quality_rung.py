"""Rung 6 decides: the whole by its interval, classes that can only spoil it, and caches."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.validation.checks.judge_quality import JudgedQuality, judge_system
from qafila.validation.judged import JudgedQuery
from qafila.validation.load_test.caching_rule import judge_caching, shuffled_words
from qafila.validation.query_groups import QueryGroup, group_queries, length_class
from qafila.workload.verdict import Judgement, Verdict

FINE = {"errors of candidate": Judgement(Verdict.PASS, "no errors.")}


def judge(
    candidate: list[float | None],
    baseline: list[float | None],
    groups: list[QueryGroup] | None = None,
    *,
    delta: float = 0.0,
    errors: dict[str, Judgement] = FINE,
) -> JudgedQuality:
    return judge_system(
        "candidate",
        candidate,
        baseline,
        groups or [],
        errors,
        at_least_delta=delta,
        effect=0.05,
        seed=7,
    )


def noise(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n)


def group(value: str, members: range) -> QueryGroup:
    return QueryGroup("class", value, False, tuple(members))


def test_a_class_that_is_worse_fails_though_the_whole_is_better() -> None:
    gain = np.r_[np.full(400, 0.2), np.full(60, -0.2)] + noise(460)
    groups = [group("long", range(400)), group("names", range(400, 460))]
    judged = judge(list(0.5 + gain), [0.5] * 460, groups)
    assert judged.comparison is not None
    assert judged.comparison.ci_low > 0
    assert judged.judgement.verdict is Verdict.FAIL
    assert "class names: nDCG@10 minus the baseline's is -0.187" in judged.judgement.sentence
    assert judged.parts["nDCG@10"].verdict is Verdict.PASS
    assert judged.parts["class long"].verdict is Verdict.PASS


def test_a_class_worse_within_what_is_tolerated_does_not_fail() -> None:
    gain = np.r_[np.full(400, 0.2), np.full(60, -0.2)] + noise(460)
    groups = [group("long", range(400)), group("names", range(400, 460))]
    judged = judge(list(0.5 + gain), [0.5] * 460, groups, delta=-0.3)
    assert judged.judgement.verdict is Verdict.PASS


def test_a_class_of_few_queries_is_reported_with_the_number_needed_and_decides_nothing() -> None:
    gain = np.r_[np.full(200, 0.2), np.full(12, -0.5)] + noise(212)
    groups = [group("long", range(200)), group("names", range(200, 212))]
    judged = judge(list(0.5 + gain), [0.5] * 212, groups)
    assert judged.judgement.verdict is Verdict.PASS
    few = judged.groups[1]
    assert few.comparison is None
    # sd .1, effect .05, two groups: (2.24 + 0.84)² · 4 = 38 and some for t
    assert few.needed is not None
    assert 30 <= few.needed <= 60
    assert f"class names (12, {few.needed} needed)" in judged.judgement.sentence
    assert few.row()["delta"] is None


def test_few_queries_prove_nothing_and_say_how_many_would() -> None:
    judged = judge([0.9] * 12 + [0.1] * 8, [0.5] * 20)
    assert judged.judgement.verdict is Verdict.INCONCLUSIVE
    # sd of ±.4 is .40: (1.96 + .84)² · (.4 / .05)² = 503
    assert judged.judgement.numbers["needed"] == pytest.approx(505, abs=15)
    assert "are too few" in judged.judgement.sentence


def test_a_pass_takes_a_hundred_queries_and_a_fail_does_not() -> None:
    better, worse = list(0.7 + noise(60)), list(0.3 + noise(60))
    few = judge(better, [0.5] * 60)
    assert few.judgement.verdict is Verdict.INCONCLUSIVE
    assert few.judgement.numbers["needed"] == 100
    assert "a PASS takes 100" in few.judgement.sentence
    assert judge(list(0.7 + noise(100)), [0.5] * 100).judgement.verdict is Verdict.PASS
    assert judge(worse, [0.5] * 60).judgement.verdict is Verdict.FAIL


def test_no_query_at_all_is_inconclusive() -> None:
    assert judge([None] * 5, [0.5] * 5).judgement.verdict is Verdict.INCONCLUSIVE
    assert judge([], []).judgement.verdict is Verdict.INCONCLUSIVE


def test_an_interval_on_both_sides_says_how_many_queries_would_decide() -> None:
    judged = judge(list(0.51 + noise(100)), [0.5] * 100)
    whole = judged.judgement
    assert whole.verdict is Verdict.INCONCLUSIVE
    assert "judged queries would decide" in whole.sentence
    assert whole.numbers["needed"] > 100
    nearly = judge([0.5, 0.6, 0.4] * 40, [0.5] * 120)
    assert nearly.judgement.sentence.endswith("decides: tolerate more, or less.")
    assert re.search(
        r"about \d{1,3}(,\d{3})* judged queries would decide, if it stays so\.$", whole.sentence
    )


def test_errors_are_an_error_and_nothing_else_is_judged() -> None:
    broken = {"errors of candidate": Judgement(Verdict.ERROR, "it answered errors.")}
    judged = judge([0.1] * 100, [0.9] * 100, errors=broken)
    assert judged.judgement.verdict is Verdict.ERROR
    assert judged.comparison is None
    assert judged.smallest_effect == ""


def test_equal_answers_pass() -> None:
    judged = judge([0.5] * 120, [0.5] * 120, [group("a", range(60)), group("b", range(60, 120))])
    assert judged.judgement.verdict is Verdict.PASS
    assert [g.judgement.verdict for g in judged.groups] == [Verdict.PASS] * 2


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=0, max_size=140),
    st.sampled_from([0.0, -0.1, 0.1]),
)
def test_it_never_passes_unless_the_whole_interval_meets_the_objective(
    pairs: list[tuple[float, float]], delta: float
) -> None:
    half = len(pairs) // 2
    groups = [group("a", range(half)), group("b", range(half, len(pairs)))]
    judged = judge([c for c, _ in pairs], [b for _, b in pairs], groups, delta=delta)
    if judged.judgement.verdict is Verdict.PASS:
        assert judged.comparison is not None
        assert judged.comparison.ci_low >= delta
        assert all(g.judgement.verdict is not Verdict.FAIL for g in judged.groups)
    if judged.judgement.verdict is Verdict.FAIL:
        assert judged.comparison is not None  # never from too few


def queries(*texts: str, **stated: str) -> list[JudgedQuery]:
    return [JudgedQuery(f"q{n}", t, {"a": 1.0}, **stated) for n, t in enumerate(texts)]


def test_groups_are_derived_from_words_where_nobody_states_them() -> None:
    found = group_queries(queries("buckets", "delete the bucket", "what is the size of a bucket"))
    assert [(g.name, g.members) for g in found if g.by == "class"] == [
        ("class 2 to 4 words, by its length", (1,)),
        ("class more than 4 words, by its length", (2,)),
        ("class one word, by its length", (0,)),
    ]
    assert [(g.value, g.members) for g in found if g.by == "language"] == [
        ("english", (1, 2)),
        ("not told", (0,)),
    ]
    assert length_class("") == "one word"


def test_stated_groups_win_and_a_kind_of_one_group_is_the_whole() -> None:
    stated = [*queries("a b", "c d", query_class="names", language="fr"), *queries("e f")]
    found = group_queries(stated)
    assert [(g.name, g.members) for g in found] == [
        ("class names", (0, 1)),
        ("class not stated", (2,)),
        ("language fr", (0, 1)),
        ("language not stated", (2,)),
    ]
    assert group_queries(queries("a b", "c d")) == []


def test_repeats_in_less_than_half_the_time_are_a_cache() -> None:
    assert judge_caching([1.0] * 8, [5.0] * 8).cached is True
    assert judge_caching([4.0] * 8, [5.0] * 8).cached is False
    assert judge_caching([1.0] * 5 + [5.0] * 3, [5.0] * 8).cached is False  # five of eight
    assert judge_caching([1.0] * 7, [5.0] * 7).cached is None
    assert shuffled_words("delete the bucket") == "bucket the delete"
    assert shuffled_words("bucket") is None
