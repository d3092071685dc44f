"""Latencies in logarithmic buckets: small, mergeable, right to one percent at every percentile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, log

RELATIVE_ERROR = 0.01
LEAST_MS = 0.001  # what is shorter counts as this

_BASE = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)


@dataclass(frozen=True)
class Histogram:
    """Counts by bucket; bucket i holds milliseconds in (b^(i−1), b^i] with b = 1.01 / 0.99.

    The middle of a bucket, 2·b^i / (b + 1), is within 1 % of everything in it, whatever its size
    (DDSketch: Masson, Rim and Lee, VLDB 2019).
    """

    counts: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, values_ms: Iterable[float]) -> Histogram:
        """Return the histogram of some latencies in milliseconds."""
        return cls(dict(sorted(Counter(_bucket(v) for v in values_ms).items())))

    @property
    def total(self) -> int:
        """Return how many values there are."""
        return sum(self.counts.values())

    def __add__(self, other: Histogram) -> Histogram:
        """Return the histogram of both sets of values, exactly as if they had been one."""
        both = Counter(self.counts) + Counter(other.counts)
        return Histogram(dict(sorted(both.items())))

    def percentile(self, share: float) -> float | None:
        """Return the nearest-rank percentile in ms, within 1 %; None when there is no value."""
        rank = min(self.total, max(1, ceil(share * self.total - 1e-9)))
        seen = 0
        for bucket, count in self.counts.items():
            seen += count
            if seen >= rank:
                return _middle(bucket)
        return None

    def rows(self) -> list[list[float]]:
        """Return [upper end in ms, values up to there and above the one before], ascending."""
        return [[round(_BASE**bucket, 4), count] for bucket, count in self.counts.items()]


def _bucket(value_ms: float) -> int:
    return ceil(log(max(value_ms, LEAST_MS), _BASE))


def _middle(bucket: int) -> float:
    return float(2 * _BASE**bucket / (_BASE + 1))
