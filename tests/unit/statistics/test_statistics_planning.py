"""Sample plans against SciPy's distributions, exact enumeration and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qafila.statistics.sample_sizes import (
    group_size_needed,
    pairs_for_margin,
    pairs_needed,
    power_of_pairs,
    rows_to_see,
    share_seen,
    trials_needed,
)


@pytest.mark.parametrize(
    ("share", "probability", "population", "rows"),
    [
        (0.001, 0.95, None, 2995),  # ln(.05) / ln(.999) = 2994.2
        (0.5, 0.5, None, 1),
        (0.01, 0.99, None, 459),  # ln(.01) / ln(.99) = 458.2
        (1.0, 0.95, None, 1),
        (0.5, 0.75, 4, 2),  # two of four faulty: C(2,2) / C(4,2) = 1/6 unseen by two rows
        (0.001, 0.95, 100, 95),  # one of 100: n / 100
        (0.001, 0.95, 1, 1),
    ],
)
def test_rows_to_see(share: float, probability: float, population: int | None, rows: int) -> None:
    assert rows_to_see(share, probability, population) == rows


@given(st.floats(1e-4, 1.0), st.floats(0.01, 0.999), st.integers(1, 20_000))
@settings(max_examples=80)
def test_a_finite_plan_is_always_the_least_that_keeps_its_promise(
    share: float, probability: float, population: int
) -> None:
    rows = rows_to_see(share, probability, population)
    faulty = min(population, max(1, int(np.ceil(share * population - 1e-9))))
    unseen = stats.hypergeom(population, faulty, np.array([rows, rows - 1])).pmf(0)
    assert unseen[0] <= 1 - probability + 1e-9
    assert rows == 1 or unseen[1] > 1 - probability - 1e-9
    assert rows <= min(population, rows_to_see(share, probability) if share < 1 else 1)


def test_great_populations_keep_their_digits() -> None:
    assert rows_to_see(0.001, 0.95, 10**12) == 2995
    # 1 000 of 10⁹ rows: ln(.05) / ln(1 − 10⁻⁶) = 2 995 731 without the finite correction
    assert 2_980_000 < rows_to_see(1e-6, 0.95, 10**9) < 2_995_731


@given(st.integers(1, 100_000), st.floats(0.1, 0.999))
def test_what_is_planned_is_what_is_seen(rows: int, probability: float) -> None:
    assert rows_to_see(share_seen(rows, probability), probability) in (rows, rows - 1)


@pytest.mark.parametrize(("effect", "sd", "sides"), [(0.02, 0.2, 2), (0.5, 1.0, 2), (0.5, 1.0, 1)])
def test_power_agrees_with_the_noncentral_t(effect: float, sd: float, sides: int) -> None:
    n = pairs_needed(effect, sd, sides=sides)
    for pairs in (n, 2 * n):
        t = stats.nct(pairs - 1, effect / sd * pairs**0.5)
        critical = stats.t.isf(0.05 / sides, pairs - 1)
        expected = t.sf(critical) + (t.cdf(-critical) if sides == 2 else 0)
        ours = power_of_pairs(pairs, effect, sd, sides=sides)
        assert ours == pytest.approx(expected, abs=1e-9)
    assert power_of_pairs(n, effect, sd, sides=sides) >= 0.8
    assert power_of_pairs(n - 1, effect, sd, sides=sides) < 0.8


def test_a_well_known_plan_of_pairs() -> None:
    # d = 0.5, two-sided 5 %, power 80 %: 34 pairs, as G*Power says
    assert pairs_needed(0.5, 1.0) == 34
    # one-sided at 2.5 % is the same 34; 3 % more for the farther end
    assert pairs_for_margin(0.5, 1.0) == 36


@given(st.floats(0.05, 2.0), st.floats(0.5, 0.99))
@settings(max_examples=50)
def test_more_power_or_a_smaller_effect_never_takes_fewer_pairs(
    effect: float, power: float
) -> None:
    n = pairs_needed(effect, 1.0, power=power)
    assert pairs_needed(effect / 1.1, 1.0, power=power) >= n
    assert pairs_needed(effect, 1.0, power=min(0.999, power + 0.005)) >= n
    assert pairs_needed(-effect, 1.0, power=power) == n


@pytest.mark.parametrize(("share", "against"), [(0.99, 0.95), (0.95, 0.9), (0.6, 0.5)])
def test_trials_keep_their_power_by_the_binomial(share: float, against: float) -> None:
    def power(trials: int) -> float:
        least = stats.binom.isf(0.025, trials, against) + 1  # P(X ≥ least) ≤ 2.5 %
        return float(stats.binom.sf(least - 1, trials, share))

    n = trials_needed(share, against)
    assert power(n - 1) < 0.8
    assert all(power(m) >= 0.8 for m in range(n, 2 * n))


def test_the_least_trials_that_all_must_succeed() -> None:
    # .9^29 = 4.7 % and .9^28 = 5.2 %: 29 of 29 shows more than 90 % at 5 %
    assert trials_needed(0.999999, 0.9, alpha=0.05, power=0.9) == 29


def test_two_groups_by_hand() -> None:
    # (1.960 · √(2·.15·.85) + .842 · √(.1·.9 + .2·.8))² / .1² = 198.96, and with the correction
    # 198.96 / 4 · (1 + √(1 + 4 / (198.96 · .1)))² = 218.5
    assert group_size_needed(0.1, 0.2) == 219
    assert group_size_needed(0.2, 0.1) == 219


def test_two_groups_by_fishers_test() -> None:
    n = group_size_needed(0.2, 0.5)
    grid = np.arange(n + 1)
    weight = np.outer(stats.binom.pmf(grid, n, 0.2), stats.binom.pmf(grid, n, 0.5))
    power = sum(
        weight[a, b]
        for a in grid
        for b in grid
        if weight[a, b] > 1e-9 and stats.fisher_exact([[a, n - a], [b, n - b]]).pvalue <= 0.05
    )
    assert 0.78 <= power <= 0.85


@pytest.mark.parametrize(
    "plan",
    [
        lambda: rows_to_see(0, 0.95),
        lambda: rows_to_see(0.1, 1.0),
        lambda: rows_to_see(0.1, 0.9, 0),
        lambda: share_seen(0, 0.9),
        lambda: power_of_pairs(1, 0.1, 1.0),
        lambda: pairs_needed(0.0, 1.0),
        lambda: pairs_needed(0.1, 0.0),
        lambda: pairs_needed(0.1, 1.0, power=1.0),
        lambda: pairs_needed(1e-6, 1.0),
        lambda: trials_needed(0.9, 0.9),
        lambda: group_size_needed(0.1, 0.1),
    ],
)
def test_plans_refuse_what_cannot_be_planned(plan) -> None:
    with pytest.raises(ValueError, match=r"must|cannot|takes"):
        plan()


def test_every_problem_is_named() -> None:
    with pytest.raises(ValueError, match=r"share.*; .*probability.*; .*population"):
        rows_to_see(2.0, 3.0, 0)
