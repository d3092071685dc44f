"""Intervals and tests against exact enumeration, published values and simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.core.statistics import (
    bootstrap_mean,
    compare_paired,
    mean_share,
    randomisation_test,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (score)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_always_holds_the_observed_share(successes: int, more: int) -> None:
    trials = successes + more
    low, high = wilson(successes, trials)
    assert 0.0 <= low <= high <= 1.0
    if trials:
        assert low <= successes / trials <= high


def test_wilson_of_nothing_and_of_nonsense() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="between 0 and trials"):
        wilson(2, 1)


@pytest.mark.parametrize(
    "differences", [[1.0, 2.0, 3.0, -0.5], [0.1] * 6, [1.0, -1.0, 2.0, -2.0], [3.0, 1.0, -1.0]]
)
def test_randomisation_agrees_with_all_sign_flips(differences: list[float]) -> None:
    values = np.array(differences)
    sums = [abs(float(values @ np.array(s))) for s in product((-1, 1), repeat=len(values))]
    exact = sum(s >= abs(values.sum()) - 1e-12 for s in sums) / len(sums)
    assert randomisation_test(values, seed=1, resamples=20_000) == pytest.approx(exact, abs=0.012)


def test_no_difference_at_all_is_no_evidence() -> None:
    assert randomisation_test(np.zeros(50), seed=1) == 1.0


def test_the_p_value_is_never_zero() -> None:
    assert randomisation_test(np.ones(200), seed=1, resamples=999) == pytest.approx(1 / 1000)


def test_randomisation_rejects_a_true_null_no_more_often_than_it_says() -> None:
    generator = np.random.default_rng(5)
    rejected = sum(
        randomisation_test(generator.normal(size=40), seed=n, resamples=400) <= 0.05
        for n in range(400)
    )
    assert rejected <= 36  # binomial(400, .05): 99.9 % of the time at most 35


def test_bootstrap_agrees_with_the_normal_interval_on_many_values() -> None:
    values = np.random.default_rng(3).normal(0.1, 1.0, 2_000)
    low, high = bootstrap_mean(values, seed=1)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=3e-3)


def test_a_comparison_is_repeatable_and_states_what_it_could_see() -> None:
    generator = np.random.default_rng(2)
    old, gain = generator.random(300), generator.normal(0.05, 0.2, 300)
    first = compare_paired(list(old + gain), list(old), seed=7)
    assert first == compare_paired(list(old + gain), list(old), seed=7)
    assert first.ci_low < first.delta < first.ci_high
    assert first.p_value < 0.01
    # (1.960 + 0.842) · sd / √300
    assert first.smallest_effect == pytest.approx(2.802 * gain.std(ddof=1) / 300**0.5, rel=1e-3)


@pytest.mark.parametrize(("candidate", "baseline"), [([1.0], [1.0]), ([1.0, 2.0], [1.0])])
def test_unpaired_values_are_refused(candidate: list[float], baseline: list[float]) -> None:
    with pytest.raises(ValueError, match="paired"):
        compare_paired(candidate, baseline, seed=1)


def test_perfect_recall_on_few_queries_is_not_certainty() -> None:
    low, high = mean_share([1.0] * 20, seed=1)
    assert (low, high) == pytest.approx((0.8389, 1.0), abs=1e-4)  # Wilson, 20 of 20
    assert mean_share([], seed=1) == (0.0, 1.0)
    low, high = mean_share([0.9, 1.0] * 50, seed=1)
    assert 0.93 < low < 0.95 < high < 0.97
