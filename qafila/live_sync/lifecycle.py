"""Begin and end live sync of a workload: ledger first, then the source, and back in turn."""

from __future__ import annotations

from dataclasses import replace

from qafila.endpoints import Reach
from qafila.errors import Refused
from qafila.ledger.ledger import Connection, Generation
from qafila.live_sync import capture as source_side
from qafila.live_sync.capture import Capture, open_database
from qafila.live_sync.feeds import (
    capture_positions,
    list_feeds,
    list_owed,
    never_captured,
    open_feed,
)
from qafila.live_sync.outbox import Life
from qafila.live_sync.outbox_reader import Outbox
from qafila.sql import statement
from qafila.stores.brief_lock import PATIENCE, Patience
from qafila.workload.model import Workload


def ensure_capture(
    ledger: Connection,
    workload: Workload,
    generation: Generation | None = None,
    *,
    emptied: bool = False,
    reach: Reach | None = None,
    patience: Patience = PATIENCE,
) -> Capture | None:
    """Capture the changes of a workload's source from now on; None when it does not ask for it.

    Call it before the first row of ``generation`` is read, and again on every resume: the first
    start stays. ``emptied``: the generation was emptied just now, so that its changes begin anew.
    Idempotent by workload and generation.

    Raises:
        BadInput: the table cannot be captured; names every problem.
        Refused: it was captured before and is not any more, or the generation was begun before.
        Unavailable: the table was never free for a moment.
    """
    if not workload.corpus.live_sync:
        return None
    capture = source_side.record(ledger, source_side.wanted(workload))
    with open_database(ledger, workload, reach) as database:
        feeds = list_feeds(ledger, workload.name)
        installed = source_side.read_installed(database, capture)
        if installed is None and feeds and not emptied:
            source_side.require_installed(database, capture)  # raises: it was, and is gone
        source_side.install(database, capture, patience)
        if generation is not None and (emptied or generation.number not in feeds):
            owed = {one.number: one for one in list_owed(ledger, workload.name)}
            if owed[generation.number].begun and not emptied:
                raise never_captured(generation)
            start = Outbox(database, capture).start()
            open_feed(ledger, generation, start, emptied=emptied)
    return capture


def plan_capture(
    ledger: Connection, workload: Workload, reach: Reach | None = None
) -> tuple[list[str], str]:
    """Return what stands in the way of capturing, and the statements that would run.

    Changes nothing.
    """
    known = source_side.recorded(ledger, workload.name)
    wanted = source_side.wanted(workload)
    capture = replace(wanted, token=known[0].token if known else "chosen-when-installed")
    with open_database(ledger, workload, reach) as database:
        return source_side.problems(database, capture), source_side.script(database, capture)


def remove_capture(
    ledger: Connection,
    workload: Workload,
    *,
    force: bool = False,
    reach: Reach | None = None,
    patience: Patience = PATIENCE,
) -> bool:
    """End live sync and leave the source as it was; False when there was none. Idempotent.

    Raises:
        Refused: a generation still needs it, and ``force`` is not given.
        Unavailable: the table was never free for a moment.
    """
    known = source_side.recorded(ledger, workload.name)
    if known is None:
        return False
    capture, _ = known
    owed, feeds = capture_positions(ledger, workload.name)
    living = [str(o.number) for o in owed if o.number in feeds and o.life is not Life.FORGOTTEN]
    if living and not force:
        raise Refused(
            f"generation {', '.join(living)} of {workload.name} is alive: without live sync it "
            "misses what is written from now on, and going back to it loses those writes.",
            kept="the capture, and every generation.",
            remedy=f"end it first; or accept that: qafila live-sync remove {workload.name} --force",
        )
    with open_database(ledger, _at(workload, capture), reach) as database:
        source_side.uninstall(database, capture, patience)
    ledger.execute(
        statement("outbox", "forget_live_sync"),
        {"workload": workload.name, "token": capture.token},
    )
    return True


def _at(workload: Workload, capture: Capture) -> Workload:
    """Return the workload with the source's connection that the capture was made over."""
    source = workload.corpus.source
    if getattr(source, "block", None) == capture.block and source.kind == "postgres":
        return workload
    described = {
        "kind": "postgres",
        "block": capture.block,
        "table": capture.table,
        "key": list(capture.key),
        "text": list(capture.key),
    }
    spec = workload.model_dump()
    spec["corpus"]["source"] = described
    return Workload.model_validate(spec)
