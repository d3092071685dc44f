"""A worker's pulse: its sign of life, and what is asked of it, several times a second.

The pulse has a thread and a ledger connection of its own, so that neither a long call to a
provider nor a long write lets a claim lapse or delays a pause.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import psycopg
from psycopg.rows import dict_row

from qafila.backfill.claims import Shard
from qafila.backfill.control import HOLD_TTL_SECONDS
from qafila.errors import BackfillHalted, QafilaError, StaleEpoch
from qafila.ledger.ledger import Generation, open_ledger
from qafila.sql import statement
from qafila.text.masking import mask_text

BEAT_SECONDS = 0.25


def _nothing() -> str:
    return ""


class Stopped(BackfillHalted):
    """The load was cancelled; what is loaded stays."""


def stopped(what: str, workload: str) -> Stopped:
    """Return the error that says so, with what was kept and how the load goes on."""
    return Stopped(
        what,
        kept="everything up to the last checkpoints.",
        remedy=f"qafila run embedding-backfill {workload}",
    )


class Pulse:
    """Beats while it is open. The worker calls ``check`` between any two things it does.

    A ledger that does not answer stops nothing: the fence in the target protects the rows, and the
    pulse goes on trying.
    """

    def __init__(
        self,
        generation: Generation,
        ledger_address: str | None = None,
        *,
        led: bool = False,
        epoch: int | None = None,
    ) -> None:
        """``led``: stop when nobody coordinates the load any more, or not with this ``epoch``."""
        self._generation = generation
        self._led = led
        self._epoch = epoch
        self._cut_off = False
        self._lenient_until = 0.0
        self._address = ledger_address
        self._shard: Shard | None = None
        self._waits_for: Callable[[], str] = _nothing
        self._lost = False
        self._state, self._speed, self._reason = "running", 1.0, ""
        self._worked_since = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="pulse", daemon=True
        )

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(5)

    def watch(self, shard: Shard | None, waits_for: Callable[[], str] = _nothing) -> None:
        """Beat for this shard from now on; for none when None.

        ``waits_for`` is asked at each beat, in the pulse's thread, for the status line.
        """
        self._lost, self._shard, self._waits_for = False, shard, waits_for

    def check(self) -> None:
        """Return when work may go on: at once, or after a pause; slowed down as asked.

        Raises:
            Stopped: the load was cancelled, or the coordinator is gone.
            StaleEpoch: the shard was claimed by another worker.
        """
        if self._speed < 1.0:  # work for a share of the time, sleep for the rest
            worked = time.monotonic() - self._worked_since
            self._sleep(min(30.0, worked * (1.0 / self._speed - 1.0)))
        self._sleep(0.0)
        self._worked_since = time.monotonic()

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until something else is asked. Raises as ``check`` does."""
        self._sleep(seconds)
        self._worked_since = time.monotonic()

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            if self._state == "cancelled":
                raise stopped(
                    f"the load was cancelled: {self._reason or 'no reason given'}",
                    self._generation.workload,
                )
            shard = self._shard
            if self._lost and shard is not None:
                raise StaleEpoch(f"shard {shard.number} was claimed by another worker.")
            left = until - time.monotonic()
            if self._state != "paused" and left <= 0:
                return
            self._ended.wait(0.05 if self._state == "paused" else min(0.05, max(left, 0.001)))

    def cancel(self, reason: str) -> None:
        """Stop this worker alone, whatever the ledger says."""
        self._reason, self._state = reason, "cancelled"

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with open_ledger(self._address) as ledger:
                    while not self._ended.wait(BEAT_SECONDS):
                        self._beat(ledger)
            except (psycopg.Error, QafilaError):
                self._cut_off = True
                self._ended.wait(BEAT_SECONDS)

    def _beat(self, ledger: psycopg.Connection[Any]) -> None:
        shard = self._shard
        values = {
            "workload": self._generation.workload,
            "generation": self._generation.number,
            "number": None if shard is None else shard.number,
            "epoch": None if shard is None else shard.epoch,
            "ttl": HOLD_TTL_SECONDS,
            "waits_for": mask_text(self._waits_for()),
        }
        with ledger.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(statement("backfill", "beat_worker"), values).fetchone()
        if row is None or self._state == "cancelled":
            return
        if not row["mine"] and shard is self._shard:
            self._lost = True
        if self._cut_off:  # the coordinator was so too: it gets as long to be back as it ever has
            self._cut_off = False
            self._lenient_until = time.monotonic() + HOLD_TTL_SECONDS
        if self._led and self._epoch not in (None, row["load_epoch"]):
            self.cancel("another run coordinates it by now")
            return
        if self._led and not row["led"] and time.monotonic() >= self._lenient_until:
            self.cancel("nobody coordinates it any more")
            return
        self._reason, self._speed, self._state = row["reason"], row["speed"], row["state"]
