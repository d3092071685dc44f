"""Compare two shares taken on the same items: who got right what the other got wrong."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from scipy import optimize, special


@dataclass(frozen=True)
class PairedShares:
    """Share of the candidate minus that of the baseline over the same items.

    ``gained`` items only the candidate has, ``lost`` only the baseline. ``p_value`` is McNemar's
    exact one, two-sided.
    """

    pairs: int
    gained: int
    lost: int
    delta: float
    ci_low: float
    ci_high: float
    p_value: float


def compare_shares(gained: int, lost: int, pairs: int, *, confidence: float = 0.95) -> PairedShares:
    """Compare two paired shares from their disagreements.

    The interval is Tango's score interval (Statistics in Medicine 1998): without any disagreement
    it reaches to ±z²/(n + z²), for n items that agree do not prove that all do.

    Raises:
        ValueError: there is no pair, more disagreements than pairs, or no confidence in (0, 1).
    """
    if gained < 0 or lost < 0 or pairs < max(1, gained + lost) or not 0 < confidence < 1:
        raise ValueError("disagreements must lie between 0 and the pairs, of which there is one")
    delta = (gained - lost) / pairs
    z = float(special.ndtri(0.5 + confidence / 2))

    def distance(at: float) -> float:
        return _score(gained, lost, pairs, at)

    low = _root(lambda at: distance(at) - z, -1.0, delta)
    high = _root(lambda at: distance(at) + z, delta, 1.0)
    return PairedShares(pairs, gained, lost, delta, low, high, mcnemar(gained, lost))


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value that gains and losses are equally likely.

    The sign test on the items that differ (McNemar, Psychometrika 1947; Liddell, Journal of
    Epidemiology and Community Health 1983): twice the smaller binomial tail, at most 1.
    """
    moved, fewer = gained + lost, min(gained, lost)
    if moved == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(fewer, moved, 0.5)))


def _score(gained: int, lost: int, n: int, at: float) -> float:
    """Return how many standard errors what was seen is above a true difference of ``at``."""
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * at
    c = -lost * at * (1 - at)
    likely_lost = (sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * likely_lost + at * (1 - at))
    distance = gained - lost - n * at
    if variance <= 1e-12 * n:
        return 0.0 if abs(distance) < 1e-9 * n else (1e9 if distance > 0 else -1e9)
    return distance / sqrt(variance)


def _root(of: object, low: float, high: float) -> float:
    """Return where a falling function crosses zero, or the end where it does not."""
    at_low, at_high = of(low), of(high)  # type: ignore[operator]
    if at_low <= 0:
        return low
    if at_high >= 0:
        return high
    return float(optimize.brentq(of, low, high, xtol=1e-10))
