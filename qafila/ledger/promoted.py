"""Which generation serves: the newest one that was promoted."""

from __future__ import annotations

from qafila.ledger.ledger import Connection
from qafila.sql import statement


def serving_generation(ledger: Connection, workload: str) -> int | None:
    """Return the newest generation that was promoted, if there is one."""
    row = ledger.execute(
        statement("drift", "serving_generation"), {"workload": workload}
    ).fetchone()
    return None if row is None else int(row[0])
