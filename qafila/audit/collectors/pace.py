"""The token buckets of one audit, shared by everything that reads at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import inf

from qafila.embedders.request_rate import (
    Pace,
    Rate,
    after_answer,
    after_refusal,
    next_start,
    rate_of,
    request_rates,
    seconds_to_stay_out,
)


@cache
def documented_rates() -> Mapping[str, Rate]:
    """Return what AWS documents that an account may ask, each with its source and date."""
    return request_rates((files("qafila.data") / "aws_request_rates.toml").read_text())


@dataclass(frozen=True)
class Use:
    """What went through one bucket. ``slowest``: the smallest share of its rate that was in use."""

    account: str
    region: str
    bucket: str
    rate: Rate
    calls: int
    refused: int
    slowest: float

    @property
    def least_seconds(self) -> float:
        """Return the least time in which the permitted rate lets these calls start."""
        return self.rate.least_seconds(self.calls)


class _Bucket:
    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.pace = Pace()
        self.calls = self.refused = 0
        self.slowest = 1.0


class Pacing:
    """A token bucket for each account, region and service (AWS counts so), safe between threads.

    ``share``: the part of the permitted rate that the audit takes; the rest is for the programs
    that run the company. ``clock`` gives seconds, ``sleep`` takes them.
    """

    def __init__(
        self,
        rates: Mapping[str, Rate] | None = None,
        *,
        share: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        permitted = documented_rates() if rates is None else rates
        self._rates = {name: rate.part(share) for name, rate in permitted.items()}
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str, str], _Bucket] = {}

    def wait(
        self, account: str, region: str, service: str, operation: str, *, earliest: float = -inf
    ) -> None:
        """Take a token, and wait until the request may start: not before ``earliest``.

        That moment is one of :meth:`moment`. What a call has to wait by itself passes while it
        waits for its turn, as far as the queue is that long.
        """
        with self._lock:
            bucket = self._bucket(account, region, service, operation)
            out = seconds_to_stay_out(bucket.pace, bucket.rate, self._clock(), earliest)
        if out > 0:
            self._sleep(out)
        with self._lock:
            now = self._clock()
            start, bucket.pace = next_start(bucket.pace, bucket.rate, max(now, earliest))
            bucket.calls += 1
        if start > now:
            self._sleep(start - now)

    def answered(self, account: str, region: str, service: str, operation: str) -> None:
        """Note that a call was not throttled."""
        with self._lock:
            bucket = self._bucket(account, region, service, operation)
            bucket.pace = after_answer(bucket.pace)

    def refused(
        self,
        account: str,
        region: str,
        service: str,
        operation: str,
        asked_seconds: float | None = None,
    ) -> None:
        """Note that a call was throttled, and for how long the service asked us to wait."""
        with self._lock:
            bucket = self._bucket(account, region, service, operation)
            bucket.refused += 1
            bucket.pace = after_refusal(bucket.pace, self._clock(), asked_seconds)
            bucket.slowest = min(bucket.slowest, bucket.pace.slowed)

    def moment(self, seconds: float) -> float:
        """Return the moment so many seconds from now, for :meth:`wait`."""
        return self._clock() + seconds

    def uses(self) -> tuple[Use, ...]:
        """Return what went through each bucket, the busiest for its rate first."""
        with self._lock:
            uses = [
                Use(account, region, name, b.rate, b.calls, b.refused, b.slowest)
                for (account, region, name), b in self._buckets.items()
            ]
        return tuple(sorted(uses, key=lambda use: -use.least_seconds))

    def _bucket(self, account: str, region: str, service: str, operation: str) -> _Bucket:
        name, rate = rate_of(self._rates, service, operation)
        return self._buckets.setdefault((account, region, name), _Bucket(rate))
