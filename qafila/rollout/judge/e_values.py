"""The arithmetic of e-values: log likelihoods on a grid of odds, added up look by look.

Given one bad answer, it came from the canary with probability θ(r) = r·w / (r·w + 1 − w), where w
is the share of bad answers that the canary's users would have seen without it, and r how many
times as often it gives bad answers as the baseline. The bad rate itself cancels out. The likelihood
ratio of r against r₀, averaged over some r, is an e-value: it stays under 1/α for ever with
probability at least 1 − α when r₀ is true, however often it is read and however the weights move
(after Lindon & Malek 2022, arXiv 2011.03567; Ville's inequality).

w is known only up to a factor where a few users make most of the traffic. So r₀ is not a point but
a bell curve of log odds around 0 with the ``spread`` that is left, and so is each r: the ratio of
two averages, an e-value for a user set drawn from that curve. Without spread it is the plain test.

All functions take arrays; the last axis is the grid where there is one. A benchmark runs ten
thousand rollouts at once through the very same lines that judge one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Logs = tuple[float, ...]

GRID: Array = np.arange(-32, 41, dtype=np.float64) * 0.1  # log odds: 0.04 … 55 times as often
NOTHING: Logs = (0.0,) * len(GRID)
MOST_SPREAD = 1.5  # beyond that nothing relative can be said anyway
MOST_LOG = 690.0  # exp of it can still be stored
_NO_SPREAD = 1e-3  # far less than a step of the grid: a point


def odds(share: ArrayLike, times: ArrayLike) -> Array:
    """Return θ: the share whose odds are ``times`` those of ``share``."""
    w, r = np.asarray(share, float), np.asarray(times, float)
    return np.asarray(r * w / (r * w + 1 - w), float)


def gains(hits: ArrayLike, misses: ArrayLike, share: ArrayLike) -> Array:
    """Return hits·log(θ/w) + misses·log((1−θ)/(1−w)), θ having exp(GRID) times the odds of w.

    ``hits`` are bad answers of the canary and ``misses`` of the baseline; ``share`` is w in (0, 1).
    Shapes (…) give (…, grid).
    """
    h, m, w = (np.asarray(a, float)[..., None] for a in (hits, misses, share))
    return np.asarray(h * GRID - (h + m) * np.log(np.exp(GRID) * w + 1 - w), float)


def log_e(logs: ArrayLike, spread: ArrayLike, points: Sequence[float]) -> Array:
    """Return log E of "the log odds lie around one of ``points``" against "they lie around 0".

    ``logs`` (…, grid) are log likelihoods, ``spread`` (…) the standard deviation of both.
    """
    found = np.asarray(logs, float)
    bell = np.clip(np.asarray(spread, float), _NO_SPREAD, MOST_SPREAD)[..., None]
    if bell.size and np.all(bell == bell.flat[0]):
        bell = bell.reshape(-1)[:1]  # the same for all: drawn once
    against = _bell(bell, 0.0)
    on_trial = np.mean([_bell(bell, point) for point in points], axis=0)
    top = found.max(axis=-1, keepdims=True)
    scaled = np.exp(found - top)
    with np.errstate(divide="ignore"):
        up = np.log((scaled * on_trial).sum(axis=-1))
        down = np.log((scaled * against).sum(axis=-1))
    # Where both have left the range of floats the evidence is beyond doubt; the sign is what counts
    lost = ~np.isfinite(up) | ~np.isfinite(down)
    if np.any(lost):
        with np.errstate(divide="ignore"):
            up = np.where(lost, _log_sum(found + np.log(on_trial)), up + top[..., 0])
            down = np.where(lost, _log_sum(found + np.log(against)), down + top[..., 0])
    return np.asarray(np.clip(up - down, -MOST_LOG, MOST_LOG), float)


def rate_gains(hits: ArrayLike, misses: ArrayLike, rates: ArrayLike, null: ArrayLike) -> Array:
    """Return hits·log(rate/null) + misses·log((1−rate)/(1−null)) for each of ``rates`` (…, n)."""
    h, m, p = (np.asarray(a, float)[..., None] for a in (hits, misses, null))
    f = np.asarray(rates, float)
    return np.asarray(h * np.log(f / p) + m * np.log((1 - f) / (1 - p)), float)


def log_mean(logs: ArrayLike) -> Array:
    """Return the log of the mean of exp(logs) over the last axis, at most ``MOST_LOG``."""
    found = np.asarray(logs, float)
    return np.asarray(np.minimum(_log_sum(found) - np.log(found.shape[-1]), MOST_LOG), float)


def added(logs: Logs, gain: Array) -> Logs:
    """Return stored logs with one look added."""
    return tuple((np.asarray(logs) + gain).tolist())


def _bell(bell: Array, centre: float) -> Array:
    heights = np.exp(-0.5 * ((GRID - centre) / bell) ** 2)
    heights = np.where(heights.sum(axis=-1, keepdims=True) > 0, heights, _nearest(centre))
    return np.asarray(heights / heights.sum(axis=-1, keepdims=True), float)


def _nearest(centre: float) -> Array:
    return np.asarray(np.arange(len(GRID)) == int(np.abs(GRID - centre).argmin()), float)


def _log_sum(values: Any) -> Array:
    top = np.max(values, axis=-1, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(values - safe).sum(axis=-1))
    return np.asarray(total + safe[..., 0], float)
