"""Arrivals are seeded and Poisson; questions come without repetition."""

from __future__ import annotations

from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.validation.load_test.arrivals import never_asked, poisson, without_repetition


@given(st.floats(0.1, 100), st.floats(0.1, 10), st.integers(0, 99))
def test_arrivals_rise_within_their_time_and_repeat(rate: float, seconds: float, seed: int) -> None:
    due = list(poisson(rate, seconds, Random(seed)))
    assert due == sorted(due) == list(poisson(rate, seconds, Random(seed)))
    assert all(0 <= d <= seconds for d in due)


def test_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    due = list(poisson(100.0, 100.0, Random(7)))
    assert len(due) == pytest.approx(10_000, abs=400)  # 4 standard deviations
    gaps = [b - a for a, b in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.05)  # exponential: both are 1 / rate
    with pytest.raises(ValueError, match="above 0"):
        next(poisson(0.0, 1.0, Random(7)))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20, unique=True), st.integers(0, 9))
def test_no_text_comes_again_before_every_other_has_come(texts: list[str], seed: int) -> None:
    deck = without_repetition(texts, Random(seed))
    for _ in range(3):
        assert sorted(islice(deck, len(texts))) == sorted(texts)


@given(st.lists(st.text("ab ", min_size=1), max_size=12, unique=True), st.integers(0, 9))
def test_what_was_never_asked_is_not_among_what_was(texts: list[str], seed: int) -> None:
    fresh = never_asked(texts, 5, Random(seed))
    assert not set(fresh) & set(texts)
    assert len(fresh) == len(set(fresh)) <= 5
    assert all(fresh)


def test_real_questions_give_as_many_new_ones_as_are_wanted() -> None:
    texts = [f"list the {n} buckets of account {n}" for n in range(30)]
    assert len(never_asked(texts, 20, Random(1))) == 20
    with pytest.raises(ValueError, match="a text"):
        next(without_repetition([], Random(1)))
