"""Change a table that is in use, without ever letting its readers queue up behind us.

An ALTER TABLE needs a lock that excludes everybody. While it waits for one long transaction, every
later reader waits behind it. So it waits for milliseconds only, lets everybody pass, and comes
again after a moment that chance decides, until it is done or its time is over.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from qafila.errors import Unavailable
from qafila.sql import statement

T = TypeVar("T")
_CALM_MS = 3_000  # above deadlock_timeout (1 s): past it, PostgreSQL ends an autovacuum for us


@dataclass(frozen=True)
class Patience:
    """How long one attempt may make others wait, and how long we go on trying."""

    wait_ms: int = 25
    total_seconds: float = 30.0
    pause_seconds: tuple[float, float] = (0.05, 0.4)


PATIENCE = Patience()


def change_briefly(
    connection: psycopg.Connection[Any],
    table: sql.Identifier,
    change: Callable[[], T],
    *,
    what: str,
    patience: Patience = PATIENCE,
) -> T:
    """Run ``change`` in a transaction of its own that never waits long for the table.

    Each attempt first takes the lock that only vacuum, index builds and other changes of the table
    take, and may wait for that: it holds up no reader and no writer. The waits inside ``change``
    are then bounded by ``patience.wait_ms``. All of an attempt is undone when it fails.

    Raises:
        Unavailable: the table was never free; names who holds it. Nothing was changed.
    """
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        raise ValueError("change_briefly needs a connection without an open transaction")
    begun = time.monotonic()
    attempts = 0
    while True:
        attempts += 1
        try:
            with connection.transaction():
                _wait_at_most(connection, _CALM_MS)
                connection.execute(
                    sql.SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE").format(table)
                )
                _wait_at_most(connection, patience.wait_ms)
                return change()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            left = patience.total_seconds - (time.monotonic() - begun)
            if left <= 0:
                holders = _holders(connection, table)
                raise Unavailable(
                    f"{what} needs table {table.as_string().replace(chr(34), '')} for a moment; "
                    f"in {attempts} attempts over {time.monotonic() - begun:.0f} s it was never "
                    f"free. Held by: {holders}.",
                    kept="everything; no attempt left anything behind.",
                    remedy="let that transaction end, or end it: SELECT pg_terminate_backend(PID); "
                    "then again.",
                ) from error
            time.sleep(min(max(left, 0.001), random.uniform(*patience.pause_seconds)))


def _wait_at_most(connection: psycopg.Connection[Any], milliseconds: int) -> None:
    connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{milliseconds}ms"])


def _holders(connection: psycopg.Connection[Any], table: sql.Identifier) -> str:
    rows = connection.execute(
        statement("column", "holders"), {"table": table.as_string()}
    ).fetchall()
    told = [f"process {pid} ({name}) for {seconds:.0f} s" for pid, name, seconds in rows]
    return ", ".join(told) or "nobody now"
