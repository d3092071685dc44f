"""The arithmetic of e-values, against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qafila.rollout.judge.e_values import (
    GRID,
    MOST_LOG,
    NOTHING,
    added,
    gains,
    log_e,
    log_mean,
    odds,
    rate_gains,
)
from qafila.rollout.judge.evidence import HARM_POINTS, fine_points

FINE = fine_points(2.0)


def curve(spread: float) -> np.ndarray:
    heights = np.exp(-0.5 * (GRID / spread) ** 2)
    return np.asarray(heights / heights.sum())


@pytest.mark.parametrize("points", [HARM_POINTS, FINE])
@pytest.mark.parametrize(("n", "w"), [(1, 0.05), (7, 0.25), (40, 0.5)])
def test_without_spread_it_is_one_on_average_when_the_arms_are_equal(
    n: int, w: float, points: tuple[float, ...]
) -> None:
    # All outcomes of n bad answers, y of them the canary's: Σ P(y)·E(y) = 1
    ys = np.arange(n + 1)
    e = np.exp(log_e(gains(ys, n - ys, np.full(n + 1, w)), np.zeros(n + 1), points))
    assert (stats.binom.pmf(ys, n, w) * e).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("spread", [0.2, 0.6])
@pytest.mark.parametrize("points", [HARM_POINTS, FINE])
def test_with_spread_it_is_one_on_average_over_the_users_drawn(
    spread: float, points: tuple[float, ...]
) -> None:
    n, w = 25, 0.25
    ys = np.arange(n + 1)
    e = np.exp(log_e(gains(ys, n - ys, np.full(n + 1, w)), np.full(n + 1, spread), points))
    at = curve(spread)[:, None] * stats.binom.pmf(ys, n, odds(w, np.exp(GRID))[:, None])
    assert (at.sum(axis=0) * e).sum() == pytest.approx(1.0)


def test_it_is_the_likelihood_ratio_written_out() -> None:
    # 3 bad answers of the canary and 2 of the baseline at w = ¼; r = e^1.4 against 1
    r, w = math.exp(1.4), 0.25
    theta = r * w / (r * w + 1 - w)
    by_hand = (theta / w) ** 3 * ((1 - theta) / (1 - w)) ** 2
    found = log_e(gains(3, 2, w), 0.0, (1.4,))
    assert math.exp(float(found)) == pytest.approx(by_hand)
    both = log_e(gains(3, 2, w), 0.0, (1.4, 0.0))  # the mean with r = 1, which is 1
    assert math.exp(float(both)) == pytest.approx((by_hand + 1) / 2)


def test_however_often_one_looks_it_reaches_its_threshold_as_seldom_as_promised() -> None:
    # All 2¹² orders of 12 bad answers at w = ½, read after each: P(ever E ≥ 10) ≤ 1/10
    ever = 0
    for path in itertools.product((0, 1), repeat=12):
        ys = np.cumsum(path)
        looks = np.arange(1, 13)
        e = log_e(gains(ys, looks - ys, np.full(12, 0.5)), np.zeros(12), HARM_POINTS)
        ever += bool((e >= math.log(10)).any())
    assert 0 < ever / 2**12 <= 0.1


def test_looks_with_other_weights_add_up() -> None:
    together = added(added(NOTHING, gains(2, 5, 0.1)), gains(4, 3, 0.5))
    assert together == pytest.approx((gains(2, 5, 0.1) + gains(4, 3, 0.5)).tolist())


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(1e-4, 1 - 1e-4), st.floats(0, 3))
@settings(max_examples=200, deadline=None)
def test_it_is_always_finite(y: int, n: int, w: float, spread: float) -> None:
    for points in (HARM_POINTS, FINE):
        assert abs(float(log_e(gains(y, n, w), spread, points))) <= MOST_LOG


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.01, 0.9), st.floats(0, 1.5))
@settings(max_examples=200, deadline=None)
def test_one_more_bad_answer_of_the_canary_never_helps_it(
    y: int, n: int, w: float, spread: float
) -> None:
    e = log_e(gains([y, y + 1], [n, n], [w, w]), [spread, spread], HARM_POINTS)
    assert e[1] >= e[0] - 1e-9
    fine = log_e(gains([y, y + 1], [n, n], [w, w]), [spread, spread], FINE)
    assert fine[1] <= fine[0] + 1e-9


@pytest.mark.parametrize("most", [0.002, 0.1])
def test_a_rate_at_most_the_objective_is_one_on_average(most: float) -> None:
    n = 30
    ys = np.arange(n + 1)
    gain = rate_gains(ys, n - ys, [most * 2, most * 5], np.full(n + 1, most))
    e = np.exp(log_mean(gain))
    assert (stats.binom.pmf(ys, n, most) * e).sum() == pytest.approx(1.0)
    assert (stats.binom.pmf(ys, n, most / 2) * e).sum() < 1


@pytest.mark.parametrize("ratio", [1.06, 1.5, 2.0, 10.0])
def test_what_promotion_is_proven_by_lies_under_the_harm_it_rules_out(ratio: float) -> None:
    assert all(GRID[0] - 1e-9 <= point < 0 for point in fine_points(ratio))


def test_the_grid_is_that_of_the_looks_that_are_stored() -> None:
    """A rollout that began with an earlier version goes on: its sums have one number a point."""
    assert len(GRID) == 73
    assert (round(float(GRID[0]), 9), round(float(GRID[-1]), 9)) == (-3.2, 4.0)
