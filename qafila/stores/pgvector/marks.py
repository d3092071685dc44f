"""Checkpoints in PostgreSQL: a row a shard beside the data, moved in the batch's own transaction.

Who moves a mark locks its row and names the epoch that it believes in. So a stale writer's
statement matches nothing, its transaction is undone, and nothing of its batch stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from qafila.errors import Refused, StaleEpoch
from qafila.sql import statement
from qafila.stores.port import Checkpoint, Place, SyncMark


class Marks:
    """The checkpoints of one generation; the caller owns the connection and the transactions."""

    def __init__(self, connection: psycopg.Connection[Any], place: Place) -> None:
        self._connection = connection
        self._place = place
        self._key = {"workload": place.workload, "generation": place.generation}

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        """Raise the epoch of a shard and return its checkpoint.

        Raises:
            StaleEpoch: this epoch or a newer one has claimed it already.
            Refused: the shard was begun with another fingerprint.
        """
        values = {"shard": shard, "epoch": epoch, "fingerprint": self._place.fingerprint}
        row = self._one("claim_shard", values)
        if row is not None:
            return Checkpoint(shard, epoch, row[0], int(row[1]), int(row[2]), row[3])
        held = self._one("read_checkpoint", values)
        assert held is not None
        if held[1] != self._place.fingerprint:
            raise Refused(
                f"shard {shard} was begun with fingerprint {held[1]}, we would write "
                f"{self._place.fingerprint}: two models would mix.",
                kept="all rows as they are.",
                remedy="open a new generation.",
            )
        raise StaleEpoch(f"shard {shard} is at epoch {held[0]}, we came with {epoch}.")

    def lock(self, mark: Checkpoint) -> None:
        """Hold a shard's checkpoint until the transaction ends.

        Raises:
            StaleEpoch: the shard was claimed by a newer epoch.
        """
        if self._one("lock_checkpoint", {"shard": mark.shard, "epoch": mark.epoch}) is None:
            raise _taken(mark)

    def move(self, mark: Checkpoint) -> None:
        """Move a checkpoint, which commits with whatever else the transaction writes.

        The commit of a finished one is on the disk when it returns, and so is all before it.

        Raises:
            StaleEpoch: the shard was claimed by a newer epoch.
        """
        if mark.finished:
            self._connection.execute(statement("pgvector", "wait_for_disk"))
        values = {
            "shard": mark.shard,
            "epoch": mark.epoch,
            "last_key": Jsonb(mark.last_key),
            "rows": mark.rows,
            "chunks": mark.chunks,
            "finished": mark.finished,
        }
        if self._one("move_checkpoint", values) is None:
            raise _taken(mark)

    def claim_sync(self, epoch: int) -> SyncMark:
        """Raise the epoch of live sync and return its mark.

        Raises:
            StaleEpoch: this epoch or a newer one has claimed it already.
        """
        row = self._one("claim_sync", {"epoch": epoch})
        if row is None:
            raise StaleEpoch(f"live sync of {self._place.name} is past epoch {epoch}.")
        return SyncMark(epoch, row[0])

    def move_sync(self, mark: SyncMark) -> None:
        """Move the mark of live sync, which commits with whatever else the transaction writes.

        Raises:
            StaleEpoch: a newer epoch has claimed it.
        """
        if self._one("move_sync", {"epoch": mark.epoch, "position": mark.position}) is None:
            raise StaleEpoch(f"live sync of {self._place.name} was claimed by a newer epoch.")

    def forget(self) -> None:
        """Delete all marks of the generation. Cannot be undone."""
        for name in ("forget_checkpoints", "forget_sync"):
            self._connection.execute(statement("pgvector", name), self._key)

    def _one(self, name: str, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        query = statement("pgvector", name)
        return self._connection.execute(query, {**self._key, **values}).fetchone()


def _taken(mark: Checkpoint) -> StaleEpoch:
    return StaleEpoch(f"shard {mark.shard} was claimed by a newer epoch.")
