"""Read the outbox: windows of committed changes, what is due, and what may go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from qafila.errors import Refused
from qafila.live_sync.capture import Capture
from qafila.live_sync.outbox import Change, Position, Snapshot
from qafila.sql import statement

_PRUNE_BITE = 10_000


@dataclass(frozen=True)
class Lag:
    """What is committed in the source and not applied; seconds since its oldest change was written.

    That change was committed later than it was written, so the lag is never longer than this.
    """

    changes: int
    seconds: float


class Outbox:
    """The outbox of one workload. The caller owns the connection; autocommit."""

    def __init__(self, database: psycopg.Connection[Any], capture: Capture) -> None:
        self._database = database
        self._capture = capture

    def moment(self) -> tuple[Snapshot, str]:
        """Return what is committed now, and the line of its numbers."""
        try:
            row = self._database.execute(statement("outbox", "moment")).fetchone()
            assert row is not None
            text, system, timeline = row
        except errors.FeatureNotSupported:  # a cloud's PostgreSQL that has no log of its own
            row = self._database.execute("SELECT pg_current_snapshot()::text").fetchone()
            assert row is not None
            text, system, timeline = row[0], "unknown", "0"
        return Snapshot.parse(text), f"{self._capture.token}:{system}:{timeline}"

    def settle(self) -> None:
        """Make durable what every moment before this call shows.

        Before a position is kept, or a crash could give its numbers to other transactions.
        """
        with self._database.transaction():
            self._database.execute("SET LOCAL synchronous_commit = local")
            self._database.execute(statement("outbox", "flush"))

    def start(self) -> Position:
        """Return a position before which everything is committed and durable."""
        now, line = self.moment()
        self.settle()
        return Position(line, now)

    def read(self, position: Position, most: int) -> list[Change]:
        """Return the next changes of the open window, in order; fewer than ``most``: the last."""
        assert position.window is not None
        xid, seq = position.after or (None, None)
        rows = self._run(
            "read_changes",
            low=position.seen.xmin,
            seen=str(position.seen),
            window=str(position.window),
            after_xid=xid,
            after_seq=seq,
            limit=most,
        ).fetchall()
        return [
            Change(xid, seq, None if key is None else tuple(key), op) for xid, seq, key, op in rows
        ]

    def lag(self, position: Position, until: Snapshot | None = None) -> Lag:
        """Return what is not applied at this position; with ``until``, of what it shows."""
        xid, seq = position.after or (None, None)
        row = self._run(
            "lag",
            low=position.seen.xmin,
            seen=str(position.seen),
            window=None if position.window is None else str(position.window),
            after_xid=xid,
            after_seq=seq,
            until=None if until is None else str(until),
        ).fetchone()
        assert row is not None
        return Lag(int(row[0]), max(0.0, float(row[1])))

    def require_line(self, now: Snapshot) -> None:
        """Return when every number in the outbox is one that this server has given out.

        Raises:
            Refused: it came with a restore onto another server.
        """
        if self._run("later_than", xmax=now.xmax).fetchone() is not None:
            raise Refused(
                f"the outbox {self._capture.schema} holds transactions that this server has not "
                "begun yet: it was restored from another one.",
                kept="every generation as it is.",
                remedy=f"qafila live-sync remove {self._capture.workload} --force; then install it "
                "again and reload a generation.",
            )

    def held(self) -> int:
        """Return how many changes the outbox holds, applied or not."""
        row = self._run("held_changes").fetchone()
        assert row is not None
        return int(row[0])

    def prune(self, before: int) -> int:
        """Delete the changes of transactions before this one; return how many."""
        pruned = 0
        while True:
            bite = self._run("prune", before=before, limit=_PRUNE_BITE).rowcount
            pruned += bite
            if bite < _PRUNE_BITE:
                return pruned

    def writers(self, seconds: float = 60.0) -> Sequence[str]:
        """Return transactions that have written and stay open: nothing after them is pruned."""
        rows = self._database.execute(
            statement("outbox", "oldest_writers"), {"seconds": seconds}
        ).fetchall()
        return [told for (told,) in rows]

    def _run(self, name: str, **values: Any) -> psycopg.Cursor[Any]:
        query = sql.SQL(statement("outbox", name)).format(outbox=self._capture.outbox)
        return self._database.execute(query, values)
