"""The lease: the right to move a workload's weights, with a heartbeat and a rising epoch."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from qafila.errors import Refused, StaleEpoch, Unavailable
from qafila.ledger.ledger import Connection, open_ledger
from qafila.sql import statement

TTL_SECONDS = 5.0
MARK_SECONDS = 10.0
_BEAT_S = 1.0


@dataclass(frozen=True)
class LeaseRow:
    """What the ledger says about a lease; ``age_seconds`` is since the last heartbeat.

    ``beat`` is the heartbeat as the database wrote it: another one is a sign of life, whatever the
    database's clock says.
    """

    workload: str
    epoch: int
    holder: str | None
    holder_pid: int | None
    holder_run: str | None
    generation: int | None
    ttl_seconds: float
    age_seconds: float | None
    beat: str | None = None

    @property
    def lapsed(self) -> bool:
        return (
            self.holder is not None
            and self.age_seconds is not None
            and self.age_seconds > self.ttl_seconds
        )


def take_lease(
    ledger: Connection,
    workload: str,
    holder: str,
    *,
    generation: int | None = None,
    run_id: str | None = None,
    ttl_seconds: float = TTL_SECONDS,
    force: bool = False,
    above: int = 0,
) -> int:
    """Take the lease and return its epoch; ``force`` takes it from whoever holds it (rollback).

    The epoch is higher than every one before and than ``above``: the router's own, so that no two
    holders ever write to it with the same one, also where a ledger was set up anew.

    Raises:
        Refused: somebody else holds it and is alive.
    """
    row = ledger.execute(
        statement("ledger", "take_lease"),
        {
            "workload": workload,
            "holder": holder,
            "pid": os.getpid(),
            "run": run_id,
            "generation": generation,
            "ttl": ttl_seconds,
            "force": force,
            "above": above,
        },
    ).fetchone()
    if row is None:
        held = read_lease(ledger, workload)
        who = held.holder if held else "somebody"
        age = held.age_seconds if held and held.age_seconds is not None else 0.0
        raise Refused(
            f"{who} holds the lease of {workload} and was alive {age:.1f} s ago.",
            kept="all weights.",
            remedy=f"wait for it to end, or take everything back: qafila rollback {workload}",
        )
    return int(row[0])


def beat_lease(ledger: Connection, workload: str, holder: str, epoch: int) -> None:
    """Renew the heartbeat.

    Raises:
        StaleEpoch: somebody else took the lease.
    """
    key = {"workload": workload, "holder": holder, "epoch": epoch}
    if ledger.execute(statement("ledger", "beat_lease"), key).fetchone() is None:
        raise StaleEpoch(f"the lease of {workload} (epoch {epoch}) was taken from {holder}.")


def release_lease(ledger: Connection, workload: str, epoch: int) -> None:
    """Give the lease back; harmless when it is not ours any more."""
    ledger.execute(statement("ledger", "release_lease"), {"workload": workload, "epoch": epoch})


def read_lease(ledger: Connection, workload: str) -> LeaseRow | None:
    """Return the lease's row, if the workload ever had one."""
    with ledger.cursor(row_factory=class_row(LeaseRow)) as cursor:
        return cursor.execute(statement("ledger", "read_lease"), {"workload": workload}).fetchone()


def lapsed_leases(ledger: Connection) -> list[LeaseRow]:
    """Return the leases that are held without a sign of life."""
    with ledger.cursor(row_factory=class_row(LeaseRow)) as cursor:
        return cursor.execute(statement("ledger", "lapsed_leases")).fetchall()


def held_leases(ledger: Connection) -> list[LeaseRow]:
    """Return every lease that somebody holds, alive or not."""
    with ledger.cursor(row_factory=class_row(LeaseRow)) as cursor:
        return cursor.execute(statement("ledger", "held_leases")).fetchall()


class Heart:
    """Beats a lease once a second in the background; ``lost`` is set when it is not ours any more.

    Lost is also: no beat got through for ``ttl_seconds`` (a ledger that hangs, not only one that
    refuses), and, with ``mark_within_s``, its owner's work gave no ``mark`` for that long: a holder
    that hangs may not go on holding. All by this process's monotonic clock, which never jumps.
    """

    def __init__(
        self,
        workload: str,
        holder: str,
        epoch: int,
        ledger_address: str | None,
        *,
        ttl_seconds: float = TTL_SECONDS,
        mark_within_s: float | None = None,
    ) -> None:
        self.epoch = epoch
        self.lost = threading.Event()
        self._stop = threading.Event()
        self._key = (workload, holder, epoch)
        self._address = ledger_address
        self._ttl_s, self._mark_within_s = ttl_seconds, mark_within_s
        self._beaten = self._marked = time.monotonic()
        self._threads = [
            threading.Thread(
                target=copy_context().run, args=(run,), name=f"{name} {workload}", daemon=True
            )
            for run, name in ((self._beat, "heart"), (self._watch, "pulse"))
        ]

    def mark(self) -> None:
        """Say that the work goes on; its owner calls this with every look or step."""
        self._marked = time.monotonic()

    def start(self) -> None:
        """Begin to beat."""
        self._beaten = self._marked = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop beating; the lease itself stays."""
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    def is_overdue(self, now: float) -> bool:
        """Say whether the lease is lost at this time of the monotonic clock, in seconds."""
        silent = now - self._beaten > self._ttl_s
        hangs = self._mark_within_s is not None and now - self._marked > self._mark_within_s
        return silent or hangs

    def _beat(self) -> None:
        workload, holder, epoch = self._key
        try:
            with open_ledger(self._address) as ledger:
                while not self._stop.wait(_BEAT_S) and not self.lost.is_set():
                    asked = time.monotonic()
                    beat_lease(ledger, workload, holder, epoch)
                    self._beaten = asked
        except (StaleEpoch, Unavailable, psycopg.Error):
            self.lost.set()

    def _watch(self) -> None:
        while not self._stop.wait(0.1) and not self.lost.is_set():
            if self.is_overdue(time.monotonic()):
                self.lost.set()


@contextmanager
def held_lease(
    ledger: Connection,
    workload: str,
    holder: str,
    *,
    generation: int | None = None,
    run_id: str | None = None,
    ledger_address: str | None = None,
    ttl_seconds: float = TTL_SECONDS,
    force: bool = False,
    above: int = 0,
    must_mark: bool = False,
    mark_within_s: float | None = None,
) -> Iterator[Heart]:
    """Hold the lease for the block, beating once a second; release it at the end.

    With ``must_mark`` the block calls ``heart.mark()`` at least every ``mark_within_s`` seconds
    (none: ``MARK_SECONDS``), or it loses the lease: a process that lives but hangs is as bad as a
    dead one. ``above`` is the router's epoch.

    Raises:
        Refused: somebody else holds it and is alive.
    """
    epoch = take_lease(
        ledger,
        workload,
        holder,
        generation=generation,
        run_id=run_id,
        ttl_seconds=ttl_seconds,
        force=force,
        above=above,
    )
    within = (mark_within_s or MARK_SECONDS) if must_mark else None
    heart = Heart(
        workload, holder, epoch, ledger_address, ttl_seconds=ttl_seconds, mark_within_s=within
    )
    heart.start()
    try:
        yield heart
    finally:
        heart.stop()
        with suppress(psycopg.Error):  # a ledger that is down: it lapses, and the block's own error
            release_lease(ledger, workload, epoch)  # is what has to be read
