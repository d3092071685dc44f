"""Worlds to judge in: paired differences of nDCG@10 as real collections show them, and latencies.

Differences are bounded, mostly zero, and skewed. All come as arrays of (runs, queries).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
World = Callable[[np.random.Generator, int, int], Floats]

SMALL_GAIN = 0.33  # of the queries gain up to 0.2, on average 0.1
_LOSS = (0.2, 0.75)  # what a query loses whose one good answer is gone: on average 0.475


def equally_good(moved: float) -> World:
    """Return a world of two interchangeable systems: this share of queries is answered anew."""

    def world(generator: np.random.Generator, runs: int, queries: int) -> Floats:
        before, after = (_ndcg(generator.geometric(0.35, (runs, queries))) for _ in range(2))
        return np.where(generator.random((runs, queries)) < moved, after - before, 0.0)

    return world


def rare_losses(mean: float = 0.0) -> World:
    """Return a world of many small gains and rare great losses, with this true mean.

    At a mean of 0 that is 33 % of queries with a gain and 7 % with a loss.
    """
    share = (SMALL_GAIN * 0.1 - mean) / (sum(_LOSS) / 2)

    def world(generator: np.random.Generator, runs: int, queries: int) -> Floats:
        kind = generator.random((runs, queries))
        gains = generator.random((runs, queries)) * 0.2
        losses = generator.uniform(*_LOSS, (runs, queries))
        lost = np.where(kind < SMALL_GAIN + share, -losses, 0.0)
        return np.where(kind < SMALL_GAIN, gains, lost)

    return world


def better(generator: np.random.Generator, runs: int, queries: int) -> Floats:
    """A candidate that finds the answer of some queries higher up: +0.03 or so on average."""
    before = _ndcg(generator.geometric(0.35, (runs, queries)))
    after = _ndcg(generator.geometric(0.41, (runs, queries)))
    return np.where(generator.random((runs, queries)) < 0.5, after - before, 0.0)


def overlaps(generator: np.random.Generator, runs: int, queries: int) -> Floats:
    """Overlap@10 of two answers: nine of ten documents on average."""
    return generator.binomial(10, generator.beta(9, 1, (runs, queries))) / 10


def latencies(generator: np.random.Generator, size: int) -> Floats:
    """Milliseconds with a long tail."""
    return generator.lognormal(2.5, 0.6, size)


def moments(world: World, generator: np.random.Generator) -> tuple[float, float]:
    """Return mean and standard deviation of a world, from a million draws."""
    drawn = world(generator, 1, 1_000_000)
    return float(drawn.mean()), float(drawn.std())


def _ndcg(ranks: NDArray[np.int64]) -> Floats:
    """Return nDCG@10 of queries with one relevant document at these ranks."""
    return np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0.0)
