"""One governor for all callers of a paid service, on all machines: its state is in the ledger.

Before a call: money is reserved (or refused), then a place in the queue is taken. After it: both
are put right by what the service says it read. A caller that dies leaves its reservation, which
stays counted as expected; the time of its place is lost, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, LiteralString
from urllib.parse import urlsplit

import psycopg

from qafila.embedders.limit_arithmetic import Limits, left_to_wait, price_of
from qafila.errors import SpendCapReached, Unavailable
from qafila.ledger.ledger import Connection, open_ledger
from qafila.sql import statement

LIFETIME_SECONDS = 900.0  # of a permit: a wait for a place, a call, a pause
LEAST_TO_LEARN_FROM = 200  # tokens: in a short request, marks of begin and end weigh too much
_RECONNECTS, _RECONNECT_SECONDS = 30, 1.0

Outcome = Literal["answered", "not answered", "not sent"]


@dataclass(frozen=True)
class Purse:
    """Whose money a call spends, at what price, and up to what sum; ``run`` goes on after it."""

    workload: str
    generation: int | None
    run_id: str | None
    cap: Decimal
    currency: str
    price_per_million: Decimal
    what: str = "embeddings"
    run: str = "embedding-backfill"


@dataclass(frozen=True)
class Permit:
    """One call that was paid for in the ledger and not yet made; ``seconds`` is what it is worth
    of the account's time."""

    id: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Place:
    """A place in the queue: when it starts by the ledger's clock, and how long that is from now."""

    start: float
    wait_seconds: float


def service_name(url: str, model: str) -> str:
    """Return the key of a service: its address without anything secret, and the model."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')} {model}"


def read_spending(
    ledger: Connection, workload: str, generation: int | None
) -> tuple[Decimal, Decimal]:
    """Return what a generation spent on embeddings: settled, and reserved by open calls."""
    key = {"workload": workload, "generation": generation or 0}
    row = ledger.execute(statement("governor", "read_purse"), key).fetchone()
    return (Decimal(0), Decimal(0)) if row is None else (row[0], row[1])


def read_token_ratio(ledger: Connection, service: str) -> float | None:
    """Return tokens of a service per token of our estimate; None before its first reply."""
    row = ledger.execute(statement("governor", "read_service"), {"service": service}).fetchone()
    return None if row is None else row[2]


class Governor:
    """Speaks to the ledger over a connection of its own, and opens it again when it breaks.

    Not thread-safe: one thread decides, others may carry requests.
    """

    def __init__(
        self,
        ledger_address: str | None,
        service: str,
        limits: Limits,
        purse: Purse,
        wait: Callable[[float], None],
    ) -> None:
        self.service = service
        self.limits = limits
        self.purse = purse
        self.token_ratio: float | None = None
        self._address = ledger_address
        self._wait = wait
        self._ledger: Connection | None = None
        self._run("open_service")
        self._run("open_purse")
        self._run("settle_lapsed")
        self._read()

    def close(self) -> None:
        """Close the connection to the ledger."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def reserve(self, tokens: int, expected: Decimal | None = None) -> Permit:
        """Set aside the money of a call of so many tokens, before it is made.

        ``expected`` is given where tokens have more than one price.

        Raises:
            SpendCapReached: settled, reserved and expected together would be over the cap.
        """
        if expected is None:
            expected = price_of(tokens, self.purse.price_per_million)
        row = self._run("reserve", tokens=tokens, expected=expected)
        if row is None:
            self._run("settle_lapsed")
            raise self._cap_reached(expected)
        return Permit(int(row[0]), tokens, self.limits.seconds(tokens))

    def take_place(self, permit: Permit) -> Place:
        """Take the end of the queue; the call may start when its time has come and it holds."""
        row = self._run("take_place", seconds=permit.seconds)
        assert row is not None
        start, now = row
        return Place(start, max(0.0, start - now))

    def left_to_wait(self, place: Place) -> float | None:
        """Return seconds that a holder has yet to wait: 0 is go; None, take another place."""
        now, paused_until = self._read()
        return left_to_wait(place.start, now, paused_until, self.limits.late_seconds)

    def pause(self, seconds: float) -> None:
        """Let no caller anywhere start a call for so long, since the service asks for it."""
        self._run("pause_service", seconds=seconds)

    def settle(
        self,
        permit: Permit,
        outcome: Outcome,
        *,
        tokens: int | None,
        estimated: int = 0,
        actual: Decimal | None = None,
    ) -> Decimal:
        """Put money and queue right after a call; return what it cost.

        ``tokens`` None: nobody knows what was read, so what was expected counts. ``estimated`` is
        our own count, from which the ratio of the two is learned. ``actual`` is given where tokens
        have more than one price.
        """
        known = permit.tokens if tokens is None else tokens
        if actual is None:
            actual = price_of(known, self.purse.price_per_million)
        self._run("settle", id=permit.id, actual=actual, tokens=known, outcome=outcome)
        if tokens is not None and outcome == "answered":
            ratio = tokens / estimated if estimated >= LEAST_TO_LEARN_FROM else None
            change = self.limits.seconds(tokens) - permit.seconds
            row = self._run("correct_service", seconds=change, ratio=ratio)
            assert row is not None
            self.token_ratio = row[0]
        return actual

    def spent(self) -> tuple[Decimal, Decimal]:
        """Return what is settled and what is reserved."""
        row = self._run("read_purse")
        assert row is not None
        return row[0], row[1]

    def _cap_reached(self, expected: Decimal) -> SpendCapReached:
        settled, reserved = self.spent()
        purse = self.purse
        where = f"generation {purse.generation}" if purse.generation else "calls of no generation"
        return SpendCapReached(
            f"{where} of {purse.workload} spent {settled:.4f} {purse.currency}; {reserved:.4f} "
            f"more is reserved by open calls, the next one would take {expected:.4f}, and the cap "
            f"is {purse.cap:.4f}.",
            spent=settled,
            cap=purse.cap,
            kept="every batch that was written; the call was not made.",
            remedy="raise budget.spend_cap in the workload file, then: qafila apply FILE && "
            f"qafila run {purse.run} {purse.workload}",
        )

    def _read(self) -> tuple[float, float]:
        row = self._run("read_service")
        assert row is not None
        now, paused_until, self.token_ratio = row
        return now, paused_until

    def _run(self, name: LiteralString, **values: Any) -> tuple[Any, ...] | None:
        """Run a statement; connect again when the ledger went away.

        A reservation that was made and not heard of lapses as expected: too much is counted then,
        never too little.
        """
        purse = self.purse
        values |= {
            "service": self.service,
            "workload": purse.workload,
            "run_id": purse.run_id,
            "generation": purse.generation or 0,
            "cap": purse.cap,
            "currency": purse.currency,
            "what": f"{purse.what} {self.service}",
            "lifetime": LIFETIME_SECONDS,
            "catch_up": self.limits.catch_up_seconds,
        }
        for attempt in range(1, _RECONNECTS + 1):
            try:
                if self._ledger is None:
                    self._ledger = open_ledger(self._address)
                return _fetch(self._ledger, name, values)
            except (psycopg.OperationalError, Unavailable):
                self.close()
                if attempt == _RECONNECTS:
                    raise
                self._wait(_RECONNECT_SECONDS)
        raise AssertionError("unreachable")


def _fetch(
    ledger: Connection, name: LiteralString, values: Mapping[str, Any]
) -> tuple[Any, ...] | None:
    cursor = ledger.execute(statement("governor", name), values)
    return cursor.fetchone() if cursor.description else None
