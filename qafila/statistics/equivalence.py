"""Show that a candidate is no worse than a margin allows, or that nothing moved beyond it.

Absence of a significant difference is no proof of sameness; an interval inside the margin is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from scipy import special

from qafila.statistics.intervals import Floats, mean_interval
from qafila.statistics.paired import differences
from qafila.statistics.sequences import lower_bound


@dataclass(frozen=True)
class MarginTest:
    """What was shown about the mean of candidate minus baseline, in the unit of the values.

    ``shown``: the bound, or both, lie inside the margin. ``ci_high`` is None where only a lower
    bound was asked for. ``smallest_margin`` is what this many pairs show with 80 % power when the
    two are truly equal; of the bounds by betting it is a little too small.
    """

    pairs: int
    delta: float
    margin: float
    shown: bool
    ci_low: float
    ci_high: float | None
    smallest_margin: float


def non_inferiority(
    candidate: Sequence[float],
    baseline: Sequence[float],
    *,
    margin: float,
    seed: int,
    alpha: float = 0.025,
    bounds: tuple[float, float] | None = None,
) -> MarginTest:
    """Test that candidate minus baseline is above −margin (higher is better).

    Without ``bounds`` the lower end of ``mean_interval`` at 1 − 2·alpha decides: near alpha from
    100 pairs on. With the bounds that a difference cannot leave, (−1, 1) for nDCG, the lower bound
    by betting does: false at most alpha at any number of pairs and however skewed. In simulation
    that takes 1.5 to 2 times as many pairs where hundreds are needed, and within (−1, 1) at least
    5 / margin pairs, even if none of them moved. Rothmann, Wiens and Chan, Design and Analysis of
    Non-Inferiority Trials (2011).

    Raises:
        ValueError: unpaired values, a value that is no number or out of bounds, a margin below 0.
    """
    difference = differences(candidate, baseline)
    _check(margin, alpha)
    if bounds is None:
        low, _ = mean_interval(difference, seed=seed, confidence=1 - 2 * alpha)
    else:
        low = lower_bound(difference, bounds=bounds, alpha=alpha, planned=len(difference))
    return MarginTest(
        pairs=len(difference),
        delta=float(difference.mean()),
        margin=margin,
        shown=low > -margin,
        ci_low=low,
        ci_high=None,
        smallest_margin=_smallest_margin(difference, alpha, 0.8),
    )


def equivalence(
    candidate: Sequence[float],
    baseline: Sequence[float],
    *,
    margin: float,
    seed: int,
    alpha: float = 0.05,
) -> MarginTest:
    """Test that candidate minus baseline lies within ±margin: two one-sided tests at alpha.

    Both reject exactly when the interval at 1 − 2·alpha lies inside the margin (Schuirmann, Journal
    of Pharmacokinetics and Biopharmaceutics 1987).

    Raises:
        ValueError: unpaired values, a value that is no number, a margin below 0.
    """
    difference = differences(candidate, baseline)
    _check(margin, alpha)
    low, high = mean_interval(difference, seed=seed, confidence=1 - 2 * alpha)
    return MarginTest(
        pairs=len(difference),
        delta=float(difference.mean()),
        margin=margin,
        shown=-margin < low and high < margin,
        ci_low=low,
        ci_high=high,
        smallest_margin=_smallest_margin(difference, alpha, 0.9),  # half of β on each side
    )


def _smallest_margin(difference: Floats, alpha: float, power_a_side: float) -> float:
    spread = float(difference.std(ddof=1)) / sqrt(len(difference))
    return float(special.ndtri(1 - alpha) + special.ndtri(power_a_side)) * spread


def _check(margin: float, alpha: float) -> None:
    problems = []
    if not margin >= 0:
        problems.append(f"the margin must be at least 0, not {margin}")
    if not 0 < alpha < 0.5:
        problems.append(f"alpha must lie between 0 and 0.5, not at {alpha}")
    if problems:
        raise ValueError("; ".join(problems))
