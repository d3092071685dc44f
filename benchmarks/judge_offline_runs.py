"""What ``judge_offline`` simulates: each function says which of so many runs came out as named.

All take the random generator and the number of runs last, and return one truth value a run. Runs of
one call share their resamples, so calls are kept small.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log
from typing import Any

import numpy as np

from benchmarks import machine, simulated
from benchmarks.simulated import Floats, World
from qafila.statistics.intervals import clopper_pearson, mean_intervals
from qafila.statistics.multiplicity import holm, simultaneous_confidence
from qafila.statistics.paired import (
    EXACT_PAIRS,
    compare_paired,
    randomisation_test,
    sign_flip_p_values,
)
from qafila.statistics.sample_sizes import (
    pairs_for_margin,
    pairs_needed,
    rows_to_see,
    trials_needed,
)
from qafila.statistics.samples import permutation_test, ratio_of_percentiles
from qafila.statistics.sequences import log_capitals

LEVEL, SIDE = 0.05, 0.025
CLASSES, LOOKS = 8, 300
_RESAMPLES = 999


def _seed(generator: np.random.Generator) -> int:
    return int(generator.integers(2**31))


def flips(world: World, n: int, generator: np.random.Generator, runs: int) -> Any:
    rows = world(generator, runs, n)
    return sign_flip_p_values(rows, seed=_seed(generator), resamples=_RESAMPLES) <= LEVEL


def enumerated(world: World, n: int, generator: np.random.Generator, runs: int) -> Any:
    rows = world(generator, runs, n)
    if ((rows != 0).sum(axis=1) > EXACT_PAIRS).mean() > 0.01:
        raise machine.NotMeasured("too many pairs moved for all sign flips to be enumerated.")
    return [
        randomisation_test(row, seed=_seed(generator), resamples=_RESAMPLES) <= LEVEL
        for row in rows
    ]


def compared(world: World, n: int, generator: np.random.Generator, runs: int) -> Any:
    rows, base = world(generator, runs, n), [0.0] * n
    return [
        compare_paired(list(row), base, seed=_seed(generator), resamples=199).p_value <= LEVEL
        for row in rows
    ]


def _interval(
    rows: Floats, generator: np.random.Generator, confidence: float = 1 - LEVEL
) -> tuple[Floats, Floats]:
    return mean_intervals(
        rows, seed=_seed(generator), confidence=confidence, resamples=2 * _RESAMPLES
    )


def missed(world: World, n: int, generator: np.random.Generator, runs: int) -> Any:
    low, high = _interval(world(generator, runs, n), generator)
    return (low > 1e-12) | (high < -1e-12)


def no_worse(world: World, n: int, margin: float, generator: np.random.Generator, runs: int) -> Any:
    return _interval(world(generator, runs, n), generator)[0] > -margin


def equivalent(
    world: World, n: int, margin: float, generator: np.random.Generator, runs: int
) -> Any:
    low, high = _interval(world(generator, runs, n), generator, 1 - 2 * LEVEL)
    return (low > -margin) & (high < margin)


def no_worse_by_betting(
    world: World, n: int, margin: float, generator: np.random.Generator, runs: int
) -> Any:
    rows, claim = (world(generator, runs, n) + 1) / 2, (1 - margin) / 2
    return (log_capitals(rows, claim, alpha=SIDE, planned=n) >= log(1 / SIDE)).any(axis=1)


def share_missed(
    interval: Callable[..., tuple[float, float]],
    trials: int,
    share: float | None,
    generator: np.random.Generator,
    runs: int,
) -> Any:
    true = generator.random(runs) if share is None else np.full(runs, share)
    ends = np.array([interval(k, trials, confidence=1 - LEVEL) for k in range(trials + 1)])
    low, high = ends[generator.binomial(trials, true)].T
    return (low > true) | (high < true)


def ever_missed(
    world: World,
    mean: float,
    bounds: tuple[float, float],
    generator: np.random.Generator,
    runs: int,
) -> Any:
    span = bounds[1] - bounds[0]
    rows, claim = (world(generator, runs, LOOKS) - bounds[0]) / span, (mean - bounds[0]) / span
    most = log(2 / LEVEL)  # half the level a side, as in confidence_sequence
    below = log_capitals(rows, claim, alpha=LEVEL / 2) >= most
    above = log_capitals(1 - rows, 1 - claim, alpha=LEVEL / 2) >= most
    return (below | above).any(axis=1)


def peeked(world: World, mean: float, generator: np.random.Generator, runs: int) -> Any:
    from scipy.special import stdtrit

    rows, times = world(generator, runs, LOOKS), np.arange(1, LOOKS + 1)
    found = np.cumsum(rows, axis=1) / times
    spread = np.maximum(np.cumsum(rows**2, axis=1) / times - found**2, 0.0)
    late = times >= 10
    half = stdtrit(times[late] - 1, 1 - LEVEL / 2) * np.sqrt(spread[:, late] / (times[late] - 1))
    return (np.abs(found[:, late] - mean) > half).any(axis=1)


def any_called(world: World, generator: np.random.Generator, runs: int) -> Any:
    each = [
        sign_flip_p_values(
            world(generator, runs, 30 + 10 * c), seed=_seed(generator), resamples=_RESAMPLES
        )
        for c in range(CLASSES)
    ]
    return [min(holm([float(p) for p in family])) <= LEVEL for family in np.transpose(each)]


def any_missed(world: World, generator: np.random.Generator, runs: int) -> Any:
    confidence, missed = simultaneous_confidence(1 - LEVEL, CLASSES), np.zeros(runs, bool)
    for _ in range(CLASSES):
        low, high = _interval(world(generator, runs, 100), generator, confidence)
        missed |= (low > 0) | (high < 0)
    return missed


def permuted(generator: np.random.Generator, runs: int) -> Any:
    draw = partial(simulated.latencies, generator)
    return [
        permutation_test(draw(30), draw(40), seed=_seed(generator), resamples=199) <= LEVEL
        for _ in range(runs)
    ]


def ratio_missed(share: float, n: int, generator: np.random.Generator, runs: int) -> Any:
    draw, missed = partial(simulated.latencies, generator), []
    for _ in range(runs):
        found = ratio_of_percentiles(
            draw(n), draw(n), share=share, seed=_seed(generator), resamples=_RESAMPLES
        )
        missed.append(not found.ci_low <= 1 <= found.ci_high)
    return missed


def seen(world: World, generator: np.random.Generator, runs: int) -> Any:
    effect, spread = simulated.moments(world, np.random.default_rng(0))
    return flips(world, pairs_needed(effect, spread), generator, runs)


def shown_no_worse(world: World, margin: float, generator: np.random.Generator, runs: int) -> Any:
    _, spread = simulated.moments(world, np.random.default_rng(0))
    pairs = pairs_for_margin(margin, spread, alpha=SIDE)
    return no_worse(world, pairs, margin, generator, runs)


def fault_seen(population: int | None, generator: np.random.Generator, runs: int) -> Any:
    rows = rows_to_see(0.001, 0.95, population)
    if population is None:
        return generator.binomial(rows, 0.001, runs) > 0
    faulty = population // 1000
    return generator.hypergeometric(faulty, population - faulty, rows, runs) > 0


def share_shown(generator: np.random.Generator, runs: int) -> Any:
    trials = trials_needed(0.95, 0.9)
    low = np.array([clopper_pearson(k, trials)[0] for k in range(trials + 1)])
    return low[generator.binomial(trials, 0.95, runs)] > 0.9
