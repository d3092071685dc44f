"""The arithmetic of a shared limit: when the next request may start, how large it may be.

One clock a service, shared by all callers. Each request takes the place at the end of the queue
and moves the end by the time its requests and tokens are worth at the allowed pace; an idle service
saves up half of ``burst_seconds``, and by as much may a request be late. The ledger keeps the clock
(``sql/statements/governor.sql``) and moves it by these rules with the database's time, so that
callers need not agree on theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from math import ceil, inf

LARGEST_SHARE = 1 / 32  # of the tokens of a window that one request may take


@dataclass(frozen=True)
class Limits:
    """What an account may ask for in a window, and the largest request that we make of it.

    In any window of ``window_seconds`` at most ``requests`` requests start, with at most ``tokens``
    tokens in total, as long as no request is larger than ``largest`` tokens: a larger one adds what
    it is larger by. Estimates count, until the service has said what it read.
    """

    requests: int | None = None
    tokens: int | None = None
    largest: int = 1
    window_seconds: float = 60.0
    burst_seconds: float = 1.0

    @property
    def catch_up_seconds(self) -> float:
        """Return how much time an idle account saves up."""
        return self.burst_seconds / 2

    @property
    def late_seconds(self) -> float:
        """Return by how much a request may start after its time, the other half of the burst."""
        return self.burst_seconds / 2

    def seconds(self, tokens: int) -> float:
        """Return how much time of the account one request of so many tokens is worth.

        A window holds requests that are worth window + burst, and one more that began before it
        was paid for. So tokens are dealt out at (limit - largest) / (window + burst), which leaves
        room for that one; requests are whole numbers, so the last needs no room.
        """
        span = self.window_seconds + self.burst_seconds
        by_requests = 0.0 if self.requests is None else span / self.requests
        if self.tokens is None:
            return by_requests
        room = max(self.tokens - self.largest, self.tokens / 2)
        return max(by_requests, tokens * span / room)


def request_tokens(most: int, requests: int | None, tokens: int | None) -> int:
    """Return how many tokens one request may have, so that both limits can be used up.

    A small share of the window, or its margin would be large; but no less than what the allowed
    requests must carry each to use all tokens. ``most`` is what the service takes.
    """
    if tokens is None:
        return most
    needed = 0.0 if requests is None else 1.1 * tokens / requests
    return max(1, min(most, ceil(max(tokens * LARGEST_SHARE, needed)), tokens // 2))


@dataclass(frozen=True)
class Clock:
    """The end of the queue, and a pause that the service asked for; seconds of one clock."""

    free_at: float = -inf
    paused_until: float = -inf


def take(clock: Clock, now: float, seconds: float, catch_up_seconds: float) -> tuple[float, Clock]:
    """Return when a request that comes now may start, and the clock after it."""
    start = max(now, clock.free_at, clock.paused_until)
    return start, replace(clock, free_at=max(clock.free_at, start - catch_up_seconds) + seconds)


def left_to_wait(
    start: float, now: float, paused_until: float, late_seconds: float
) -> float | None:
    """Return how long the holder of a place has yet to wait: 0 is go; None, the place is lost.

    Lost when the service asked for a pause meanwhile, and when its holder comes too late: many that
    are late together would be a burst. Another place has to be taken then.
    """
    if now < start:
        return start - now
    return None if paused_until > now or now > start + late_seconds else 0.0


def corrected(clock: Clock, charged_seconds: float, actual_seconds: float) -> Clock:
    """Return the clock after the service said what it read: paid back, or charged more."""
    return replace(clock, free_at=clock.free_at + actual_seconds - charged_seconds)


def paused(clock: Clock, now: float, seconds: float) -> Clock:
    """Return the clock after the service asked for a pause; the longest one counts."""
    return replace(clock, paused_until=max(clock.paused_until, now + seconds))


def learned(ratio: float | None, seen: float | None) -> float | None:
    """Return tokens of the service per token of our estimate: up at once, down slowly."""
    if ratio is None or seen is None:
        return ratio if seen is None else seen
    return max(seen, 0.95 * ratio + 0.05 * seen)


def price_of(tokens: int, price_per_million: Decimal) -> Decimal:
    """Return what so many tokens cost, exactly."""
    return tokens * price_per_million / 1_000_000


def backoff_seconds(attempt: int, chance: float, *, base: float = 0.5, most: float = 30.0) -> float:
    """Return the pause before attempt 1, 2, …: doubles, with half of it by chance (0 to 1)."""
    whole = min(most, base * 2.0 ** min(attempt - 1, 30))
    return whole * (0.5 + chance / 2)


def hint_seconds(retry_after: str, date: str, now: datetime) -> float | None:
    """Return how long a service asks us to wait; None when it does not say so.

    ``retry_after`` is seconds or an HTTP date; a date is compared with the service's own ``date``,
    when it sends one, since its clock and ours may differ.
    """
    try:
        seconds = float(retry_after)
    except ValueError:
        until, since = _http_date(retry_after), _http_date(date) or now
        return None if until is None else max(0.0, (until - since).total_seconds())
    return seconds if 0 <= seconds < inf else None


def _http_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def pack(tokens: Sequence[int], most_texts: int, most_tokens: int) -> Iterator[list[int]]:
    """Yield places of texts, in order, request by request; one that is too large goes alone."""
    batch: list[int] = []
    held = 0
    for place, count in enumerate(tokens):
        if batch and (len(batch) >= most_texts or held + count > most_tokens):
            yield batch
            batch, held = [], 0
        batch.append(place)
        held += count
    if batch:
        yield batch
