"""Same neighbours up to ties, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.validation.checks.judge_neighbours import compare, judge_other, judge_same, least_seen
from qafila.workload.verdict import Verdict

TIE = 1e-5


def scores(**found: float) -> dict[tuple[str, int], float]:
    return {(key, 0): score for key, score in found.items()}


@pytest.mark.parametrize(
    ("old", "new", "lost", "gained"),
    [
        (scores(a=0.9, b=0.8), scores(a=0.9, b=0.8), [], []),
        (scores(a=0.9, b=0.8, c=0.8), scores(a=0.9, c=0.8), [], []),  # a tie at the end
        (scores(a=0.9, b=0.8), scores(a=0.9, c=0.8 + 5e-6), [], []),  # rounding
        (scores(a=0.9, b=0.8), scores(a=0.9, c=0.7), ["b"], []),  # b was nearer than c
        (scores(a=0.9, b=0.8), scores(c=0.95, a=0.9), [], ["c"]),
        (scores(a=0.9, b=0.8), scores(a=0.9), ["b"], []),  # there is nothing after it
        (scores(a=0.9), scores(a=0.9, b=0.1), [], ["b"]),
        ({}, {}, [], []),
    ],
)
def test_only_what_ties_do_not_explain_differs(
    old: dict[tuple[str, int], float],
    new: dict[tuple[str, int], float],
    lost: list[str],
    gained: list[str],
) -> None:
    found = compare("q", old, new, 2, TIE)
    assert [p[0] for p in found.lost] == lost
    assert [p[0] for p in found.gained] == gained
    assert found.differs(TIE) == bool(lost or gained)


@given(
    st.dictionaries(
        st.tuples(st.text(min_size=1, max_size=3), st.just(0)),
        st.floats(-1, 1),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 12),
    st.floats(-4e-6, 4e-6),
)
def test_rounding_alone_never_fails(
    truth: dict[tuple[str, int], float], k: int, shift: float
) -> None:
    """Each score of the new index is off by a little, this way and that."""
    other = {p: s + (shift if n % 2 else -shift) for n, (p, s) in enumerate(truth.items())}
    top = dict(sorted(other.items(), key=lambda s: (-s[1], s[0]))[:k])
    found = compare("q", truth, top, k, TIE)
    assert not found.differs(TIE)
    assert found.overlap == 1.0
    assert judge_same([found], TIE).verdict is Verdict.PASS


@given(st.integers(1, 10), st.integers(0, 9))
def test_a_row_that_is_clearly_nearer_never_gets_lost_unseen(k: int, which: int) -> None:
    truth = {(f"k{n}", 0): 1 - n / 100 for n in range(20)}
    gone = (f"k{which % k}", 0)
    left = {p: s for p, s in truth.items() if p != gone}
    found = compare("q", truth, left, k, TIE)
    assert found.lost == [gone]
    assert judge_same([found], TIE).verdict is Verdict.FAIL


def test_a_score_that_moved_is_a_difference() -> None:
    found = compare("q", scores(a=0.9, b=0.8), scores(a=0.9, b=0.799), 2, TIE)
    judged = judge_same([found], TIE)
    assert judged.verdict is Verdict.FAIL
    assert "scores b 0.001 apart" in judged.sentence


def test_sentences() -> None:
    same = compare("q", scores(a=0.9), scores(a=0.9), 1, TIE)
    assert "All 1 questions" in judge_same([same], TIE).sentence
    lost = compare("'why'", scores(a=0.9), {}, 1, TIE)
    assert "1 of 2 questions" in judge_same([same, lost], TIE).sentence
    assert "'why' loses a" in judge_same([same, lost], TIE).sentence
    assert judge_same([], TIE).verdict is Verdict.INCONCLUSIVE
    assert least_seen(100) == "a difference in 3.6 % of such questions (95 %)"


def test_other_vectors_never_fail() -> None:
    nothing = compare("q", scores(a=0.9), scores(b=0.9), 1, TIE)
    far = compare("q", scores(a=0.9), scores(b=0.5), 1, TIE)
    judged = judge_other([nothing, far], "another model", seed=7)
    assert judged.verdict is Verdict.PASS
    assert "another model" in judged.sentence
    assert judge_other([], "another model", seed=7).verdict is Verdict.PASS
