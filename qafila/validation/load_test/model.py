"""What one system did under load: its times, its errors, and where it saturates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qafila.statistics.histogram import Histogram
from qafila.statistics.intervals import clopper_pearson
from qafila.statistics.ranking_metrics import percentile
from qafila.validation.load_test.caching_rule import judge_caching
from qafila.validation.load_test.plan import Level

SHARE = 0.95
SHARES = (0.5, 0.95, 0.99, 0.999)
LEAST_THROUGHPUT = 0.9  # of the arrivals
TAIL_LEAVES = 10.0  # times its value at the lowest level
LATE_SHARE = 0.25  # of the baseline's p95
_STOP_ERRORS, _STOP_AFTER = 0.1, 20  # a level ends early at this share of errors, after so many
_BEYOND = 5  # values above a percentile before it is shown


@dataclass(frozen=True)
class Block:
    """What came of one block; ``times`` in ms, as requests were due, None where one failed.

    ``late_ms`` is how late the generator itself sent what it could have sent in time, and
    ``overrun_s`` how long after the block's end its last answer came.
    """

    times: tuple[float | None, ...]
    late_ms: tuple[float, ...]
    seconds: float
    overrun_s: float

    @property
    def ms(self) -> list[float]:
        return [t for t in self.times if t is not None]

    @property
    def sent(self) -> int:
        return len(self.times)

    @property
    def errors(self) -> int:
        return self.times.count(None)


@dataclass(frozen=True)
class Load:
    """All blocks of one system at one level; ``mean_ms`` is its service time without load."""

    level: Level
    blocks: tuple[Block, ...]
    mean_ms: float

    @property
    def ms(self) -> list[float]:
        return [v for b in self.blocks for v in b.ms]

    @property
    def late_ms(self) -> list[float]:
        return [v for b in self.blocks for v in b.late_ms]

    @property
    def sent(self) -> int:
        return sum(b.sent for b in self.blocks)

    @property
    def errors(self) -> int:
        return sum(b.errors for b in self.blocks)

    @property
    def throughput(self) -> float | None:
        """Return answers over arrivals, both a second; 1 when nothing was left behind.

        Three service times after the end of a block are granted to what is under way.
        """
        granted = 3 * self.mean_ms / 1000
        arriving = sum(b.seconds for b in self.blocks)
        behind = sum(max(0.0, b.overrun_s - granted) for b in self.blocks)
        return arriving / (arriving + behind) if arriving > 0 else None

    def percentile(self, share: float) -> float | None:
        """Return a percentile in ms; None when too few values lie beyond it."""
        values = self.ms
        if len(values) * (1 - share) < _BEYOND * (share > SHARE):
            return None
        return percentile(values, share)

    def summary(self) -> dict[str, object]:
        """Return the figures that the evidence keeps."""
        return {
            "sent": self.sent,
            "errors": self.errors,
            **{f"p{100 * s:g}_ms": self.percentile(s) for s in SHARES},
            "throughput": self.throughput,
            "generator_late_p95_ms": percentile(self.late_ms, SHARE),
            "histogram": Histogram.of(self.ms).rows(),
        }


def generator_late_ms(loads: Iterable[Load]) -> float | None:
    """Return how late the generator itself was, 95th percentile; None: nothing could be sent."""
    return percentile([v for load in loads for v in load.late_ms], SHARE)


def generator_late(loads: Iterable[Load], baseline: Load) -> bool:
    """Say whether the generator was so late that it measured itself: a quarter of ``baseline``'s
    95th percentile, at the lowest level."""
    late, p95 = generator_late_ms(loads), baseline.percentile(SHARE)
    return late is not None and p95 is not None and late > LATE_SHARE * p95


def answered_by_both(candidate: Load, baseline: Load) -> tuple[list[float], list[float]]:
    """Return the times of the requests that both answered, in the same order."""
    pairs = [
        (new, old)
        for one, other in zip(candidate.blocks, baseline.blocks, strict=False)
        for new, old in zip(one.times, other.times, strict=False)
        if new is not None and old is not None
    ]
    return [new for new, _ in pairs], [old for _, old in pairs]


def too_many_errors(sent: int, errors: int, at_most: float) -> bool:
    """Say whether a level should end early: going on would only hurt a broken service."""
    return sent >= _STOP_AFTER and errors > max(_STOP_ERRORS, at_most) * sent


def saturation(load: Load, lowest: Load, at_most_errors: float) -> str:
    """Return in what way a system is saturated at a level; empty when it is not.

    Its answers fall behind the arrivals, its p99 (p95 where there are few answers) leaves ten times
    what it is at the lowest level, or it answers errors.
    """
    if load.sent and clopper_pearson(load.errors, load.sent)[0] > at_most_errors:
        return f"{load.errors:,} of {load.sent:,} requests end in an error"
    if load.throughput is not None and load.throughput < LEAST_THROUGHPUT:
        return f"it answers {load.throughput:.0%} of what arrives"
    for share in (0.99, SHARE):
        now, before = load.percentile(share), lowest.percentile(share)
        if now is not None and before is not None:
            tail = f"p{100 * share:g} is {now:.0f} ms after {before:.0f} ms"
            return tail if now > TAIL_LEAVES * before else ""
    return ""


@dataclass(frozen=True)
class Repeats:
    """How a system answered questions it had never seen, and the same ones again; in ms."""

    first_ms: tuple[float, ...]
    again_ms: tuple[float, ...]

    @property
    def cached(self) -> bool:
        """Say whether repeated questions are answered from a cache."""
        return judge_caching(self.again_ms, self.first_ms).cached is True

    def said(self, system: str) -> str:
        """Return the sentence about a cache; empty when none was noticed."""
        found = judge_caching(self.again_ms, self.first_ms)
        if not found.cached:
            return ""
        return (
            f"The {system} answers repeated questions from a cache ({found.repeated_ms:.1f} ms "
            f"instead of {found.fresh_ms:.1f} ms): it was timed on questions that were never asked "
            "before."
        )
