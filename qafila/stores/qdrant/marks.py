"""Checkpoints in Qdrant: one point a shard, moved by conditional updates alone.

A mark changes only where a filter finds the epoch that the writer believes in, in one request that
the server evaluates and applies as one operation on one point. Qdrant does not say how many points
it changed, so every change is read back before anybody relies on it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from qdrant_client import QdrantClient, models

from qafila.connections.qdrant_faults import asking_qdrant, require_completed
from qafila.errors import BackfillHalted, Refused, StaleEpoch
from qafila.stores.port import Checkpoint, Place, SyncMark

_SYNC = 2**63 - 1  # the id of live sync's mark; shards count from 0
OWNER = 2**63 - 2  # the id of the point that says which ledger owns the generation
_NEVER = models.Filter(must=[models.FieldCondition(key="epoch", range=models.Range(lt=0))])
# every replica applies in the leader's order, and a read asks more than one of them
_ORDER = models.WriteOrdering.STRONG
_CONSISTENCY = models.ReadConsistencyType.MAJORITY


def checkpoint_collection(name: str) -> str:
    """Return the name of the collection with the checkpoints of the generation in another."""
    return f"{name}_checkpoint"


def no_point() -> models.Filter:
    """Return the condition that no mark meets: what is there stays, what is not is created."""
    return _NEVER


class Marks:
    """The checkpoints of one generation, in a collection of their own with a single shard."""

    def __init__(self, client: QdrantClient, place: Place) -> None:
        self._client = client
        self._place = place
        self.collection = checkpoint_collection(place.name)

    def prepare(self) -> None:
        """Create the collection; harmless when it is there."""
        with asking_qdrant(f"creating {self.collection}"):
            if not self._client.collection_exists(self.collection):
                self._client.create_collection(
                    self.collection,
                    vectors_config=models.VectorParams(size=1, distance=models.Distance.DOT),
                    shard_number=1,
                )

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        """Raise the epoch of a shard and return its checkpoint.

        Raises:
            StaleEpoch: this epoch or a newer one has claimed it already.
            Refused: the shard was begun with another fingerprint.
        """
        held = self._raise_epoch(shard, epoch, {"fingerprint": self._place.fingerprint})
        if held["fingerprint"] != self._place.fingerprint:
            raise Refused(
                f"shard {shard} was begun with fingerprint {held['fingerprint']}, we would write "
                f"{self._place.fingerprint}: two models would mix.",
                kept="all points as they are.",
                remedy="open a new generation.",
            )
        if not held["ours"]:
            raise StaleEpoch(f"shard {shard} is at epoch {held['epoch']}, we came with {epoch}.")
        return _checkpoint(shard, held)

    def require(self, mark: Checkpoint) -> None:
        """Refuse a writer whose shard was claimed by another epoch."""
        held = self._read(mark.shard)
        if held is None or held["epoch"] != mark.epoch:
            raise StaleEpoch(f"shard {mark.shard} was claimed by a newer epoch.")

    def move(self, mark: Checkpoint) -> None:
        """Move a checkpoint and see that it moved.

        Raises:
            StaleEpoch: the shard was claimed by a newer epoch; the checkpoint stayed.
            BackfillHalted: the server confirmed the move and does not show it.
        """
        wanted = {
            "last_key": json.dumps(mark.last_key),
            "rows": mark.rows,
            "chunks": mark.chunks,
            "finished": mark.finished,
        }
        held = self._set(mark.shard, mark.epoch, wanted)
        if held is None or held["epoch"] != mark.epoch:
            raise StaleEpoch(f"shard {mark.shard} was claimed by a newer epoch.")
        self._require_kept(f"the checkpoint of shard {mark.shard}", held, wanted)

    def claim_sync(self, epoch: int) -> SyncMark:
        """Raise the epoch of live sync and return its mark."""
        held = self._raise_epoch(_SYNC, epoch, {"position": ""})
        if not held["ours"]:
            raise StaleEpoch(f"live sync is at epoch {held['epoch']}, we came with {epoch}.")
        return SyncMark(epoch, held["position"])

    def require_sync(self, mark: SyncMark) -> None:
        """Refuse a live sync that a newer epoch has taken over."""
        held = self._read(_SYNC)
        if held is None or held["epoch"] != mark.epoch:
            raise StaleEpoch("live sync of this generation was claimed by a newer epoch.")

    def move_sync(self, mark: SyncMark) -> None:
        """Move the mark of live sync and see that it moved."""
        wanted = {"position": mark.position}
        held = self._set(_SYNC, mark.epoch, wanted)
        if held is None or held["epoch"] != mark.epoch:
            raise StaleEpoch("live sync of this generation was claimed by a newer epoch.")
        self._require_kept("the mark of live sync", held, wanted)

    def confirmed_chunks(self) -> tuple[int, bool]:
        """Return how many chunks all checkpoints stand for, and whether live sync has begun."""
        total, synced, offset = 0, False, None
        while True:
            with asking_qdrant("reading the checkpoints"):
                points, offset = self._client.scroll(
                    self.collection, limit=1000, offset=offset, with_payload=True
                )
            for point in points:
                payload = point.payload or {}
                if point.id == _SYNC:
                    synced = payload.get("epoch", 0) > 0
                else:
                    total += payload.get("chunks", 0)
            if offset is None:
                return total, synced

    def _raise_epoch(self, number: int, epoch: int, first: Mapping[str, Any]) -> dict[str, Any]:
        """Create the mark where there is none, raise its epoch where it is lower, read it.

        ``ours`` in the result says whether it was this call that raised it.
        """
        doing, token = f"claiming mark {number} of {self._place.name}", uuid.uuid4().hex
        nobody = models.PointStruct(id=number, vector=[1.0], payload={"epoch": 0, **first})
        with asking_qdrant(doing):
            # no mark matches the condition, so one that is there stays as it is
            created = self._client.upsert(
                self.collection, [nobody], wait=True, ordering=_ORDER, update_filter=_NEVER
            )
            require_completed(created, doing)
            lower = models.FieldCondition(key="epoch", range=models.Range(lt=epoch))
            same = [_equals("fingerprint", first["fingerprint"])] if "fingerprint" in first else []
            raised = self._client.set_payload(
                self.collection,
                {"epoch": epoch, "claimed_by": token},
                models.Filter(must=[_has_id(number), lower, *same]),
                wait=True,
                ordering=_ORDER,
            )
            require_completed(raised, doing)
        held = self._read(number)
        if held is None:
            raise self._lost(f"mark {number}")
        return {**held, "ours": held.get("claimed_by") == token}

    def _set(self, number: int, epoch: int, wanted: dict[str, Any]) -> dict[str, Any] | None:
        doing = f"moving mark {number} of {self._place.name}"
        kept = "the mark before it: rows after it are written again, over themselves."
        with asking_qdrant(doing, kept=kept):
            moved = self._client.set_payload(
                self.collection,
                wanted,
                models.Filter(must=[_has_id(number), _equals("epoch", epoch)]),
                wait=True,
                ordering=_ORDER,
            )
            require_completed(moved, doing, kept=kept)
        return self._read(number)

    def _read(self, number: int) -> dict[str, Any] | None:
        with asking_qdrant(f"reading mark {number} of {self._place.name}"):
            points = self._client.retrieve(
                self.collection, [number], with_payload=True, consistency=_CONSISTENCY
            )
        return dict(points[0].payload or {}) if points else None

    def _require_kept(self, what: str, held: dict[str, Any], wanted: dict[str, Any]) -> None:
        if any(held.get(name) != value for name, value in wanted.items()):
            raise self._lost(what)

    def _lost(self, what: str) -> BackfillHalted:
        return BackfillHalted(
            f"Qdrant confirmed {what} of {self._place.name} and does not show it.",
            kept="all points that were confirmed, and the mark before.",
            remedy="see the server's log and its replicas, then run it again.",
        )


def _checkpoint(shard: int, held: Mapping[str, Any]) -> Checkpoint:
    key = held.get("last_key")
    return Checkpoint(
        shard,
        held["epoch"],
        json.loads(key) if isinstance(key, str) else key,
        held.get("rows", 0),
        held.get("chunks", 0),
        held.get("finished", False),
    )


def _has_id(number: int) -> models.HasIdCondition:
    return models.HasIdCondition(has_id=[number])


def _equals(field: str, value: str | int) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))
