"""When a watchdog last looked, by the ledger's clock."""

from __future__ import annotations

import socket

from qafila.ledger.ledger import Connection
from qafila.sql import statement


def mark_watchdog(ledger: Connection, name: str | None = None) -> None:
    """Note that a watchdog has just looked; ``name`` tells several apart, else the machine's."""
    key = {"name": name or socket.gethostname()}
    ledger.execute(statement("status", "mark_watchdog"), key)


def watchdog_age(ledger: Connection) -> float | None:
    """Return how many seconds ago a watchdog looked, by the ledger's clock; None: never."""
    row = ledger.execute(statement("status", "watchdog_seen")).fetchone()
    return None if row is None or row[0] is None else float(row[0])
