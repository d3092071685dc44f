"""How much to sample, before anything is measured."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log1p, sqrt

import numpy as np
from scipy import special

from qafila.statistics.intervals import Floats

_MOST_PAIRS = 10**9
_FARTHER_END = 1.03  # what taking the farther of two ends costs in pairs; simulated: 1 to 2 %


def rows_to_see(share: float, probability: float, population: int | None = None) -> int:
    """Return how many rows to sample at random to see a fault that ``share`` of them has.

    At least one is seen with ``probability``. Of an endless population n = ln(1 − c) / ln(1 − p),
    rounded up; of ``population`` rows, sampled without replacement, the hypergeometric answer for
    share · population faulty rows, rounded up, at least one (Cochran, Sampling Techniques, 1977).
    0.1 % at 95 % takes 2 995 rows.

    Raises:
        ValueError: share is not in (0, 1], probability not in [0, 1), or the population is empty.
    """
    problems = []
    if not 0 < share <= 1:
        problems.append(f"the share must lie above 0 and at most at 1, not at {share}")
    if not 0 <= probability < 1:
        problems.append(f"the probability must be at least 0 and below 1, not {probability}")
    if population is not None and population < 1:
        problems.append("the population must have a row")
    if problems:
        raise ValueError("; ".join(problems))
    if population is None:
        if share == 1:
            return 1
        return max(1, ceil(log1p(-probability) / log1p(-share) - 1e-9))
    faulty = min(population, max(1, ceil(share * population - 1e-9)))
    most = (1 - probability) * (1 + 1e-9)  # rounding must not cost a row
    return _least(lambda rows: _unseen(rows, faulty, population) <= most, population)


def share_seen(rows: int, probability: float) -> float:
    """Return the smallest share of faulty rows that so many sampled rows show with ``probability``.

    1 − (1 − c)^(1/n): what a clean sample rules out.

    Raises:
        ValueError: there is no row, or probability is not in (0, 1).
    """
    if rows < 1 or not 0 < probability < 1:
        raise ValueError("there must be a row, and a probability between 0 and 1")
    return -float(np.expm1(log1p(-probability) / rows))


def power_of_pairs(
    pairs: int, effect: float, sd: float, *, alpha: float = 0.05, sides: int = 2
) -> float:
    """Return the chance that so many pairs show a mean difference of ``effect``.

    The paired t-test's power by the noncentral t distribution (Cohen 1988, chapter 2), which the
    randomisation test shares for large numbers. ``effect`` and ``sd``, the standard deviation of
    the differences, are in one unit. Two-sided by default; ``sides=1`` for non-inferiority, where
    the effect is the distance from the margin.

    Raises:
        ValueError: fewer than two pairs, no effect, no spread, or alpha not in (0, 1).
    """
    _check_effect(effect, sd, alpha)
    if pairs < 2 or sides not in (1, 2):
        raise ValueError("there must be two or more pairs, and one or two sides")
    freedom, shift = pairs - 1, abs(effect) / sd * sqrt(pairs)
    critical = float(special.stdtrit(freedom, 1 - alpha / sides))
    beyond = 1 - float(special.nctdtr(freedom, shift, critical))
    wrong_side = float(special.nctdtr(freedom, shift, -critical)) if sides == 2 else 0.0
    return min(1.0, beyond + wrong_side)


def pairs_needed(
    effect: float, sd: float, *, power: float = 0.8, alpha: float = 0.05, sides: int = 2
) -> int:
    """Return how many pairs show a mean difference of ``effect`` with ``power``; at least 2.

    Raises:
        ValueError: no effect, no spread, alpha or power not in (0, 1), or more than 10⁹ pairs.
    """
    _check_effect(effect, sd, alpha)
    _check_power(power)
    z = float(special.ndtri(1 - alpha / sides) + special.ndtri(power))
    if (z * sd / effect) ** 2 > _MOST_PAIRS:
        raise ValueError(f"an effect of {effect} at a spread of {sd} takes more than 10⁹ pairs")
    start = max(2, int((max(z, 0.0) * sd / effect) ** 2) - 2)
    # t needs a few more than the normal formula says, never fewer
    while power_of_pairs(start, effect, sd, alpha=alpha, sides=sides) < power:
        start += 1
    return start


def pairs_for_margin(margin: float, sd: float, *, power: float = 0.8, alpha: float = 0.025) -> int:
    """Return how many pairs show "no worse than the margin" with ``power`` when both are equal.

    ``pairs_needed`` one-sided, and 3 % more: ``non_inferiority`` judges by the farther of two ends.
    ``margin`` and ``sd``, the standard deviation of the differences, are in one unit.

    Raises:
        ValueError: no margin, no spread, alpha or power not in (0, 1), or more than 10⁹ pairs.
    """
    return ceil(_FARTHER_END * pairs_needed(margin, sd, power=power, alpha=alpha, sides=1))


def trials_needed(share: float, against: float, *, power: float = 0.8, alpha: float = 0.025) -> int:
    """Return how many trials show that a share is above ``against`` when it truly is ``share``.

    The one-sided exact binomial test, which is the lower end of ``clopper_pearson`` at 1 − 2·alpha
    (swap successes and failures for "below"). Power is not smooth in the number of trials: from
    this number on, through twice as many, it never falls below ``power`` again.

    Raises:
        ValueError: not 0 < against < share < 1, or alpha or power not in (0, 1).
    """
    _check_power(power)
    if not 0 < against < share < 1 or not 0 < alpha < 1:
        raise ValueError("against must lie below share, both between 0 and 1, and so must alpha")
    spread = special.ndtri(1 - alpha) * sqrt(against * (1 - against)) + special.ndtri(power) * sqrt(
        share * (1 - share)
    )
    guess = max(1.0, (float(spread) / (share - against)) ** 2)
    most = 2 * ceil(guess) + 200
    trials = np.arange(1, most + 1, dtype=np.float64)
    found = _exact_power(trials, share, against, alpha)
    short = np.flatnonzero(found < power)
    return int(short[-1]) + 2 if short.size else 1


def group_size_needed(
    first: float, second: float, *, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Return how many trials each of two independent groups needs to tell two shares apart.

    Two-sided, with the continuity correction that makes it fit the exact test (Fleiss, Levin and
    Paik, Statistical Methods for Rates and Proportions, 2003, chapter 4).

    Raises:
        ValueError: a share is not in (0, 1), they are equal, or alpha or power is not in (0, 1).
    """
    _check_power(power)
    if not (0 < first < 1 and 0 < second < 1 and 0 < alpha < 1) or first == second:
        raise ValueError("the two shares must differ; they and alpha must lie between 0 and 1")
    gap, middle = abs(first - second), (first + second) / 2
    spread = special.ndtri(1 - alpha / 2) * sqrt(2 * middle * (1 - middle)) + special.ndtri(
        power
    ) * sqrt(first * (1 - first) + second * (1 - second))
    plain = (float(spread) / gap) ** 2
    return ceil(plain / 4 * (1 + sqrt(1 + 4 / (plain * gap))) ** 2)


def _exact_power(trials: Floats, share: float, against: float, alpha: float) -> Floats:
    """Return, for each number of trials, the power of the one-sided exact binomial test."""
    low, high = np.zeros(len(trials)), trials + 1  # the least successes that reject, by bisection
    while (high - low).max() > 1:
        middle = np.floor((low + high) / 2)
        rejects = special.betainc(middle, trials - middle + 1, against) <= alpha
        busy = high - low > 1
        high = np.where(busy & rejects, middle, high)
        low = np.where(busy & ~rejects, middle, low)
    power = np.zeros(len(trials))
    able = high <= trials  # of too few trials not even all successes reject
    power[able] = special.betainc(high[able], trials[able] - high[able] + 1, share)
    return power


def _unseen(rows: int, faulty: int, population: int) -> float:
    """Return the chance that a sample without replacement has none of the faulty rows."""
    if rows > population - faulty:
        return 0.0
    few, many = sorted((rows, faulty))
    if few <= 10_000:  # exact product; the gamma function loses digits at great populations
        return float(np.exp(np.log1p(-many / (population - np.arange(few))).sum()))
    g = special.gammaln
    sound = population - faulty
    return float(
        np.exp(g(sound + 1) - g(sound - rows + 1) - g(population + 1) + g(population - rows + 1))
    )


def _least(enough: Callable[[int], bool], most: int) -> int:
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check_effect(effect: float, sd: float, alpha: float) -> None:
    problems = []
    if not abs(effect) > 0:
        problems.append("an effect of 0 cannot be shown")
    if not sd > 0:
        problems.append(f"the standard deviation must be above 0, not {sd}")
    if not 0 < alpha < 1:
        problems.append(f"alpha must lie between 0 and 1, not at {alpha}")
    if problems:
        raise ValueError("; ".join(problems))


def _check_power(power: float) -> None:
    if not 0 < power < 1:
        raise ValueError(f"power must lie between 0 and 1, not at {power}")
