"""Feeds in the ledger: one a generation, with one applier at a time, an epoch and a sign of life.

The lease only saves work. What protects the rows is the epoch in the target: whoever was taken over
cannot write there any more (``VectorStore.claim_sync``).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
from psycopg.rows import class_row

from qafila.backfill.generations import fingerprint_of
from qafila.backfill.load import put_dead_letter
from qafila.errors import QafilaError, Refused, StaleEpoch
from qafila.ledger.ledger import Connection, Generation, open_ledger, read_workload
from qafila.live_sync.capture import Capture
from qafila.live_sync.outbox import Life, Position, lives
from qafila.sql import statement
from qafila.stores.port import Chunk
from qafila.workload.model import Workload
from qafila.workload.phases import Phase

TTL_SECONDS = 10.0
_BEAT_SECONDS = 1.0


class FedElsewhere(Refused):
    """Another process applies changes to this generation and is alive."""


@dataclass(frozen=True)
class Feed:
    """The row of one feed; ``age_seconds`` is since its holder's last sign of life."""

    generation: int
    start: str
    position: str
    epoch: int
    holder: str | None
    holder_pid: int | None
    holder_run: str | None
    age_seconds: float | None
    changes: int
    documents: int
    chunks: int
    rejected: int
    problem: str

    @property
    def applied(self) -> Position:
        """Return how far it is for sure; the target may be further."""
        return Position.parse(self.position or self.start)

    @property
    def held(self) -> bool:
        """Say whether somebody applies and gave a sign of life."""
        return self.holder is not None and (self.age_seconds or 0.0) <= TTL_SECONDS


@dataclass(frozen=True)
class Owed:
    """A generation as live sync sees it. ``begun``: some row of it may have been read."""

    number: int
    life: Life
    loaded: bool
    begun: bool


def list_feeds(ledger: Connection, workload: str) -> dict[int, Feed]:
    """Return every feed of a workload by the generation's number."""
    with ledger.cursor(row_factory=class_row(Feed)) as cursor:
        rows = cursor.execute(statement("outbox", "list_feeds"), {"workload": workload}).fetchall()
    return {feed.generation: feed for feed in rows}


def list_owed(ledger: Connection, workload: str) -> list[Owed]:
    """Return every generation of a workload with what is owed to it."""
    rows = ledger.execute(statement("outbox", "generations"), {"workload": workload}).fetchall()
    loaded = {number for number, _, whole, _ in rows if whole}
    life = lives({number: Phase(phase) for number, phase, _, _ in rows}, loaded)
    return [Owed(number, life[number], whole, begun) for number, _, whole, begun in rows]


def open_feed(
    ledger: Connection, generation: Generation, start: Position, *, emptied: bool = False
) -> None:
    """Note where the changes of a generation begin, before its first row is read.

    Idempotent: the first start stays, unless the generation was emptied since.
    """
    ledger.execute(
        statement("outbox", "open_feed"),
        {**_key(generation), "start": str(start), "emptied": emptied},
    )


def forget_feed(ledger: Connection, workload: str, number: int) -> None:
    """Forget a generation that ended; the outbox need not keep anything for it."""
    key = {"workload": workload, "generation": number}
    ledger.execute(statement("outbox", "forget_feed"), key)


def meaning_at(ledger: Connection, generation: Generation) -> Workload:
    """Return a workload that means what this generation holds: as it stands, or as it was then.

    Raises:
        Refused: neither does, since a library or a model has changed.
    """
    now, _ = read_workload(ledger, generation.workload)
    if _means(now, generation):
        return now
    row = ledger.execute(
        statement("outbox", "workload_at"),
        {"workload": generation.workload, "revision": generation.revision},
    ).fetchone()
    assert row is not None
    then = Workload.model_validate(row[0])
    if _means(then, generation):
        return then
    raise Refused(
        f"generation {generation.number} of {generation.workload} was made by another version of "
        "its model or chunker than this installation has: two of them would mix.",
        kept="its rows as they are, and the changes in the outbox.",
        remedy="run live-sync with the former version installed; or let that generation end.",
    )


def _means(workload: Workload, generation: Generation) -> bool:
    # a bridge copies an index, which is no table that changes can be captured of
    bridge = workload.corpus.bridge is not None
    return not bridge and fingerprint_of(workload).digest == generation.fingerprint


class Held:
    """A feed that is ours for now; ``check`` raises when it was taken."""

    def __init__(self, generation: Generation, epoch: int, start: Position) -> None:
        self.epoch = epoch
        self.start = start
        self._generation = generation
        self.problem = ""
        self._key = {**_key(generation), "epoch": epoch}
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="feed", daemon=True
        )

    def check(self) -> None:
        """Return while the feed is ours.

        Raises:
            StaleEpoch: somebody else took it.
        """
        if self._lost:
            raise self._stale()

    def move(
        self,
        ledger: Connection,
        position: Position,
        *,
        changes: int,
        documents: int,
        chunks: int,
        rejected: int,
    ) -> None:
        """Note what the target has committed.

        Raises:
            StaleEpoch: somebody else took the feed.
        """
        values = {
            **self._key,
            "position": str(position),
            "changes": changes,
            "documents": documents,
            "chunks": chunks,
            "rejected": rejected,
        }
        if ledger.execute(statement("outbox", "move_feed"), values).fetchone() is None:
            raise self._stale()

    def set_aside(
        self, ledger: Connection, keys: Sequence[str], rejected: Sequence[tuple[Chunk, str]]
    ) -> None:
        """Make ``rejected`` all the dead letters that there are of these documents.

        Raises:
            StaleEpoch: somebody else took the feed; nothing is changed.
        """
        with ledger.transaction():
            if ledger.execute(statement("outbox", "lock_feed"), self._key).fetchone() is None:
                raise self._stale()
            ledger.execute(
                statement("outbox", "forget_dead_letters_of"), {**self._key, "keys": list(keys)}
            )
            for chunk, reason in rejected:
                put_dead_letter(ledger, self._generation, chunk.source_key, chunk.number, reason)

    def _stale(self) -> StaleEpoch:
        self._lost = True
        return StaleEpoch(
            f"live sync of generation {self._key['generation']} was taken over by another process.",
            kept="what is applied; the other one goes on there.",
        )

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with open_ledger() as ledger:
                    while not self._ended.wait(_BEAT_SECONDS):
                        beaten = ledger.execute(statement("outbox", "beat_feed"), self._key)
                        if beaten.fetchone() is None:
                            self._lost = True
                            return
            except (psycopg.Error, QafilaError):
                self._ended.wait(_BEAT_SECONDS)


@contextmanager
def holding_feed(
    ledger: Connection, generation: Generation, run_id: str | None = None
) -> Iterator[Held]:
    """Be the one applier of a generation for the block.

    Raises:
        FedElsewhere: another process is, and is alive.
        Refused: the generation has no feed: it was loaded before changes were captured.
    """
    row = ledger.execute(
        statement("outbox", "take_feed"),
        {
            **_key(generation),
            "holder": socket.gethostname(),
            "pid": os.getpid(),
            "run": run_id,
            "ttl": TTL_SECONDS,
            "alive": psutil.pids(),
        },
    ).fetchone()
    if row is None:
        raise _why_not(ledger, generation)
    held = Held(generation, int(row[0]), Position.parse(row[1]))
    held._thread.start()
    try:
        yield held
    except QafilaError as error:
        held.problem = error.what
        raise
    finally:
        held._ended.set()
        held._thread.join(5)
        values = {**held._key, "problem": held.problem}
        ledger.execute(statement("outbox", "leave_feed"), values)


def _why_not(ledger: Connection, generation: Generation) -> Refused:
    feed = list_feeds(ledger, generation.workload).get(generation.number)
    if feed is None:
        return never_captured(generation)
    run = f", flow run {feed.holder_run}" if feed.holder_run else ""
    return FedElsewhere(
        f"generation {generation.number} of {generation.workload} is fed by process "
        f"{feed.holder_pid} on {feed.holder}{run}, alive {feed.age_seconds or 0.0:.1f} s ago.",
        kept="that one goes on.",
        remedy=f"qafila live-sync status {generation.workload}",
    )


def never_captured(generation: Generation) -> Refused:
    """Return the refusal of a generation of which some changes were never captured."""
    return Refused(
        f"generation {generation.number} of {generation.workload} was begun before the changes of "
        "its source were captured; some may have been missed.",
        kept="its rows as they are; nothing is applied.",
        remedy=f"qafila run embedding-backfill {generation.workload} --set reload=true",
    )


def capture_positions(ledger: Connection, workload: str) -> tuple[list[Owed], dict[int, Feed]]:
    """Return what is owed, and the feeds of what has not ended; forget the others."""
    owed, feeds = list_owed(ledger, workload), list_feeds(ledger, workload)
    for one in owed:
        if one.life is Life.FORGOTTEN and one.number in feeds:
            forget_feed(ledger, workload, one.number)
            del feeds[one.number]
    return owed, feeds


def note_pruned(ledger: Connection, capture: Capture, before: int) -> None:
    """Note, before it happens, up to where the outbox is pruned; it only rises."""
    ledger.execute(
        statement("outbox", "note_pruned"),
        {"workload": capture.workload, "token": capture.token, "before": before},
    )


def _key(generation: Generation) -> dict[str, Any]:
    return {"workload": generation.workload, "generation": generation.number}
