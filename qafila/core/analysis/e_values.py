"""The arithmetic of e-values: log likelihood ratios on a grid, added up look by look.

Given one bad answer, it came from the canary with probability θ(r) = r·w / (r·w + 1 − w), where w
is the canary's share of the requests at that moment and r how many times as often it gives bad
answers as the baseline. Whatever the bad rate itself is cancels out. The likelihood ratio of r
against r₀, averaged over a grid of r, is an e-value: it stays under 1/α for ever with probability
at least 1 − α when r₀ is true, however often it is read and however the weights move
(after Lindon & Malek 2022, arXiv 2011.03567; Ville's inequality). With w counted in the same look
the count of canary events is hypergeometric, which is less spread than the binomial assumed, so
the test errs to the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Logs = tuple[float, ...]


def theta(r: float, w: float) -> float:
    """Return the chance that one bad answer came from the canary."""
    return r * w / (r * w + 1 - w)


def add(logs: Logs, hits: int, misses: int, grid: Sequence[float], null: float) -> Logs:
    """Add hits·log(θ/θ₀) + misses·log((1−θ)/(1−θ₀)) at each point of the grid."""
    if not hits and not misses:
        return logs
    theta = np.asarray(grid)
    gain = hits * np.log(theta / null) + misses * np.log((1 - theta) / (1 - null))
    return tuple((np.asarray(logs) + gain).tolist())


def mean(logs: Logs) -> float:
    """Return the mean of exp(logs), at most 1e300 so that it can be stored."""
    values = np.asarray(logs)
    top = float(values.max())
    return math.exp(min(690.0, top + math.log(float(np.exp(values - top).mean()))))
