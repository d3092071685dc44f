"""The true fake: passes the same contract as the real stores, and forgets at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qafila.errors import StaleEpoch
from qafila.stores.filters import ValueTally, leaves
from qafila.stores.port import (
    Checkpoint,
    Chunk,
    Effort,
    Hit,
    Holds,
    Place,
    Stored,
    SyncMark,
    Vectors,
    Where,
    witnesses_of,
)
from qafila.stores.row_sets import NOBODY, Witnesses


class MemoryStore:
    """A generation in this process's memory; exact brute force."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._rows: dict[tuple[str, int], tuple[Chunk, Vectors]] = {}
        self._checkpoints: dict[int, Checkpoint] = {}
        self._sync = SyncMark(0)

    def problems(self) -> list[str]:
        return []

    def prepare(self) -> None:
        pass

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        held = self._checkpoints.get(shard, Checkpoint(shard, 0))
        if held.epoch >= epoch:
            raise StaleEpoch(f"shard {shard} is at epoch {held.epoch}, we came with {epoch}.")
        claimed = Checkpoint(shard, epoch, held.last_key, held.rows, held.chunks, held.finished)
        self._checkpoints[shard] = claimed
        return claimed

    def write(self, chunks: Sequence[Chunk], vectors: Vectors, checkpoint: Checkpoint) -> None:
        if self._checkpoints[checkpoint.shard].epoch != checkpoint.epoch:
            raise StaleEpoch(f"shard {checkpoint.shard} was claimed by a newer epoch.")
        for chunk, vector in zip(chunks, vectors, strict=True):
            self._rows[chunk.source_key, chunk.number] = (chunk, vector)
        self._checkpoints[checkpoint.shard] = checkpoint

    def claim_sync(self, epoch: int) -> SyncMark:
        if self._sync.epoch >= epoch:
            raise StaleEpoch(f"live sync is at epoch {self._sync.epoch}, we came with {epoch}.")
        self._sync = SyncMark(epoch, self._sync.position)
        return self._sync

    def replace(
        self, source_keys: Sequence[str], chunks: Sequence[Chunk], vectors: Vectors, mark: SyncMark
    ) -> None:
        if self._sync.epoch != mark.epoch:
            raise StaleEpoch("live sync of this generation was claimed by a newer epoch.")
        gone = set(source_keys)
        self._rows = {key: row for key, row in self._rows.items() if key[0] not in gone}
        for chunk, vector in zip(chunks, vectors, strict=True):
            self._rows[chunk.source_key, chunk.number] = (chunk, vector)
        self._sync = mark

    def build_index(self) -> None:
        pass

    def count(self) -> int:
        return len(self._rows)

    def repeated(self) -> int:
        return 0

    def digests(self, source_keys: Sequence[str]) -> Mapping[tuple[str, int], tuple[bytes, str]]:
        wanted = set(source_keys)
        return {
            key: (chunk.digest, self._place.fingerprint)
            for key, (chunk, _) in self._rows.items()
            if key[0] in wanted
        }

    def scan(self, batch_rows: int) -> Iterator[tuple[list[Chunk], Vectors]]:
        ordered = [self._rows[key] for key in sorted(self._rows)]
        for start in range(0, len(ordered), batch_rows):
            part = ordered[start : start + batch_rows]
            yield [c for c, _ in part], np.array([v for _, v in part], np.float32)

    def witnesses(self, batch_rows: int) -> Iterator[Witnesses]:
        for chunks, _ in self.scan(batch_rows):
            yield witnesses_of(chunks)

    def readers(self) -> Mapping[str, int]:
        return Counter(g for c, _ in self._rows.values() for g in set(c.acl) or {NOBODY})

    def stored(self, source_keys: Sequence[str]) -> Stored:
        wanted = set(source_keys)
        rows = [row for key, row in self._rows.items() if key[0] in wanted]
        return Stored(
            [c for c, _ in rows],
            [self._place.fingerprint] * len(rows),
            np.array([v for _, v in rows], np.float32).reshape(len(rows), self._place.dimensions),
        )

    def search(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None = None,
        effort: Effort | None = None,
    ) -> list[Hit]:
        return self.search_exact(vector, k, groups, where)

    def search_exact(
        self, vector: Vectors, k: int, groups: Sequence[str], where: Where | None = None
    ) -> list[Hit]:
        hits = [
            Hit(c.source_key, c.number, float(np.dot(v, vector)))
            for c, v in self._left(groups, where)
        ]
        return sorted(hits, key=lambda h: (-h.score, h.source_key, h.chunk_number))[:k]

    def scans(self, groups: Sequence[str], where: Where | None = None) -> bool:
        return True

    def index_problems(self) -> list[str]:
        return []

    def values(self) -> Mapping[Holds, int]:
        tally = ValueTally()
        for chunk, _ in self._rows.values():
            tally.add(chunk.metadata)
        return tally.values()

    def matching(self, groups: Sequence[str], where: Where | None = None) -> int:
        return sum(1 for _ in self._left(groups, where))

    def visible(self, source_keys: Sequence[str], groups: Sequence[str]) -> set[tuple[str, int]]:
        wanted = set(source_keys)
        left = ((c.source_key, c.number) for c, _ in self._left(groups, None))
        return {place for place in left if place[0] in wanted}

    def _left(self, groups: Sequence[str], where: Where | None) -> Iterator[tuple[Chunk, Vectors]]:
        return (
            (c, v)
            for c, v in self._rows.values()
            if set(c.acl) & set(groups) and leaves(where, c.source_key, c.metadata)
        )

    def removal(self) -> list[str]:
        return [f"forget {len(self._rows)} rows"] if self._rows else []

    def drop(self) -> None:
        self._rows.clear()
        self._checkpoints.clear()
        self._sync = SyncMark(0)
