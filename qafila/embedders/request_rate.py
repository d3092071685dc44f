"""How fast a service may be asked: a token bucket, and when to slow down below it.

A refused call alone is no reason to slow down: services refuse some calls for reasons of their
own, and waiting would win nothing. Two hypotheses are weighed as answers come in (Page's
cumulative sum, Biometrika 1954): a share of ``_USUAL`` is refused, or of ``_TOO_FAST``. When the
second is a thousand times as likely, the rate goes down at once; every call that is answered
brings it up a little, never beyond what is permitted. A hundred times would be too soon: one bucket
of 280 calls in three would then slow down by chance alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from math import log
from types import MappingProxyType

from qafila.embedders.limit_arithmetic import Clock, paused, take
from qafila.errors import BadInput
from qafila.text.strict_toml import load_toml

DEFAULT = "*"  # the row of services that document no rate
_USUAL, _TOO_FAST = 0.2, 0.5  # share of calls refused
_SURE = log(1000)
_DOWN, _UP, _SLOWEST = 0.6, 1.02, 1 / 32
_IDLE = Clock()


@dataclass(frozen=True)
class Rate:
    """What a service permits: requests a second over time, and how many at once after a rest."""

    per_second: float
    burst: int = 1
    source: str = ""
    as_of: date | None = None

    def part(self, share: float) -> Rate:
        """Return a share of it, at least one request at once."""
        return replace(
            self, per_second=self.per_second * share, burst=max(1, int(self.burst * share))
        )

    def least_seconds(self, requests: int) -> float:
        """Return the least time in which so many requests may start, beginning with a full bucket.

        The first ``burst`` start at once, the others one after the other at the rate.
        """
        return max(0, requests - self.burst) / self.per_second


@dataclass(frozen=True)
class Pace:
    """Where a bucket stands. ``slowed``: share of the permitted rate in use, in (0, 1]."""

    clock: Clock = _IDLE
    slowed: float = 1.0
    doubt: float = 0.0


def next_start(pace: Pace, rate: Rate, now: float) -> tuple[float, Pace]:
    """Return when a request that comes now may start, and the pace after it; seconds of one clock.

    In any span of T seconds at most ``rate.burst + rate.per_second * T`` requests start. That holds
    also where ``now`` is yet to come: the place in the queue of a request that has to wait by
    itself.
    """
    spacing = 1 / (rate.per_second * pace.slowed)
    start, clock = take(pace.clock, now, spacing, _saved_seconds(rate))
    return start, replace(pace, clock=clock)


def seconds_to_stay_out(pace: Pace, rate: Rate, now: float, earliest: float) -> float:
    """Return how long a request that may not start before ``earliest`` keeps out of the queue.

    It joins when its turn would come at that moment, or sooner by what an idle bucket saves up:
    so both waits pass together, and no other request has to wait for it.
    """
    start, _ = next_start(pace, rate, now)
    return max(0.0, earliest - start - _saved_seconds(rate))


def _saved_seconds(rate: Rate) -> float:
    """Return how much of its time an idle bucket saves up: what the burst beyond one is worth."""
    return (rate.burst - 1) / rate.per_second


def after_answer(pace: Pace) -> Pace:
    """Return the pace after a call that was let through."""
    doubt = max(0.0, pace.doubt + log((1 - _TOO_FAST) / (1 - _USUAL)))
    return replace(pace, slowed=min(1.0, pace.slowed * _UP), doubt=doubt)


def after_refusal(pace: Pace, now: float, asked_seconds: float | None = None) -> Pace:
    """Return the pace after a throttled call; ``asked_seconds``: how long the service said."""
    doubt = pace.doubt + log(_TOO_FAST / _USUAL)
    slower = doubt >= _SURE
    clock = pace.clock if asked_seconds is None else paused(pace.clock, now, asked_seconds)
    return Pace(
        clock=clock,
        slowed=max(_SLOWEST, pace.slowed * _DOWN) if slower else pace.slowed,
        doubt=0.0 if slower else doubt,
    )


def request_rates(table: str) -> Mapping[str, Rate]:
    """Read a table of rates (TOML); keys are ``service`` or ``service.Operation``.

    Raises:
        BadInput: a row is not usable; names each one.
    """
    rates: dict[str, Rate] = {}
    problems: list[str] = []
    for number, row in enumerate(load_toml(table, "the table of rates").get("rate", []), 1):
        try:
            name = row["service"] + (f".{row['operation']}" if "operation" in row else "")
            rate = Rate(float(row["per_second"]), int(row["burst"]), row["source"], row["as_of"])
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"row {number}: {type(error).__name__}: {error}")
            continue
        if rate.per_second <= 0 or rate.burst < 1 or name in rates:
            problems.append(f"row {number} ({name}): a rate is above 0, a burst at least 1, once")
        rates[name] = rate
    if DEFAULT not in rates:
        problems.append(f"there is no row for {DEFAULT!r}")
    if problems:
        raise BadInput("the table of request rates is not usable.", problems)
    return MappingProxyType(rates)


def rate_of(rates: Mapping[str, Rate], service: str, operation: str) -> tuple[str, Rate]:
    """Return the bucket that an operation draws from: its own, its service's, or the default's."""
    for name in (f"{service}.{operation}", service):
        if name in rates:
            return name, rates[name]
    return service, rates[DEFAULT]
