"""Where live sync of a workload stands: what is installed, who is fed, how far behind, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qafila.endpoints import Reach
from qafila.errors import QafilaError
from qafila.ledger.ledger import Connection
from qafila.live_sync.capture import open_database, read_installed, recorded
from qafila.live_sync.feeds import Feed, list_feeds, list_owed
from qafila.live_sync.outbox import Life
from qafila.live_sync.outbox_reader import Lag, Outbox
from qafila.workload.model import Workload


@dataclass(frozen=True)
class GenerationSync:
    """One generation; ``life`` is what it is owed of changes, ``fed`` whether it gets them.

    ``lag`` is None when nothing is kept for it.
    """

    generation: int
    life: str
    fed: bool
    lag: Lag | None
    applied_by: str
    changes: int
    documents: int
    rejected: int
    problem: str


@dataclass(frozen=True)
class LiveSync:
    """What is installed, with its faults; what the outbox holds, and who keeps it from going."""

    workload: str
    installed: bool
    faults: Sequence[str]
    table: str
    held_changes: int
    held_back_by: Sequence[str]
    generations: Sequence[GenerationSync]


def read_live_sync(
    ledger: Connection, workload: Workload, reach: Reach | None = None
) -> LiveSync | None:
    """Return where live sync stands; None when it was never asked for. Changes nothing."""
    known = recorded(ledger, workload.name)
    if known is None:
        return None
    capture, _ = known
    feeds = list_feeds(ledger, workload.name)
    with open_database(ledger, workload, reach) as database:
        try:
            faults = read_installed(database, capture)
        except QafilaError as error:
            faults = [error.what]
        there = faults is not None and not any("gone" in f or "somebody" in f for f in faults)
        outbox = Outbox(database, capture) if there else None
        told = [
            _generation(outbox, one.number, one.life, feeds.get(one.number))
            for one in list_owed(ledger, workload.name)
            if one.life is not Life.FORGOTTEN
        ]
        held = outbox.held() if outbox else 0
        writers = outbox.writers() if outbox and held else []
    return LiveSync(
        workload.name, faults is not None, tuple(faults or ()), capture.table, held, writers, told
    )


def _generation(
    outbox: Outbox | None, number: int, life: Life, feed: Feed | None
) -> GenerationSync:
    if feed is None:
        problem = "begun before changes were captured: reload it" if life is Life.FED else ""
        return GenerationSync(number, life.value, False, None, "", 0, 0, 0, problem)
    by = f"process {feed.holder_pid} on {feed.holder}" if feed.held else ""
    return GenerationSync(
        number,
        life.value,
        life is Life.FED,
        outbox.lag(feed.applied) if outbox else None,
        by,
        feed.changes,
        feed.documents,
        feed.rejected,
        feed.problem,
    )
