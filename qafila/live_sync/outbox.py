"""What live sync may rely on: which changes a snapshot shows, and how far a generation is.

Sequences rise in the order in which transactions ask, not in the order in which they commit: a
reader that remembers the highest number it saw walks past what commits later with a lower one. So
a position here is no number. It is the snapshot of PostgreSQL up to which everything is applied:
a change is due when it is committed now and that snapshot does not show it. Whatever the order of
commits, each committed change is due in exactly one window.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from qafila.workload.phases import Phase

Place = tuple[int, int]  # transaction and sequence number: where in the outbox a change stands


@dataclass(frozen=True)
class Snapshot:
    """Which transactions were over at one moment: PostgreSQL's ``pg_snapshot``."""

    xmin: int
    xmax: int
    running: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Read what PostgreSQL prints: ``xmin:xmax:running,…``."""
        if not re.fullmatch(r"\d+:\d+:(\d+(,\d+)*)?", text):
            raise ValueError(f"{text!r} is no snapshot")
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, running.split(",") if running else [])))

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.running)))}"

    def shows(self, xid: int) -> bool:
        """Say whether this transaction was over when the snapshot was taken."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)


NOTHING = Snapshot(1, 1)  # shows no transaction at all


@dataclass(frozen=True)
class Change:
    """One row of the outbox. ``key`` is None for TRUNCATE: it is about every row."""

    xid: int
    seq: int
    key: tuple[str | None, ...] | None
    op: str

    @property
    def place(self) -> Place:
        return self.xid, self.seq


@dataclass(frozen=True)
class Position:
    """How far a generation is: all that ``seen`` shows is applied.

    A window that is being applied is all that ``window`` shows beyond that; of it, everything up
    to and with ``after`` is applied. ``line`` says whose numbers these are: the capture, the
    server, its timeline.
    """

    line: str
    seen: Snapshot
    window: Snapshot | None = None
    after: Place | None = None

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read what ``str`` wrote."""
        line, seen, window, after = text.split(" ")
        place = None if after == "-" else after.split(".")
        return cls(
            line,
            Snapshot.parse(seen),
            None if window == "-" else Snapshot.parse(window),
            None if place is None else (int(place[0]), int(place[1])),
        )

    def __str__(self) -> str:
        after = "-" if self.after is None else "{}.{}".format(*self.after)
        return f"{self.line} {self.seen} {self.window or '-'} {after}"

    def due(self, xid: int, seq: int) -> bool:
        """Say whether a committed change is still to be applied, in this window or a later one."""
        if self.seen.shows(xid):
            return False
        if self.window is not None and self.window.shows(xid):
            return self.after is None or (xid, seq) > self.after
        return True

    def opened(self, window: Snapshot) -> Position:
        """Return the position at the start of a window; one that is open stays."""
        return self if self.window is not None else replace(self, window=window)

    def past(self, changes: Sequence[Change], most: int) -> Position:
        """Return the position after a page of at most ``most`` changes of the open window.

        A page that is not full is the window's last.
        """
        assert self.window is not None
        if len(changes) < most:
            return Position(self.line, self.window)
        return replace(self, after=changes[-1].place)


def resume(stored: str, start: Position, line: str) -> tuple[Position, str]:
    """Return where to go on, and a note for the operator when that is not where it stopped.

    ``stored`` is the target's mark, empty before the first change; ``start`` was noted before the
    first row was read; ``line`` is the source's now. Of another line nothing is believed: numbers
    of before may have been given out again, so all that the outbox holds is applied once more,
    which changes nothing where it was applied.
    """
    position = Position.parse(stored) if stored else start
    if position.line == line:
        return position, ""
    return Position(line, NOTHING), (
        "the source is on another server or timeline than before (failover, restore): everything "
        "in the outbox is applied again; compare afterwards, since it may have lost transactions"
    )


def prune_before(positions: Iterable[Position]) -> int | None:
    """Return the transaction before which every change is applied everywhere; None: no position."""
    return min((p.seen.xmin for p in positions), default=None)


def keys_of(changes: Sequence[Change]) -> list[tuple[str, ...]]:
    """Return each key once, in the order of its first change; a NULL belongs to no document."""
    keys = (c.key for c in changes if c.key is not None)
    return list(dict.fromkeys(k for key in keys if (k := _whole(key)) is not None))


def _whole(key: tuple[str | None, ...]) -> tuple[str, ...] | None:
    parts = tuple(part for part in key if part is not None)
    return parts if len(parts) == len(key) else None


class Life(StrEnum):
    """What live sync owes a generation."""

    FED = "fed"
    KEPT = "kept"  # not loaded yet: the outbox keeps what it will need
    FORGOTTEN = "forgotten"


_WAITING = frozenset({Phase.REGISTERED, Phase.AUDITED, Phase.DESIGNED, Phase.BACKFILLING})
_ON_THE_WAY = frozenset({Phase.BACKFILLED, Phase.VALIDATED, Phase.DRILLED, Phase.CANARY})
_SERVED = frozenset({Phase.PROMOTED, Phase.SETTLED, Phase.CLEANED})


def lives(generations: Mapping[int, Phase], loaded: Iterable[int]) -> dict[int, Life]:
    """Return what is owed to each generation of a workload, by its number.

    Fed are: one that is loaded and on its way to users; the one that serves; the one that served
    before, until its successor is settled, so that going back loses no write; and one that was
    rolled back while it is the newest, since a person may send it on its way again.
    """
    ready, newest = set(loaded), max(generations, default=0)
    serving = sorted((n for n, p in generations.items() if p in _SERVED), reverse=True)
    fed = set(serving[:1])
    for later, earlier in pairwise(serving[:2]):
        if generations[later] is Phase.PROMOTED:
            fed.add(earlier)
    found = {}
    for number, phase in generations.items():
        may_return = phase is Phase.ROLLED_BACK and number == newest
        if number in fed or phase in _ON_THE_WAY or may_return:
            found[number] = Life.FED
        elif phase in _WAITING:
            found[number] = Life.FED if number in ready else Life.KEPT
        else:
            found[number] = Life.FORGOTTEN
    return found
