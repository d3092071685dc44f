"""What may be asked of a load while it runs, and who coordinates it.

One row a load in the ledger. Its holder coordinates; each worker reads it several times a second,
so that whatever is asked of the row is done within a second, wherever the worker runs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import psutil
from psycopg.rows import class_row

from qafila.backfill.patience import PatientLedger
from qafila.backfill.throttle import Speed
from qafila.errors import Refused, Unavailable
from qafila.ledger.ledger import Connection, Generation
from qafila.sql import statement
from qafila.text.masking import mask_text

HOLD_TTL_SECONDS = 10.0
_LEAVE_SECONDS = 5.0  # how long a load is left patiently
FULL = Speed(1.0)
Asked = Literal["running", "paused", "cancelled"]


@dataclass(frozen=True)
class Load:
    """The row of one load; ``age_seconds`` is since its coordinator's last sign of life."""

    state: str
    speed: float
    reason: str
    changed_by: str
    health_speed: float
    health_reason: str
    holder: str | None
    holder_pid: int | None
    holder_run: str | None
    epoch: int
    age_seconds: float | None

    def sentence(self) -> str:
        """Return what is asked of it and why: "loading", "paused by NAME: WHY", "at 50 %: WHY"."""
        why = f": {self.reason}" if self.reason else ""
        if self.state != "running":
            return f"{self.state} by {self.changed_by or 'somebody'}{why}"
        if self.speed < 1.0 and self.speed <= self.health_speed:
            return f"at {self.speed:.0%} of its speed, asked by {self.changed_by}{why}"
        if self.health_speed < 1.0:
            return f"at {self.health_speed:.0%} of its speed: {self.health_reason}"
        return "loading"

    @property
    def held(self) -> bool:
        """Say whether somebody coordinates it and gave a sign of life."""
        return (
            self.holder is not None
            and self.age_seconds is not None
            and self.age_seconds <= HOLD_TTL_SECONDS
        )


def read_load(ledger: Connection, generation: Generation) -> Load | None:
    """Return the row of a load; None before its first run."""
    with ledger.cursor(row_factory=class_row(Load)) as cursor:
        return cursor.execute(statement("backfill", "read_load"), _key(generation)).fetchone()


@contextmanager
def holding(
    ledger: PatientLedger, generation: Generation, run_id: str | None = None
) -> Iterator[int]:
    """Coordinate a load for the block; yield the epoch. Beat it with ``beat_load``.

    Raises:
        Refused: another run coordinates it and is alive; says which.
        Unavailable: the ledger was away for longer than two minutes.
    """
    epoch = ledger.ask(lambda connection: _hold(connection, generation, run_id))
    try:
        yield epoch
    finally:
        with suppress(Unavailable):  # a right that cannot be given back lapses by itself
            ledger.ask(
                lambda connection: connection.execute(
                    statement("backfill", "leave_load"), {**_key(generation), "epoch": epoch}
                ),
                patience_seconds=_LEAVE_SECONDS,
            )


def _hold(ledger: Connection, generation: Generation, run_id: str | None) -> int:
    me = {"holder": socket.gethostname(), "pid": os.getpid(), "run": run_id}
    row = ledger.execute(
        statement("backfill", "hold_load"),
        {**_key(generation), **me, "ttl": HOLD_TTL_SECONDS, "alive": psutil.pids()},
    ).fetchone()
    if row is not None:
        return int(row[0])
    held = read_load(ledger, generation)
    assert held is not None
    if run_id is not None and me == {
        "holder": held.holder,
        "pid": held.holder_pid,
        "run": held.holder_run,
    }:
        return held.epoch  # ours: the ledger went away after it had said yes
    age = held.age_seconds or 0.0
    run = f", flow run {held.holder_run}" if held.holder_run else ""
    raise Refused(
        f"generation {generation.number} of {generation.workload} is being loaded already, by "
        f"process {held.holder_pid} on {held.holder}{run}, alive {age:.1f} s ago.",
        kept="that load goes on.",
        remedy=f"watch it: qafila status {generation.workload}; or stop it: "
        f"qafila load cancel {generation.workload} --by NAME",
    )


def beat_load(ledger: Connection, generation: Generation, epoch: int, health: Speed = FULL) -> bool:
    """Give the coordinator's sign of life; False when somebody else coordinates by now."""
    key = {
        **_key(generation),
        "epoch": epoch,
        "health_speed": health.share,
        "health_reason": mask_text(health.reason),
    }
    return ledger.execute(statement("backfill", "beat_load"), key).fetchone() is not None


def ask_of_load(
    ledger: Connection,
    generation: Generation,
    *,
    state: Asked | None = None,
    speed: float | None = None,
    by: str,
    reason: str = "",
    epoch: int | None = None,
) -> None:
    """Pause a load, let it go on, stop it, or set its speed (a share of full speed, 0 < s <= 1).

    Raises:
        Refused: there is no load of this generation, or (with ``epoch``) it changed hands.
    """
    asked = ledger.execute(
        statement("backfill", "ask_of_load"),
        {
            **_key(generation),
            "state": state,
            "speed": speed,
            "by": by,
            "reason": reason,
            "epoch": epoch,
        },
    ).fetchone()
    if asked is None:
        raise Refused(
            f"generation {generation.number} of {generation.workload} is not being loaded.",
            remedy=f"qafila run embedding-backfill {generation.workload}",
        )


def _key(generation: Generation) -> dict[str, Any]:
    return {"workload": generation.workload, "generation": generation.number}
