"""How much load rung 8 makes: the rate there is, its multiples, and blocks that take turns.

Baseline and candidate are asked in blocks in the order ABBA ABBA …, the same questions at the same
moments of a block, so that both meet the same machine and the same crowd.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from math import ceil

from qafila.decision.patterns import PEAK_OVER_MEAN, SECONDS_PER_MONTH
from qafila.workload.model import Projection

MULTIPLES = (1, 2, 4)
ENOUGH = 500  # answers of a system that a 95th percentile should rest on
MOST_REQUESTS = 20_000  # in one climb, over all systems and levels
QUIET_SHARE = 0.6  # of what one user reaches without pause: a rate raised for us stays below it
MODEST_PER_S = 60.0  # up to here, of what the users of rung 6 reach together
MOST_WORKERS = 64
_LEAST_WORKERS = 8
_BLOCKS = 24  # of both systems at the first level
_SHORTEST_S, _LONGEST_S = 0.5, 5.0
_PAIRS_ABOVE = 2  # at the multiples, where blocks are longer: a queue takes time to grow
_LONGEST_ABOVE_S = 10.0
_LONGEST_MORE = 6.0  # times the seconds that were asked for, over all looks after the first
_SAFELY = 1.5  # times what would just do


@dataclass(frozen=True)
class RealRate:
    """Requests a second at the workload's peak, and where the number is from."""

    per_s: float
    why: str


@dataclass(frozen=True)
class Level:
    """One rate, asked of each system in ``pairs`` blocks of ``block_s`` seconds.

    ``multiple`` is of the real rate, None when there is none.
    """

    rate: float
    multiple: float | None
    block_s: float
    pairs: int

    @property
    def name(self) -> str:
        """Return what a person calls it."""
        times = "" if self.multiple is None else f", {self.multiple:.3g} times the real rate"
        return f"{self.rate:.3g} requests a second{times}"


@dataclass(frozen=True)
class LoadPlan:
    """The levels from the lowest, and one sentence that says why these."""

    real: RealRate
    levels: tuple[Level, ...]
    said: str

    @property
    def seconds(self) -> float:
        """Return how long arrivals go on, both systems together."""
        return sum(2 * level.pairs * level.block_s for level in self.levels)


def real_rate(projection: Projection, override: float | None = None) -> RealRate:
    """Return the rate at the peak: as given, as the workload says, or from its month.

    Of a month's volume it is queries / seconds of a month × 3, a stated assumption
    (``patterns.PEAK_OVER_MEAN``) that sizing uses as well.
    """
    if override is not None:
        return RealRate(override, "as latency_rate says")
    if projection.peak_requests_per_s is not None:
        return RealRate(projection.peak_requests_per_s, "projection.peak_requests_per_s")
    month = projection.queries_per_month
    return RealRate(
        month / SECONDS_PER_MONTH * PEAK_OVER_MEAN,
        f"{month:,} queries a month, {PEAK_OVER_MEAN:g} times the mean at the peak",
    )


def plan_load(
    real: RealRate, seconds: float, *, mean_ms: float, users: int, fixed: bool = False
) -> LoadPlan:
    """Plan the levels for about ``seconds`` of arrivals.

    ``mean_ms`` is the service time of the slower system, ``users`` how many ask at once on the
    rungs below. A rate too low for ``ENOUGH`` answers is raised, but only as far as nobody has to
    wait for it: see ``QUIET_SHARE`` and ``MODEST_PER_S``; levels that become the same are one.
    ``fixed``: not raised.
    """
    one_user = QUIET_SHARE * 1000 / max(mean_ms, 0.001)
    quiet = max(one_user, min(MODEST_PER_S, users * one_user))
    raised = 0.0 if fixed else min(2 * ENOUGH / seconds, quiet)
    rates = sorted({max(m * real.per_s, raised) for m in MULTIPLES})
    shares = [1.0] if len(rates) == 1 else [0.5, *[0.5 / (len(rates) - 1)] * (len(rates) - 1)]
    asked = seconds * sum(r * s for r, s in zip(rates, shares, strict=True))
    seconds *= min(1.0, MOST_REQUESTS / asked)
    levels = []
    for number, (rate, share) in enumerate(zip(rates, shares, strict=True)):
        given = seconds * share
        if number == 0:
            block_s = min(max(given / _BLOCKS, _SHORTEST_S), _LONGEST_S)
            pairs = max(2, round(given / 2 / block_s))
        else:
            pairs = max(_PAIRS_ABOVE, round(given / 2 / _LONGEST_ABOVE_S))
        multiple = rate / real.per_s if real.per_s > 0 else None
        levels.append(Level(rate, multiple, given / 2 / pairs, pairs))
    said = f"The real rate is {real.per_s:.3g} requests a second ({real.why})"
    if rates[0] > real.per_s:
        said += f"; asked at {rates[0]:.3g}, or {seconds:g} s would give too few answers"
    return LoadPlan(real, tuple(levels), said)


def pairs_more(
    level: Level,
    seconds_more: float | None,
    *,
    seconds: float,
    sent: int,
    longer_s: float,
    looks_left: int,
) -> int:
    """Return how many more blocks each system should be asked before the next evaluation.

    What may still be asked is six times ``seconds`` (``longer_s`` are spent), and no more requests
    than a climb may send (``sent`` have been sent). An even share of it for each of ``looks_left``
    is asked at least: a ratio that one disturbance of the machine moved says little about how long
    it would take to decide. ``seconds_more`` is that time if the ratio stays what it is, for both
    systems together; half as long again, if that is more.
    """
    left = min(_LONGEST_MORE * seconds - longer_s, (MOST_REQUESTS - sent) / level.rate)
    wanted = max(left / looks_left, _SAFELY * (seconds_more or 0.0))
    block_pair_s = 2 * level.block_s
    return max(0, int(min(ceil(wanted / block_pair_s), left // block_pair_s)))


def turns(pairs: int) -> list[tuple[str, int]]:
    """Return (system, number of the pair) block by block: ABBA ABBA …"""
    order = islice(cycle(("baseline", "candidate", "candidate", "baseline")), 2 * pairs)
    return [(system, number // 2) for number, system in enumerate(order)]


def workers_for(rate: float, mean_ms: float) -> int:
    """Return how many requests may be under way at once.

    Little's law, four times over, so that a slow answer keeps none from being sent; at most
    ``MOST_WORKERS``.
    """
    return min(MOST_WORKERS, max(_LEAST_WORKERS, round(4 * rate * mean_ms / 1000)))
