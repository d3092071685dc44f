"""Intervals and tests against exact enumeration, published values and simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qafila.statistics.intervals import (
    Method,
    bootstrap_mean,
    bootstrap_means,
    clopper_pearson,
    mean_interval,
    mean_intervals,
    mean_share,
    wilson,
)
from qafila.statistics.paired import compare_paired, randomisation_test, sign_flip_p_values

COUNTS = st.tuples(st.integers(0, 500), st.integers(0, 500)).map(lambda c: (c[0], sum(c)))
DIFFERENCES = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=40)
SKEWED = np.random.default_rng(4).exponential(1.0, 80)


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


@given(COUNTS.filter(lambda c: c[1] > 0), st.sampled_from([0.8, 0.95, 0.999]))
def test_shares_agree_with_scipy(counts: tuple[int, int], confidence: float) -> None:
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        theirs = stats.binomtest(*counts).proportion_ci(confidence, method=method)
        assert ours(*counts, confidence=confidence) == pytest.approx(tuple(theirs), abs=1e-9)


@given(COUNTS)
def test_the_exact_interval_always_holds_the_share_and_mirrors(counts: tuple[int, int]) -> None:
    successes, trials = counts
    low, high = clopper_pearson(successes, trials)
    assert trials == 0 or low <= successes / trials <= high
    mirrored = clopper_pearson(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_a_share_refuses_nonsense(interval) -> None:
    for successes, trials, confidence in ((2, 1, 0.95), (-1, 3, 0.95), (1, 3, 1.0), (1, 3, 0.0)):
        with pytest.raises(ValueError, match="must lie between 0"):
            interval(successes, trials, confidence=confidence)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_bootstrap_agrees_with_scipy(method: Method) -> None:
    theirs = stats.bootstrap(
        (SKEWED,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = bootstrap_mean(SKEWED, seed=2, resamples=20_000, method=method)
    assert ours == pytest.approx(tuple(theirs), abs=0.008)  # Monte Carlo error of an end: 0.003


def test_the_studentised_bootstrap_agrees_with_its_definition() -> None:
    generator, n = np.random.default_rng(1), len(SKEWED)
    drawn = SKEWED[generator.integers(0, n, (20_000, n))]
    pivots = (drawn.mean(axis=1) - SKEWED.mean()) / drawn.std(axis=1)
    high, low = SKEWED.mean() - np.quantile(pivots, [0.025, 0.975]) * SKEWED.std()
    ours = bootstrap_mean(SKEWED, seed=2, resamples=20_000)
    assert ours == pytest.approx((low, high), abs=0.015)


@given(DIFFERENCES)
@settings(max_examples=60)
def test_an_interval_of_a_mean_always_holds_it_and_mirrors(values: list[float]) -> None:
    low, high = mean_interval(values, seed=1, resamples=200)
    mean = float(np.mean(values))
    assert low - 1e-12 <= mean <= high + 1e-12
    mirrored = mean_interval([-v for v in values], seed=1, resamples=200)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)
    t_low, t_high = stats.t.interval(0.95, len(values) - 1, mean, max(stats.sem(values), 1e-300))
    assert low <= t_low + 1e-9
    assert high >= t_high - 1e-9


def test_few_moved_pairs_give_a_finite_interval() -> None:
    low, high = mean_interval([0.0] * 199 + [-0.5], seed=1)
    assert -0.05 < low < -0.0025 < 0.0 < high < 0.05
    assert mean_interval([0.25], seed=1) == mean_interval([0.25] * 9, seed=1) == (0.25, 0.25)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")], [[1.0], [2.0]]])
def test_a_mean_of_nothing_or_of_no_numbers_is_refused(values: list[float]) -> None:
    for refuse in (mean_interval, bootstrap_mean, randomisation_test):
        with pytest.raises(ValueError, match="value"):
            refuse(values, seed=1)
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([1.0, 2.0], seed=1, confidence=95)


def test_one_row_is_one_sample() -> None:
    rows = np.random.default_rng(6).normal(size=(4, 30))
    low, high = mean_intervals(rows, seed=3, resamples=500)
    p_values = sign_flip_p_values(rows, seed=3, resamples=500)
    for n, row in enumerate(rows):
        assert (low[n], high[n]) == pytest.approx(mean_interval(row, seed=3, resamples=500))
        assert p_values[n] == randomisation_test(row, seed=3, resamples=500)


def test_the_interval_of_skewed_differences_misses_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(8)
    small, great = generator.random((1000, 150)) * 0.2, generator.random((1000, 150)) * 0.6 + 0.2
    kind = generator.random((1000, 150))  # mean .33 · .1 − .066 · .5 = 0
    rows = np.where(kind < 0.33, small, np.where(kind < 0.396, -great, 0.0))
    low, high = mean_intervals(rows, seed=1, resamples=1000)
    misses = int((low > 0).sum() + (high < 0).sum())
    assert misses <= 75  # binomial(1000, .055): 99.7 % of the time at most 75
    percentile, _ = bootstrap_means(rows, seed=1, resamples=1000, method="percentile")
    assert (percentile > 0).sum() > (low > 0).sum()


@pytest.mark.parametrize(
    "differences", [[1.0, 2.0, 3.0, -0.5], [0.1] * 6, [1.0, -1.0, 2.0, -2.0], [3.0, 1.0, -1.0]]
)
def test_randomisation_agrees_with_all_sign_flips(differences: list[float]) -> None:
    values = np.array(differences)
    sums = [abs(float(values @ np.array(s))) for s in product((-1, 1), repeat=len(values))]
    exact = sum(s >= abs(values.sum()) - 1e-12 for s in sums) / len(sums)
    assert randomisation_test(values, seed=1) == pytest.approx(exact, abs=1e-12)
    sampled = sign_flip_p_values(values[None, :], seed=1, resamples=20_000)[0]
    assert sampled == pytest.approx(exact, abs=0.012)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=9))
@settings(max_examples=50)
def test_randomisation_agrees_with_scipy_on_few_pairs(values: list[int]) -> None:
    theirs = stats.permutation_test(
        (np.array(values), np.zeros(len(values))),
        lambda a, b, axis: np.abs((a - b).sum(axis=axis)),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
    )
    assert randomisation_test(values, seed=1) == pytest.approx(theirs.pvalue, abs=1e-12)


@given(DIFFERENCES)
@settings(max_examples=60)
def test_a_p_value_is_always_in_0_to_1_and_the_same_with_sides_swapped(
    values: list[float],
) -> None:
    row = np.array(values)
    p = randomisation_test(row, seed=1, resamples=300)
    assert 0 < p <= 1
    assert randomisation_test(-row, seed=1, resamples=300) == p


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
