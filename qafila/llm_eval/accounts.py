"""Who is asked before a call is made: money first, then a place in the queue of the service.

The ledger's governor, when there is a ledger; else an account of this process alone, by the same
rules (``qafila.embedders.limit_arithmetic``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from qafila.embedders.governor import Outcome, Permit, Place
from qafila.embedders.limit_arithmetic import Clock, Limits, corrected, left_to_wait, paused, take
from qafila.errors import SpendCapReached


class Account(Protocol):
    """What ``qafila.embedders.governor.Governor`` promises to one caller."""

    def reserve(self, tokens: int, expected: Decimal | None = None) -> Permit:
        """Set money aside for a call, or raise SpendCapReached."""

    def take_place(self, permit: Permit) -> Place:
        """Take the end of the queue."""

    def left_to_wait(self, place: Place) -> float | None:
        """Return seconds that are left; 0 is go; None, take another place."""

    def pause(self, seconds: float) -> None:
        """Let nobody start a call for so long."""

    def settle(
        self,
        permit: Permit,
        outcome: Outcome,
        *,
        tokens: int | None,
        estimated: int = 0,
        actual: Decimal | None = None,
    ) -> Decimal:
        """Put money and queue right after a call; return what it cost."""

    def close(self) -> None:
        """Give back what it holds."""


@dataclass
class Purse:
    """Money of one process: what is spent, what open calls may cost, and the most there is."""

    cap: Decimal
    currency: str
    spent: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)


class OwnAccount:
    """An account at one service for one process; several may share a purse. One thread."""

    def __init__(
        self, service: str, limits: Limits, purse: Purse, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.service = service
        self.limits = limits
        self.purse = purse
        self._now = now
        self._clock = Clock()
        self._open: dict[int, Decimal] = {}
        self._next = 1

    def close(self) -> None:
        """Nothing is held."""

    def reserve(self, tokens: int, expected: Decimal | None = None) -> Permit:
        """Set money aside.

        Raises:
            SpendCapReached: spent, reserved and expected together would be over the cap.
        """
        purse, wanted = self.purse, expected or Decimal(0)
        if purse.spent + purse.reserved + wanted > purse.cap:
            raise SpendCapReached(
                f"{purse.spent:.4f} {purse.currency} are spent, the next call to {self.service} "
                f"could take {wanted:.4f}, and the cap is {purse.cap:.4f}.",
                spent=purse.spent,
                cap=purse.cap,
                kept="every answer so far; the call was not made.",
                remedy="allow more with --spend-cap",
            )
        permit = Permit(self._next, tokens, self.limits.seconds(tokens))
        self._next += 1
        self._open[permit.id] = wanted
        purse.reserved += wanted
        return permit

    def take_place(self, permit: Permit) -> Place:
        """Take the end of the queue."""
        now = self._now()
        start, self._clock = take(self._clock, now, permit.seconds, self.limits.catch_up_seconds)
        return Place(start, max(0.0, start - now))

    def left_to_wait(self, place: Place) -> float | None:
        """Return seconds that are left; 0 is go; None, take another place."""
        return left_to_wait(
            place.start, self._now(), self._clock.paused_until, self.limits.late_seconds
        )

    def pause(self, seconds: float) -> None:
        """Let no call start for so long."""
        self._clock = paused(self._clock, self._now(), seconds)

    def settle(
        self,
        permit: Permit,
        outcome: Outcome,
        *,
        tokens: int | None,
        estimated: int = 0,
        actual: Decimal | None = None,
    ) -> Decimal:
        """Put money and queue right after a call; return what it cost. A second time: nothing."""
        expected = self._open.pop(permit.id, None)
        if expected is None:
            return Decimal(0)
        cost = expected if actual is None else actual
        self.purse.reserved -= expected
        self.purse.spent += cost
        if tokens is not None and outcome == "answered":
            self._clock = corrected(self._clock, permit.seconds, self.limits.seconds(tokens))
        return cost
