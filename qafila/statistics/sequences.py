"""Bounds of a mean that hold at every look, for values that lie between known bounds.

The hedged betting capital of Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", JRSS B 2024, section 4, with predictable plug-in bets. Against "the mean is
at most m" one bets on values above m; fair bets multiply a capital past 1/α with probability at
most α, ever (Ville's inequality). What bankrupts no such claim is the bound. It assumes only that
each value lies within the bounds and has the same mean given those before it: nothing about shape,
and no least number, so it also covers losses so rare that none was seen yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log

import numpy as np
from numpy.typing import ArrayLike

from qafila.statistics.intervals import Floats, finite

UNIT = (0.0, 1.0)
_MOST = 0.75  # of the capital is staked at most: one bad value must not lose all of it
_STEPS = 1000  # times at once: memory stays at steps × resolution numbers


def confidence_sequence(
    values: ArrayLike,
    *,
    bounds: tuple[float, float] = UNIT,
    alpha: float = 0.05,
    planned: int | None = None,
    resolution: int = 1000,
) -> tuple[Floats, Floats]:
    """Return the lower and upper bounds of the mean after each value, in the unit of the values.

    All of them hold the mean at once with probability 1 − alpha, so one may look after every value
    and stop when one likes. They only ever come closer. ``planned`` tunes the bets for one number
    of values, which gives the narrowest interval there; it stays valid before and after. Ends lie
    on a grid of ``resolution`` steps, rounded outwards. Should chance, or a mean that moves, leave
    no value possible, the last interval that held one is kept.

    Raises:
        ValueError: a value is no number or out of bounds, or alpha is not in (0, 1).
    """
    scaled = _scaled(values, bounds, alpha)
    low = _lower(scaled, alpha / 2, planned, resolution)
    high = 1.0 - _lower(1.0 - scaled, alpha / 2, planned, resolution)
    emptied = np.flatnonzero(low >= high)
    if emptied.size:
        first = int(emptied[0])
        before = (low[first - 1], high[first - 1]) if first else (0.0, 1.0)
        low[first:], high[first:] = before
    span = bounds[1] - bounds[0]
    return bounds[0] + low * span, bounds[0] + high * span


def lower_bound(
    values: ArrayLike,
    *,
    bounds: tuple[float, float] = UNIT,
    alpha: float = 0.05,
    planned: int | None = None,
) -> float:
    """Return what the mean exceeds with probability 1 − alpha, whenever one looks.

    One-sided: all of alpha is spent on it. Negate the values and the bounds for an upper bound.

    Raises:
        ValueError: a value is no number or out of bounds, or alpha is not in (0, 1).
    """
    row = _scaled(values, bounds, alpha)[None, :]
    rejected, open_ = 0.0, 1.0
    for _ in range(50):  # the capital falls as the claimed mean rises
        claim = (rejected + open_) / 2
        if _log_capital(row, np.array([claim]), alpha, planned).max() >= log(1 / alpha):
            rejected = claim
        else:
            open_ = claim
    return bounds[0] + rejected * (bounds[1] - bounds[0])


def betting_p_value(
    values: ArrayLike,
    at_most: float,
    *,
    bounds: tuple[float, float] = UNIT,
    alpha: float = 0.05,
    planned: int | None = None,
) -> float:
    """Return an anytime-valid p-value of "the mean is at most ``at_most``".

    It is one over the most the capital ever reached. ``alpha`` only sizes the bets: the level
    that they are best at. It agrees with ``lower_bound``: p ≤ alpha when the bound is above.

    Raises:
        ValueError: a value is no number or out of bounds, or alpha is not in (0, 1).
    """
    row = _scaled(values, bounds, alpha)[None, :]
    claim = (at_most - bounds[0]) / (bounds[1] - bounds[0])
    if claim >= 1:
        return 1.0
    if claim < 0:
        raise ValueError(f"{at_most} is below the least possible value, {bounds[0]}")
    most = float(_log_capital(row, np.array([claim]), alpha, planned).max())
    return min(1.0, exp(-most))


def log_capitals(rows: Floats, claim: float, *, alpha: float, planned: int | None = None) -> Floats:
    """Return, for each row of (m, n) values in 0…1, the log capital after each value.

    The bets are against "the mean is at most ``claim``", sized for ``alpha``.
    """
    return _log_capital(rows, np.full(1, claim), alpha, planned)


def _lower(scaled: Floats, alpha: float, planned: int | None, resolution: int) -> Floats:
    """Return, after each value, the greatest point of the grid that is rejected as the mean."""
    grid = np.linspace(0.0, 1.0, resolution + 1)
    bets = _bets(scaled[None, :], alpha, planned)[0]
    capital, most = np.zeros((resolution + 1, 1)), np.full((resolution + 1, 1), -np.inf)
    low = np.empty(len(scaled))
    for here in _slices(len(scaled)):
        gains = _gains(scaled[None, here], bets[None, here], grid[:, None])
        path = capital + np.cumsum(gains, axis=1)
        highest = np.maximum(most, np.maximum.accumulate(path, axis=1))
        # rejected points are the first ones, because the capital falls along the grid
        count = (highest >= log(1 / alpha)).sum(axis=0)
        low[here] = np.where(count > 0, grid[np.maximum(count - 1, 0)], 0.0)
        capital, most = path[:, -1:], highest[:, -1:]
    return low


def _log_capital(rows: Floats, claims: Floats, alpha: float, planned: int | None) -> Floats:
    gains = _gains(rows, _bets(rows, alpha, planned), claims[:, None])
    path: Floats = np.cumsum(gains, axis=1)
    return path


def _gains(values: Floats, bets: Floats, claims: Floats) -> Floats:
    with np.errstate(divide="ignore", over="ignore"):
        stakes = np.minimum(bets, _MOST / claims)
    gains: Floats = np.log1p(stakes * (values - claims))
    return gains


def _bets(rows: Floats, alpha: float, planned: int | None) -> Floats:
    """Return the bets before each value, from the values before it alone."""
    n = rows.shape[1]
    times = np.arange(1, n + 1)
    means = (0.5 + np.cumsum(rows, axis=1)) / (times + 1)
    spread = (0.25 + np.cumsum((rows - means) ** 2, axis=1)) / (times + 1)
    known = np.concatenate([np.full((len(rows), 1), 0.25), spread[:, :-1]], axis=1)
    horizon = times * np.log(times + 1) if planned is None else np.full(n, float(planned))
    bets: Floats = np.sqrt(2 * log(1 / alpha) / (known * horizon))
    return bets


def _scaled(values: ArrayLike, bounds: tuple[float, float], alpha: float) -> Floats:
    least, most = bounds
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not at {alpha}")
    if not least < most:
        raise ValueError(f"the bounds {least} and {most} leave no room")
    found = finite(values)
    outside = int(((found < least) | (found > most)).sum())
    if outside:
        raise ValueError(f"{outside} of {found.size} values lie outside {least} to {most}")
    return (found - least) / (most - least)


def _slices(n: int) -> Iterator[slice]:
    for start in range(0, n, _STEPS):
        yield slice(start, min(start + _STEPS, n))
