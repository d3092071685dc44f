"""Does a service keep its answers? A question asked before is timed against one asked never.

The two have the same words in another order, so that searching for them takes as long; only what
keeps whole answers tells them apart. Reported, never failed: a cache is no fault, but times taken
from one are not those of a search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qafila.statistics.ranking_metrics import percentile

FEWEST = 8  # pairs
_RATIO, _SHARE = 0.5, 0.75


@dataclass(frozen=True)
class Caching:
    """How repeated questions compare with new ones; ``cached`` None: too few to tell."""

    pairs: int
    cached: bool | None
    repeated_ms: float | None
    fresh_ms: float | None


def shuffled_words(text: str) -> str | None:
    """Return the text with its words in reverse order; None where that is the same question."""
    turned = " ".join(reversed(text.split()))
    return None if turned == " ".join(text.split()) else turned


def judge_caching(repeated_ms: Sequence[float], fresh_ms: Sequence[float]) -> Caching:
    """Compare pairs of times: cached when three in four repeats take less than half as long."""
    pairs = list(zip(repeated_ms, fresh_ms, strict=True))
    if len(pairs) < FEWEST:
        return Caching(len(pairs), None, None, None)
    faster = sum(old < _RATIO * new for old, new in pairs)
    return Caching(
        len(pairs),
        faster >= _SHARE * len(pairs),
        percentile(repeated_ms, 0.5),
        percentile(fresh_ms, 0.5),
    )
