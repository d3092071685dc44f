"""Unpaired samples, margins and families, against SciPy, enumeration and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qafila.statistics.equivalence import equivalence, non_inferiority
from qafila.statistics.multiplicity import compare_classes, holm, simultaneous_confidence
from qafila.statistics.ranking_metrics import percentile
from qafila.statistics.samples import fewest_for_percentile, permutation_test, ratio_of_percentiles

SIDE = st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=6)
P_VALUES = st.lists(st.floats(0, 1), max_size=12)


@given(SIDE, SIDE)
@settings(max_examples=50)
def test_permutation_agrees_with_scipy_and_swaps(first: list[float], second: list[float]) -> None:
    p = permutation_test(first, second, seed=1)
    assert permutation_test(second, first, seed=1) == pytest.approx(p, abs=1e-12)
    assert 0 < p <= 1
    if len(first) > 1 and len(second) > 1:  # SciPy wants two
        theirs = stats.permutation_test(
            (first, second),
            lambda a, b, axis: np.round(np.abs(a.mean(axis=axis) - b.mean(axis=axis)), 9),
            alternative="greater",
            n_resamples=np.inf,
            vectorized=True,
        )
        assert p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_sampled_permutation_agrees_with_t_on_many_values() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(0.25, 1, 150), generator.normal(0, 1, 100)
    ours = permutation_test(first, second, seed=1)
    assert ours == pytest.approx(stats.ttest_ind(first, second).pvalue, abs=0.01)
    assert permutation_test(first + 9, second, seed=1, resamples=99) == 0.01


def test_pairs_are_resampled_together() -> None:
    chance = np.random.default_rng(3)
    before = chance.lognormal(2.0, 0.5, 400)
    found = ratio_of_percentiles(1.2 * before, before, seed=1, block=10, paired=True)
    assert (found.ci_low, found.ci_high) == pytest.approx((1.2, 1.2))
    alone = ratio_of_percentiles(1.2 * before, before, seed=1, block=10)
    assert alone.ci_high - alone.ci_low > 0.1
    with pytest.raises(ValueError, match="as many values"):
        ratio_of_percentiles(before[1:], before, seed=1, paired=True)


def test_the_ratio_of_percentiles_is_that_of_measured_values() -> None:
    generator = np.random.default_rng(2)
    before, after = generator.lognormal(2, 0.5, 500), 1.5 * generator.lognormal(2, 0.5, 400)
    found = ratio_of_percentiles(after, before, seed=1)
    assert found.candidate == percentile(list(after), 0.95)
    assert found.baseline == percentile(list(before), 0.95)
    assert found.ci_low < found.ratio < found.ci_high
    assert found.ci_low > 1.0
    back = ratio_of_percentiles(before, after, seed=1)
    assert (back.ci_low, back.ci_high) == pytest.approx(
        (1 / found.ci_high, 1 / found.ci_low), rel=0.02
    )


def test_drawing_the_rank_is_drawing_the_sample() -> None:
    values = np.random.default_rng(3).lognormal(2, 0.5, 300)
    quick = ratio_of_percentiles(values, values[::-1], seed=1)
    n = len(values)
    generator = np.random.default_rng(4)
    drawn = np.sort(values[generator.integers(0, n, (2, 4000, n))], axis=2)[:, :, 284]
    slow = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])  # the 285th of 300 is p95
    assert (quick.ci_low, quick.ci_high) == pytest.approx(tuple(slow), abs=0.03)


def test_slow_minutes_widen_the_interval_when_blocks_are_drawn() -> None:
    generator = np.random.default_rng(5)
    load = np.repeat(generator.lognormal(0, 0.5, 40), 25)  # 25 requests share one state
    values = load * generator.lognormal(2, 0.1, 1000)
    single = ratio_of_percentiles(values, values, seed=1, resamples=500)
    blocks = ratio_of_percentiles(values, values, seed=1, resamples=500, block=50)
    assert blocks.ci_high / blocks.ci_low > 1.3 * single.ci_high / single.ci_low


def test_too_few_values_for_a_percentile_are_refused_all_at_once() -> None:
    assert (fewest_for_percentile(0.95), fewest_for_percentile(0.99)) == (200, 1000)
    with pytest.raises(ValueError, match=r"candidate has 3 .*200.*; the baseline has values"):
        ratio_of_percentiles([1.0] * 3, [0.0] * 300, seed=1)


@given(P_VALUES)
def test_holm_is_never_smaller_than_raw_and_keeps_the_order(raw: list[float]) -> None:
    adjusted = holm(raw)
    assert all(a >= r for a, r in zip(adjusted, raw, strict=True))
    assert all(0 <= a <= 1 for a in adjusted)
    ranked = [adjusted[i] for i in sorted(range(len(raw)), key=raw.__getitem__)]
    assert ranked == sorted(ranked)


def test_holm_by_hand() -> None:
    # .01·4, max(.04, .02·3), max(.06, .03·2), max(.06, .5·1)
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx((0.5, 0.04, 0.06, 0.06))
    assert holm([]) == ()
    with pytest.raises(ValueError, match="0 to 1"):
        holm([1.1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.3))
def test_holm_calls_what_the_step_down_procedure_calls(raw: list[float], alpha: float) -> None:
    called, left = set(), len(raw)
    for index in sorted(range(len(raw)), key=raw.__getitem__):
        if raw[index] * left > alpha:
            break
        called.add(index)
        left -= 1
    assert {i for i, p in enumerate(holm(raw)) if p <= alpha} == called


def test_classes_are_compared_together() -> None:
    generator = np.random.default_rng(6)
    old = {name: generator.random(60) for name in "abcd"}
    pairs = {
        n: (list(v + generator.normal(0.2 * (n == "a"), 0.2, 60)), list(v)) for n, v in old.items()
    }
    found = compare_classes(pairs, seed=1)
    assert list(found) == list("abcd")
    assert found["a"].adjusted_p_value < 0.01
    for one in found.values():
        assert one.adjusted_p_value >= one.comparison.p_value
    assert simultaneous_confidence(0.95, 4) == pytest.approx(0.9875)
    alone = compare_classes({"a": pairs["a"]}, seed=1)["a"].comparison
    assert alone.ci_low > found["a"].comparison.ci_low
    assert compare_classes({}, seed=1) == {}
    with pytest.raises(ValueError, match="not so in: x, y"):
        compare_classes({"x": ([1.0], [1.0]), "y": ([1.0, 2.0], [1.0]), **pairs}, seed=1)


def test_no_worse_is_shown_within_the_margin_and_not_beyond() -> None:
    generator = np.random.default_rng(7)
    old = generator.random(400)
    new = old + generator.normal(0, 0.1, 400)
    close = non_inferiority(list(new), list(old), margin=0.02, seed=1)
    assert close.shown
    assert close.ci_high is None
    assert not non_inferiority(list(new - 0.03), list(old), margin=0.02, seed=1).shown
    # (1.960 + .842) · .1 / √400
    assert close.smallest_margin == pytest.approx(0.014, abs=0.001)
    assert equivalence(list(new), list(old), margin=0.02, seed=1).shown
    assert not equivalence(list(new + 0.03), list(old), margin=0.02, seed=1).shown


def test_a_margin_kept_by_betting_knows_of_losses_that_it_has_not_seen() -> None:
    same = [0.5] * 40
    assert non_inferiority(same, same, margin=0.02, seed=1).shown
    assert not non_inferiority(same, same, margin=0.02, seed=1, bounds=(-1, 1)).shown
    assert not non_inferiority([0.5] * 248, [0.5] * 248, margin=0.02, seed=1, bounds=(-1, 1)).shown
    many = [0.5] * 250  # 5 / margin
    assert non_inferiority(many, many, margin=0.02, seed=1, bounds=(-1, 1)).shown


def test_a_margin_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match=r"margin.*; alpha"):
        non_inferiority([1.0, 2.0], [1.0, 2.0], margin=-1, seed=1, alpha=0.5)
    with pytest.raises(ValueError, match="outside"):
        non_inferiority([3.0, 2.0], [1.0, 2.0], margin=0.1, seed=1, bounds=(-1, 1))
