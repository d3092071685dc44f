"""Qdrant: one collection a generation, ids derived from the source, checkpoint after the points.

Qdrant has no transaction over points and checkpoint, so the order does the work: points first,
confirmed, then the checkpoint. A batch that is written twice has the same ids and overwrites
itself. Checkpoints live beside the data, in a collection of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from qafila.core.corpus import QdrantTarget
from qafila.errors import Refused, StaleEpoch
from tasks.stores.port import Checkpoint, Chunk, Hit, Place, SyncMark, Vectors

_BATCH = 128
_SYNC = 2**63 - 1  # the id of live sync's mark among the checkpoints, which count from 0


class QdrantStore:
    """One generation in a Qdrant collection; also in the client's local mode."""

    def __init__(
        self, client: QdrantClient, place: Place, settings: QdrantTarget | None = None
    ) -> None:
        self._client = client
        self._place = place
        self._settings = settings or QdrantTarget(kind="qdrant", block="unnamed")
        self._marks = f"{place.name}_checkpoint"

    def problems(self) -> list[str]:
        return []

    def prepare(self) -> None:
        if not self._client.collection_exists(self._place.name):
            self._client.create_collection(
                self._place.name,
                vectors_config=models.VectorParams(
                    # vectors are unit vectors, so this is the cosine; under COSINE, Qdrant would
                    # normalise them anew and not give back what was written
                    size=self._place.dimensions,
                    distance=models.Distance.DOT,
                ),
            )
            with _local_mode_quiet():
                for field in ("acl", "source_key"):  # payload indexes come before points
                    self._client.create_payload_index(
                        self._place.name, field, models.PayloadSchemaType.KEYWORD
                    )
        if not self._client.collection_exists(self._marks):
            self._client.create_collection(
                self._marks,
                vectors_config=models.VectorParams(size=1, distance=models.Distance.DOT),
            )

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        held = self._read(shard)
        if held is not None and held["fingerprint"] != self._place.fingerprint:
            raise Refused(
                f"shard {shard} was begun with fingerprint {held['fingerprint']}, we would write "
                f"{self._place.fingerprint}: two models would mix.",
                kept="all points as they are.",
                remedy="open a new generation.",
            )
        if held is not None and held["epoch"] >= epoch:
            raise StaleEpoch(f"shard {shard} is at epoch {held['epoch']}, we came with {epoch}.")
        before = held or {"last_key": None, "rows": 0, "chunks": 0, "finished": False}
        claimed = Checkpoint(
            shard, epoch, before["last_key"], before["rows"], before["chunks"], before["finished"]
        )
        self._save(claimed)
        return claimed

    def write(self, chunks: Sequence[Chunk], vectors: Vectors, checkpoint: Checkpoint) -> None:
        self._require_epoch(checkpoint)
        self._upsert(chunks, vectors)
        self._require_epoch(checkpoint)
        self._save(checkpoint)

    def _upsert(self, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        points = [
            models.PointStruct(id=str(c.id), vector=v.tolist(), payload=self._payload(c))
            for c, v in zip(chunks, vectors, strict=True)
        ]
        for start in range(0, len(points), _BATCH):
            self._client.upsert(self._place.name, points[start : start + _BATCH], wait=True)

    def claim_sync(self, epoch: int) -> SyncMark:
        held = self._read_sync()
        if held.epoch >= epoch:
            raise StaleEpoch(f"live sync is at epoch {held.epoch}, we came with {epoch}.")
        self._save_sync(SyncMark(epoch, held.position))
        return SyncMark(epoch, held.position)

    def replace(
        self, source_keys: Sequence[str], chunks: Sequence[Chunk], vectors: Vectors, mark: SyncMark
    ) -> None:
        if self._read_sync().epoch != mark.epoch:
            raise StaleEpoch("live sync of this generation was claimed by a newer epoch.")
        keys = [*source_keys]
        new = {str(c.id) for c in chunks}
        old = self._ids_of(keys)
        self._upsert(chunks, vectors)
        gone: list[Any] = [i for i in old if i not in new]
        if gone:
            self._client.delete(self._place.name, points_selector=gone, wait=True)
        if self._read_sync().epoch != mark.epoch:
            raise StaleEpoch("live sync of this generation was claimed by a newer epoch.")
        self._save_sync(mark)

    def build_index(self) -> None:
        """Qdrant indexes by itself; nothing is held back at this size."""

    def count(self) -> int:
        return self._client.count(self._place.name, exact=True).count

    def repeated(self) -> int:
        seen: set[tuple[str, int]] = set()
        repeated, offset = 0, None
        while True:
            points, offset = self._client.scroll(
                self._place.name, limit=1000, offset=offset, with_payload=True
            )
            for point in points:
                key = (point.payload or {})["source_key"], (point.payload or {})["chunk_number"]
                repeated += key in seen
                seen.add(key)
            if offset is None:
                return repeated

    def digests(self, source_keys: Sequence[str]) -> Mapping[tuple[str, int], tuple[bytes, str]]:
        found: dict[tuple[str, int], tuple[bytes, str]] = {}
        wanted = models.Filter(
            must=[
                models.FieldCondition(key="source_key", match=models.MatchAny(any=[*source_keys]))
            ]
        )
        offset = None
        while True:
            points, offset = self._client.scroll(
                self._place.name, wanted, limit=1000, offset=offset, with_payload=True
            )
            for point in points:
                p = point.payload or {}
                digest = bytes.fromhex(p["text_digest"])
                found[p["source_key"], p["chunk_number"]] = digest, p["fingerprint"]
            if offset is None:
                return found

    def scan(self, batch_rows: int) -> Iterator[tuple[list[Chunk], Vectors]]:
        offset = None
        while True:
            points, offset = self._client.scroll(
                self._place.name, limit=batch_rows, offset=offset, with_payload=True,
                with_vectors=True,
            )  # fmt: skip
            if points:
                chunks = [_chunk(p.payload or {}) for p in points]
                yield chunks, np.array([p.vector for p in points], np.float32)
            if offset is None:
                return

    def search(self, vector: Vectors, k: int, groups: Sequence[str]) -> list[Hit]:
        return self._nearest(vector, k, groups, exact=False)

    def search_exact(self, vector: Vectors, k: int, groups: Sequence[str]) -> list[Hit]:
        return self._nearest(vector, k, groups, exact=True)

    def drop(self) -> None:
        self._client.delete_collection(self._place.name)
        self._client.delete_collection(self._marks)

    def _nearest(self, vector: Vectors, k: int, groups: Sequence[str], *, exact: bool) -> list[Hit]:
        with _local_mode_quiet():
            answer = self._client.query_points(
                self._place.name,
                query=np.asarray(vector, np.float32).tolist(),
                limit=k,
                query_filter=models.Filter(
                    must=[models.FieldCondition(key="acl", match=models.MatchAny(any=[*groups]))]
                ),
                search_params=models.SearchParams(exact=exact),
                with_payload=["source_key", "chunk_number"],
            )
        return [
            Hit((p.payload or {})["source_key"], (p.payload or {})["chunk_number"], p.score)
            for p in answer.points
        ]

    def _payload(self, c: Chunk) -> dict[str, Any]:
        return {
            "source_key": c.source_key,
            "chunk_number": c.number,
            "start_offset": c.start,
            "end_offset": c.end,
            "title": c.title,
            "text": c.text,
            "text_digest": c.digest.hex(),
            "acl": list(c.acl),
            "metadata": dict(c.metadata),
            "fingerprint": self._place.fingerprint,
            "generation": self._place.generation,
        }

    def _ids_of(self, source_keys: Sequence[str]) -> list[str]:
        wanted = models.FieldCondition(key="source_key", match=models.MatchAny(any=[*source_keys]))
        found: list[str] = []
        offset = None
        while True:
            points, offset = self._client.scroll(
                self._place.name, models.Filter(must=[wanted]), limit=1000, offset=offset,
                with_payload=False,
            )  # fmt: skip
            found += [str(p.id) for p in points]
            if offset is None:
                return found

    def _read_sync(self) -> SyncMark:
        points = self._client.retrieve(self._marks, [_SYNC], with_payload=True)
        held = points[0].payload if points else None
        return SyncMark(held["epoch"], held["position"]) if held else SyncMark(0)

    def _save_sync(self, mark: SyncMark) -> None:
        payload = {"epoch": mark.epoch, "position": mark.position}
        point = models.PointStruct(id=_SYNC, vector=[1.0], payload=payload)
        self._client.upsert(self._marks, [point], wait=True)

    def _read(self, shard: int) -> dict[str, Any] | None:
        points = self._client.retrieve(self._marks, [shard], with_payload=True)
        return dict(points[0].payload or {}) if points else None

    def _save(self, mark: Checkpoint) -> None:
        payload = {
            "fingerprint": self._place.fingerprint,
            "epoch": mark.epoch,
            "last_key": mark.last_key,
            "rows": mark.rows,
            "chunks": mark.chunks,
            "finished": mark.finished,
        }
        point = models.PointStruct(id=mark.shard, vector=[1.0], payload=payload)
        self._client.upsert(self._marks, [point], wait=True)

    def _require_epoch(self, mark: Checkpoint) -> None:
        held = self._read(mark.shard)
        if held is None or held["epoch"] != mark.epoch:
            raise StaleEpoch(f"shard {mark.shard} was claimed by a newer epoch.")


def _chunk(p: Mapping[str, Any]) -> Chunk:
    return Chunk(
        p["source_key"], p["chunk_number"], p["start_offset"], p["end_offset"], p["title"],
        p["text"], bytes.fromhex(p["text_digest"]), p["acl"], p["metadata"],
    )  # fmt: skip


@contextmanager
def _local_mode_quiet() -> Iterator[None]:
    """Local mode warns that indexes and search settings do nothing there: expected, so silent."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(?i:local).*", category=UserWarning)
        yield
