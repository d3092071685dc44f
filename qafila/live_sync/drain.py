"""Bring one generation up to a moment, by ourselves or by waiting for whoever feeds it."""

from __future__ import annotations

import time
from collections.abc import Callable

from qafila.connections.postgres import connect_postgres
from qafila.endpoints import Reach, reach_of
from qafila.errors import Unavailable
from qafila.ledger.ledger import Connection, Generation
from qafila.live_sync.apply import Applied, open_applier
from qafila.live_sync.capture import require_installed
from qafila.live_sync.feeder import POLL_SECONDS, TAKEN, require_recorded
from qafila.live_sync.feeds import list_feeds, meaning_at, never_captured
from qafila.live_sync.outbox import Snapshot
from qafila.live_sync.outbox_reader import Outbox
from qafila.workload.model import Workload


def drain(
    ledger: Connection,
    workload: Workload,
    generation: Generation,
    *,
    until: Snapshot | None = None,
    reach: Reach | None = None,
    wait: Callable[[float], None] = time.sleep,
    patience_seconds: float = 600.0,
    run_id: str | None = None,
) -> Applied:
    """Return when everything committed before the call (or shown by ``until``) is applied.

    Applies it itself; when another process feeds the generation, waits until that one has.

    Raises:
        Refused: the capture is broken, or the generation is not loaded or was never captured.
        Unavailable: the other process did not get there in time.
    """
    capture, pruned_before = require_recorded(ledger, workload.name)
    meaning = meaning_at(ledger, generation)
    reach = reach or reach_of(ledger, meaning)
    assert reach.source is not None
    give_up = time.monotonic() + patience_seconds
    with connect_postgres(**reach.source) as database:
        require_installed(database, capture)
        outbox = Outbox(database, capture)
        until = until or outbox.moment()[0]
        while True:
            try:
                with open_applier(
                    ledger,
                    capture,
                    meaning,
                    generation,
                    pruned_before=pruned_before,
                    reach=reach,
                    wait=wait,
                    run_id=run_id,
                ) as applier:
                    return applier.step()
            except TAKEN as error:
                feed = list_feeds(ledger, workload.name).get(generation.number)
                if feed is None:
                    raise never_captured(generation) from error
                if not outbox.lag(feed.applied, until).changes:
                    return Applied()
                if time.monotonic() > give_up:
                    raise Unavailable(
                        f"another process feeds generation {generation.number} of {workload.name} "
                        f"and has not caught up in {patience_seconds:.0f} s.",
                        kept="what it has applied; it goes on.",
                        remedy=f"qafila live-sync status {workload.name}",
                    ) from error
                wait(POLL_SECONDS)
