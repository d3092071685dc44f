"""Compare two samples that are not paired: a permutation test, and latency percentiles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import ceil, comb

import numpy as np
from numpy.typing import ArrayLike

from qafila.statistics.intervals import RESAMPLES, Floats, finite

EXACT_SPLITS = 20_000
_BLOCK = 256


@dataclass(frozen=True)
class PercentileRatio:
    """The candidate's percentile over the baseline's (no unit), with its interval."""

    share: float
    candidate: float
    baseline: float
    ratio: float
    ci_low: float
    ci_high: float
    confidence: float = 0.95  # of the interval


def permutation_test(
    candidate: ArrayLike, baseline: ArrayLike, *, seed: int, resamples: int = RESAMPLES
) -> float:
    """Return the two-sided p-value for the difference of two means (Pitman, JRSS 1937).

    Under "one population" every split of the pooled values is equally likely. Up to 20 000 splits
    are enumerated; of more, ``resamples`` are drawn, and the observed one counts as one of them,
    so that the p-value is never 0.

    Raises:
        ValueError: a side is empty, or a value is not a finite number.
    """
    first, second = finite(candidate), finite(baseline)
    pooled = np.concatenate([first, second])
    pooled = pooled - pooled.mean()
    n, total = len(first), len(pooled)
    # centred, the sum over one side says all: |difference of means| = |sum| · N / (n·(N − n))
    observed = abs(float(pooled[:n].sum())) - float(np.abs(pooled).sum()) * 1e-13
    if comb(total, n) <= EXACT_SPLITS:
        sides = np.array(list(combinations(range(total), n)))
        return float((np.abs(pooled[sides].sum(axis=1)) >= observed).mean())
    generator = np.random.default_rng(seed)
    as_extreme = 0
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        shuffled = generator.permuted(np.broadcast_to(pooled, (size, total)), axis=1)
        as_extreme += int((np.abs(shuffled[:, :n].sum(axis=1)) >= observed).sum())
    return (as_extreme + 1) / (resamples + 1)


def fewest_for_percentile(share: float) -> int:
    """Return how many values a percentile's interval needs: ten must lie beyond it.

    200 for p95, 1 000 for p99. With fewer the bootstrap sees the same few values again and again.
    """
    return ceil(10 / min(share, 1 - share) - 1e-9)


def ratio_of_percentiles(
    candidate: ArrayLike,
    baseline: ArrayLike,
    *,
    share: float = 0.95,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    block: int = 1,
    paired: bool = False,
) -> PercentileRatio:
    """Return the ratio of two nearest-rank percentiles, with a percentile bootstrap interval.

    Values (latencies, say) in the order they were taken, above 0, in any one unit. Efron and
    Tibshirani (1993), chapter 13. Neighbours in time are slow together: with ``block`` above 1
    runs of so many values are resampled as one (circular block bootstrap: Politis and Romano
    1992), or the interval is too narrow. ``paired``: the two sides answered the same questions in
    the same order, and are resampled together; what makes a question slow for both then cancels.

    Raises:
        ValueError: a side has fewer values than ``fewest_for_percentile``, or a value that is not
            a number above 0, or pairs are not of the same number; every problem is named.
    """
    sides = {"candidate": np.asarray(candidate), "baseline": np.asarray(baseline)}
    if not 0 < share < 1:
        raise ValueError(f"a percentile's share must lie between 0 and 1, not at {share}")
    least = fewest_for_percentile(share)
    problems = [
        f"the {name} has {values.size} values, {least} are needed"
        for name, values in sides.items()
        if values.size < least
    ]
    problems += [
        f"the {name} has values that are not above 0"
        for name, values in sides.items()
        if values.size and not (values > 0).all()
    ]
    if paired and sides["candidate"].size != sides["baseline"].size:
        problems += ["pairs need as many values on one side as on the other"]
    if problems:
        raise ValueError("; ".join(problems))
    generator = np.random.default_rng(seed)
    above, below = finite(candidate), finite(baseline)
    if paired:  # the same draws for both
        drawn = _in_blocks(above, share, resamples, block, generator) / _in_blocks(
            below, share, resamples, block, np.random.default_rng(seed)
        )
    else:
        drawn = _resampled(above, share, resamples, block, generator) / _resampled(
            below, share, resamples, block, generator
        )
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    mine = float(np.sort(above)[_rank(share, len(above)) - 1])
    other = float(np.sort(below)[_rank(share, len(below)) - 1])
    return PercentileRatio(
        share=share,
        candidate=mine,
        baseline=other,
        ratio=mine / other,
        ci_low=min(float(low), mine / other),
        ci_high=max(float(high), mine / other),
        confidence=confidence,
    )


def _resampled(
    values: Floats, share: float, resamples: int, block: int, generator: np.random.Generator
) -> Floats:
    n, rank = len(values), _rank(share, len(values))
    if block <= 1:
        # the rank-th of n resampled values stands at ceil(n·U), U being the rank-th of n uniforms
        place = np.ceil(n * generator.beta(rank, n - rank + 1, resamples)).astype(int)
        placed: Floats = np.sort(values)[np.clip(place, 1, n) - 1]
        return placed
    return _in_blocks(values, share, resamples, block, generator)


def _in_blocks(
    values: Floats, share: float, resamples: int, block: int, generator: np.random.Generator
) -> Floats:
    n, rank = len(values), _rank(share, len(values))
    found = np.empty(resamples)
    for number in range(resamples):
        starts = generator.integers(0, n, ceil(n / block))
        taken = (starts[:, None] + np.arange(block)).ravel()[:n] % n
        found[number] = np.partition(values[taken], rank - 1)[rank - 1]
    return found


def _rank(share: float, n: int) -> int:
    """Return the nearest rank, from 1: the definition of ``metrics.percentile``."""
    return min(n, max(1, ceil(share * n)))
