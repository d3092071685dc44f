"""Bounds by betting: the paper's definition, always shrinking, covering at all times."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.statistics.sequences import (
    betting_p_value,
    confidence_sequence,
    log_capitals,
    lower_bound,
)

VALUES = st.lists(st.floats(0, 1).map(lambda x: round(x, 3)), min_size=1, max_size=60)


def capital(values: list[float], claim: float, alpha: float) -> list[float]:
    """Return Waudby-Smith and Ramdas' capital, one value at a time, as the paper writes it."""
    mean, spread, found, held = 0.5, 0.25, [], 1.0
    for t, x in enumerate(values, 1):
        bet = sqrt(2 * log(1 / alpha) / (spread * t * log(t + 1)))
        held *= 1 + min(bet, 0.75 / claim) * (x - claim)
        found.append(held)
        mean = (0.5 + sum(values[:t])) / (t + 1)
        spread = (spread * t + (x - mean) ** 2) / (t + 1)
    return found


@given(VALUES, st.floats(0.05, 0.95))
def test_the_capital_is_the_papers(values: list[float], claim: float) -> None:
    ours = log_capitals(np.array([values]), claim, alpha=0.025)[0]
    assert ours == pytest.approx(np.log(capital(values, claim, 0.025)), abs=1e-9)


@given(VALUES)
def test_a_sequence_only_ever_shrinks(values: list[float]) -> None:
    low, high = confidence_sequence(values, resolution=100)
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) <= 0).all()
    assert ((low >= 0) & (low < high) & (high <= 1)).all()


@given(VALUES)
@settings(max_examples=50)
def test_a_sequence_mirrors_and_scales(values: list[float]) -> None:
    low, high = confidence_sequence(values, resolution=100)
    other = np.array(values) * 2 - 1
    low_2, high_2 = confidence_sequence(-other, bounds=(-1, 1), resolution=100)
    assert low_2 == pytest.approx(1 - 2 * high, abs=0.0201)  # rounding may move one step
    assert high_2 == pytest.approx(1 - 2 * low, abs=0.0201)


@given(VALUES, st.sampled_from([None, 30]))
@settings(max_examples=50)
def test_the_last_lower_end_is_the_lower_bound_at_half_the_level(
    values: list[float], planned: int | None
) -> None:
    low, _ = confidence_sequence(values, alpha=0.05, planned=planned, resolution=1000)
    bound = lower_bound(values, alpha=0.025, planned=planned)
    assert low[-1] <= bound + 1e-9
    assert low[-1] == pytest.approx(bound, abs=0.0011)


@given(VALUES, st.floats(0.0, 0.99))
@settings(max_examples=50)
def test_the_p_value_agrees_with_the_bound(values: list[float], claim: float) -> None:
    p = betting_p_value(values, claim, alpha=0.05)
    bound = lower_bound(values, alpha=0.05)
    assert 0 < p <= 1
    if abs(bound - claim) > 1e-9:
        assert (p <= 0.05) == (claim < bound)


def test_long_sequences_are_the_same_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).beta(8, 2, 500)
    whole = confidence_sequence(values, resolution=200)
    monkeypatch.setattr("qafila.statistics.sequences._STEPS", 37)
    sliced = confidence_sequence(values, resolution=200)
    assert np.allclose(whole, sliced)


def test_it_covers_at_all_times_at_once() -> None:
    generator = np.random.default_rng(2)
    rows = np.where(generator.random((2000, 300)) < 0.1, generator.random((2000, 300)), 1.0)
    # the true mean is .95; both sides together may fail in 5 %
    failed = (log_capitals(rows, 0.95, alpha=0.025) >= log(1 / 0.025)).any(axis=1)
    failed |= (log_capitals(1 - rows, 0.05, alpha=0.025) >= log(1 / 0.025)).any(axis=1)
    assert failed.sum() <= 130  # binomial(2000, .05): 99.8 % of the time at most 128


def test_it_finds_what_is_there() -> None:
    values = np.random.default_rng(3).choice([0.8, 0.9, 1.0], 200)
    low, high = confidence_sequence(values)
    assert 0.85 < low[-1] < 0.9 < high[-1] < 0.95
    assert lower_bound(values) > low[-1]


def test_nothing_that_moved_is_still_no_certainty() -> None:
    bound = lower_bound([0.0] * 200, bounds=(-1, 1), alpha=0.025, planned=200)
    assert -0.03 < bound < -0.01  # three in 200 of −1 may be unseen: −0.015


def test_a_mean_that_moves_leaves_the_last_interval_that_held_one() -> None:
    low, high = confidence_sequence([0.0] * 200 + [1.0] * 2000, resolution=100)
    assert low[-1] < high[-1]


@pytest.mark.parametrize(
    ("values", "settings"),
    [([2.0], {}), ([], {}), ([float("nan")], {}), ([0.5], {"alpha": 0}), ([0], {"bounds": (1, 1)})],
)
def test_what_breaks_the_promise_is_refused(values: list[float], settings: dict) -> None:
    for refuse in (confidence_sequence, lower_bound):
        with pytest.raises(ValueError, match=r"value|alpha|bounds"):
            refuse(values, **settings)
    with pytest.raises(ValueError, match="below the least"):
        betting_p_value([0.5], -0.1)
