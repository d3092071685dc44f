"""Rung 7 decides: how much of what users see is different. Change, not quality.

Overlap@10 of both answers, with a confidence sequence, so that one may look while queries come in.
It decides only where the workload sets an objective: nobody knows from it whether different is
better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from qafila.statistics.ranking_metrics import overlap_at_k, rank_biased_overlap
from qafila.statistics.sequences import confidence_sequence
from qafila.workload.verdict import Judgement, Verdict

K = 10
ALPHA = 0.05
_POINTS = 60  # of the picture


@dataclass(frozen=True)
class Overlap:
    """Both overlaps of one query's two answers, each from 0 (disjoint) to 1 (the same)."""

    place: int  # of the query in the list
    overlap_at_10: float
    rank_biased: float


@dataclass(frozen=True)
class JudgedChange:
    """The verdict and the bounds after each query, in the order given."""

    judgement: Judgement
    mean: float
    rank_biased: float
    low: float
    high: float
    series: Sequence[dict[str, object]]


def overlap_of(place: int, old: Sequence[str] | None, new: Sequence[str] | None) -> Overlap | None:
    """Return how alike two answers are; None when one is an error or both are empty."""
    if old is None or new is None:
        return None
    overlap, biased = overlap_at_k(old, new, K), rank_biased_overlap(old[:K], new[:K])
    if overlap is None or biased is None:
        return None
    return Overlap(place, overlap, biased)


def judge_change(found: Sequence[Overlap], at_least: float | None) -> JudgedChange:
    """Judge the mean overlap@10 of at least one query; without an objective it always passes.

    With one: PASS when the lower bound reaches it, FAIL when the upper one stays below, else
    INCONCLUSIVE with a guess at how many queries would decide.

    Raises:
        ValueError: there is no query.
    """
    if not found:
        raise ValueError("there must be a query that both answered")
    values = [o.overlap_at_10 for o in found]
    lows, highs = confidence_sequence(values, alpha=ALPHA, planned=len(values))
    mean = sum(values) / len(values)
    # the bounds only ever come closer, so a mean that moves may leave them; they must not hide it
    low, high = min(mean, float(lows[-1])), max(mean, float(highs[-1]))
    biased = sum(o.rank_biased for o in found) / len(found)
    said = (
        f"overlap@10 of the first pages is {mean:.3f} ({low:.3f}…{high:.3f} at 95 %, however often "
        f"one looks) on {len(found):,} queries, rank-biased overlap {biased:.3f}"
    )
    numbers = {
        "overlap_at_10": mean,
        "ci_low": low,
        "ci_high": high,
        "rank_biased_overlap": biased,
        "queries": len(found),
        "at_least": at_least,
    }
    if at_least is None:
        judgement = Judgement(Verdict.PASS, f"{said}. Change, not quality.", numbers)
    elif low >= at_least:
        judgement = Judgement(Verdict.PASS, f"{said}, at or above {at_least:g}.", numbers)
    elif high < at_least:
        judgement = Judgement(
            Verdict.FAIL, f"{said}, below {at_least:g}: more has changed than is allowed.", numbers
        )
    else:
        needed = _needed(len(found), low, high, mean, at_least)
        told = f"about {needed:,} would decide" if needed else "no number of queries would decide"
        judgement = Judgement(
            Verdict.INCONCLUSIVE,
            f"{said}, on both sides of {at_least:g}: {told}.",
            {**numbers, "needed": needed},
        )
    return JudgedChange(judgement, mean, biased, low, high, _series(lows, highs, values))


def _needed(queries: int, low: float, high: float, mean: float, at_least: float) -> int | None:
    """Return a guess: intervals narrow with the root of the number of queries."""
    distance = abs(mean - at_least)
    width = mean - low if mean > at_least else high - mean
    if distance < 0.005 or width <= 0:
        return None
    return max(queries + 1, ceil(queries * (width / distance) ** 2))


def _series(
    lows: np.ndarray, highs: np.ndarray, values: Sequence[float]
) -> list[dict[str, object]]:
    means = np.cumsum(values) / np.arange(1, len(values) + 1)
    places = np.unique(np.linspace(0, len(values) - 1, min(_POINTS, len(values))).astype(int))
    return [
        {
            "queries": int(n) + 1,
            "mean": round(float(means[n]), 4),
            "low": round(float(lows[n]), 4),
            "high": round(float(highs[n]), 4),
        }
        for n in places
    ]
