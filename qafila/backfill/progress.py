"""How far a load is, read from the ledger: one set of numbers for artifact, bar and log."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from psycopg.rows import class_row

from qafila.ledger.ledger import Connection, Generation
from qafila.sql import statement


@dataclass(frozen=True)
class Progress:
    """Counts over all shards of a load; ``cost`` is in the budget's currency.

    ``waits_for`` says what its workers wait for beside the databases; empty where nothing.
    """

    shards: int
    shards_loaded: int
    shards_claimed: int
    rows_planned: int
    rows_loaded: int
    chunks_loaded: int
    copied: int
    reused: int
    embedded: int
    tokens: int
    cost: Decimal
    dead_letters: int
    errors: str | None
    waits_for: str = ""

    @property
    def share(self) -> float:
        """Return the share of the planned rows that are loaded, 0 to 1."""
        if self.shards_loaded == self.shards:
            return 1.0
        return min(1.0, self.rows_loaded / self.rows_planned) if self.rows_planned else 0.0

    @property
    def percent(self) -> float:
        """Return the share in percent, with one decimal place."""
        return round(100 * self.share, 1)


def read_progress(ledger: Connection, generation: Generation) -> Progress:
    """Return how far the load of a generation is."""
    key = {"workload": generation.workload, "generation": generation.number}
    with ledger.cursor(row_factory=class_row(Progress)) as cursor:
        progress = cursor.execute(statement("backfill", "load_progress"), key).fetchone()
    assert progress is not None
    return progress


def tell(progress: Progress, rate: float | None, state: str, currency: str) -> str:
    """Return the one steady line: done of all, rate, what it took, state with reason, estimate.

    ``rate`` is in rows a second, None while it is not known.
    """
    left = max(0, progress.rows_planned - progress.rows_loaded)
    parts = [f"{progress.rows_loaded}/{progress.rows_planned} rows"]
    if rate:
        parts.append(f"{rate:.0f} rows/s")
    if progress.copied or progress.reused:
        parts.append(
            f"{progress.copied} copied, {progress.reused} reused, {progress.embedded} embedded"
        )
    if progress.cost:
        parts.append(f"{progress.tokens} tokens, {progress.cost:.2f} {currency}")
    if progress.dead_letters:
        parts.append(f"{progress.dead_letters} dead letters")
    parts.append(state)
    if progress.waits_for:
        parts.append(f"waits for {progress.waits_for}")
    if rate and left:
        parts.append(f"about {left / rate:.0f} s left")
    return " · ".join(parts)
