"""Compare two systems on the same queries: mean difference, interval, randomisation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import special

from qafila.statistics.intervals import RESAMPLES, Floats, finite, mean_interval

EXACT_PAIRS = 16  # 2^16 sign flips are enumerated in a millisecond
_BLOCK = 256  # resamples at a time: memory stays at block × n numbers


@dataclass(frozen=True)
class PairedComparison:
    """Mean of candidate minus baseline over the same queries, its interval and p-value.

    ``smallest_effect`` is the difference that this many queries would show with 80 % power at the
    5 % level (two-sided): (z(.975) + z(.8)) · sd / √n. It is 0 when no query differed at all.
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
    resamples: int = RESAMPLES,
) -> PairedComparison:
    """Compare two systems on the same queries; all in the unit of the values.

    The interval is ``mean_interval`` of the differences, the p-value ``randomisation_test``.

    Raises:
        ValueError: the two do not have the same, at least two, queries; a value is no number.
    """
    difference = differences(candidate, baseline)
    low, high = mean_interval(difference, seed=seed, confidence=confidence, resamples=resamples)
    return PairedComparison(
        pairs=len(difference),
        delta=float(difference.mean()),
        ci_low=low,
        ci_high=high,
        p_value=randomisation_test(difference, seed=seed + 1, resamples=resamples),
        smallest_effect=smallest_effect(difference),
    )


def differences(candidate: Sequence[float], baseline: Sequence[float]) -> Floats:
    """Return candidate minus baseline, pair by pair.

    Raises:
        ValueError: the two do not have the same, at least two, queries; a value is no number.
    """
    if len(candidate) != len(baseline) or len(candidate) < 2:
        raise ValueError("a paired comparison needs the same two or more queries on both sides")
    return finite(candidate) - finite(baseline)


def smallest_effect(difference: Floats, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the mean difference that so many pairs show with ``power``, two-sided at ``alpha``."""
    spread = float(difference.std(ddof=1)) / sqrt(len(difference))
    return float(special.ndtri(1 - alpha / 2) + special.ndtri(power)) * spread


def randomisation_test(difference: Floats, *, seed: int, resamples: int = RESAMPLES) -> float:
    """Return the two-sided p-value of the paired sign-flip test (Fisher 1935; Smucker 2007).

    Under "the two systems are interchangeable" each pair's sign is a coin toss. Pairs without a
    difference carry no sign and are left out. Of at most 16 that remain all sign flips are
    enumerated; of more, ``resamples`` are drawn, and the observed data count as one of them. The
    p-value is never 0, and rejects interchangeable systems no more often than it says, at every
    sample size.

    Raises:
        ValueError: there is no difference in the list, or one is not a finite number.
    """
    found = finite(difference)
    moved = found[found != 0]
    if len(moved) == 0:
        return 1.0
    if len(moved) <= EXACT_PAIRS:
        return _enumerated(moved)
    return float(sign_flip_p_values(moved[None, :], seed=seed, resamples=resamples)[0])


def sign_flip_p_values(rows: Floats, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Return the sampled sign-flip p-value of each row of (m, n), all with the same flips."""
    # the margin keeps ties that differ only by rounding on the cautious side
    observed = np.abs(rows.sum(axis=1)) - _rounding(rows)
    as_extreme = np.zeros(len(rows))
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        signs = generator.integers(0, 2, (size, rows.shape[1]), dtype=np.int8) * 2.0 - 1.0
        as_extreme += (np.abs(signs @ rows.T) >= observed).sum(axis=0)
    return (as_extreme + 1) / (resamples + 1)


def _enumerated(moved: Floats) -> float:
    """Return the exact p-value; by symmetry the first sign may stay as it is."""
    sums = moved[:1]
    for value in moved[1:]:
        sums = np.concatenate([sums + value, sums - value])
    observed = abs(float(moved.sum()))
    return float((np.abs(sums) >= observed - _rounding(moved[None, :])).mean())


def _rounding(rows: Floats) -> Floats:
    """Return what sums of each row may be off by rounding: ties must not be lost to it."""
    bound: Floats = np.abs(rows).sum(axis=1) * 1e-13
    return bound
