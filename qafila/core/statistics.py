"""Intervals and paired tests, on NumPy and the standard library. Seeds are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256  # resamples at a time: memory stays at block × n numbers


@dataclass(frozen=True)
class PairedComparison:
    """Mean of candidate minus baseline over the same queries, its interval and p-value.

    ``smallest_effect`` is the difference that this many queries would show with 80 % power at the
    5 % level (two-sided): (z(.975) + z(.8)) · sd / √n.
    """

    pairs: int
    delta: float
    ci_low: float
    ci_high: float
    p_value: float
    smallest_effect: float


def compare_paired(
    candidate: Sequence[float],
    baseline: Sequence[float],
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> PairedComparison:
    """Compare two systems on the same queries.

    Raises:
        ValueError: the two do not have the same, at least two, queries.
    """
    if len(candidate) != len(baseline) or len(candidate) < 2:
        raise ValueError("a paired comparison needs the same two or more queries on both sides")
    difference = np.asarray(candidate, np.float64) - np.asarray(baseline, np.float64)
    low, high = bootstrap_mean(difference, seed=seed, confidence=confidence, resamples=resamples)
    z = NormalDist().inv_cdf
    spread = float(difference.std(ddof=1)) / sqrt(len(difference))
    return PairedComparison(
        pairs=len(difference),
        delta=float(difference.mean()),
        ci_low=low,
        ci_high=high,
        p_value=randomisation_test(difference, seed=seed + 1, resamples=resamples),
        smallest_effect=(z(0.975) + z(0.8)) * spread,
    )


def bootstrap_mean(
    values: NDArray[np.float64], *, seed: int, confidence: float = 0.95, resamples: int = 10_000
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean (Efron and Tibshirani 1993, ch. 13)."""
    means = np.empty(resamples)
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        drawn = generator.integers(0, len(values), (size, len(values)))
        means[start : start + size] = values[drawn].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def mean_share(
    shares: Sequence[float], *, seed: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return an interval for the mean of shares that were each taken over one query.

    The bootstrap over queries, because neighbours of one query are found or missed together. When
    all queries reach the same share it would promise certainty: Wilson's interval with one trial a
    query takes its place. Of nothing it is (0, 1).
    """
    if not shares:
        return 0.0, 1.0
    if min(shares) == max(shares):
        return wilson(round(shares[0] * len(shares)), len(shares), confidence=confidence)
    return bootstrap_mean(np.asarray(shares, np.float64), seed=seed, confidence=confidence)


def randomisation_test(
    differences: NDArray[np.float64], *, seed: int, resamples: int = 10_000
) -> float:
    """Return the two-sided p-value of the paired sign-flip test (Fisher 1935; Smucker 2007).

    Under "no difference" each pair's sign is a coin toss. The observed data count as one of the
    resamples, so that the p-value is never 0 and the test is exact at every sample size. Pairs
    without a difference carry no sign and are left out.
    """
    moved = differences[differences != 0]
    if len(moved) == 0:
        return 1.0
    observed = abs(float(moved.sum()))
    generator = np.random.default_rng(seed)
    as_extreme = 0
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        signs = generator.integers(0, 2, (size, len(moved)), dtype=np.int8) * 2.0 - 1.0
        # the margin keeps ties that differ only by rounding on the cautious side
        as_extreme += int((np.abs(signs @ moved) >= observed * (1 - 1e-12)).sum())
    return (as_extreme + 1) / (resamples + 1)


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (Wilson, JASA 1927).

    Of no trials at all it is (0, 1): nothing is known.

    Raises:
        ValueError: there are more successes than trials, or fewer than none.
    """
    if not 0 <= successes <= trials:
        raise ValueError("successes must lie between 0 and trials")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, z2 = successes / trials, z * z
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    # rounding must not leave the share itself outside
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
