"""What a Qdrant collection says of its points when it is compared.

It scrolls by the points' ids, which are in no order of keys. So nothing that compares relies on an
order: rows are summed up by bucket, or asked for by key.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from qafila.core.ladder.keys import NOBODY, Witnesses, digest_words
from tasks.stores.port import Chunk, Place, Stored


class PointWitness(ABC):
    """The part of the Qdrant store that comparisons ask."""

    _place: Place

    @abstractmethod
    def _pages(
        self, chosen: models.Filter | None, *, limit: int = 1000, **what: Any
    ) -> Iterator[list[models.Record]]: ...

    def witnesses(self, batch_rows: int) -> Iterator[Witnesses]:
        """Yield points in the order of their ids, without text and vector."""
        fields = ["source_key", "chunk_number", "text_digest", "fingerprint"]
        for points in self._pages(None, limit=batch_rows, with_payload=fields):
            rows = [p.payload or {} for p in points]
            yield Witnesses(
                [p["source_key"].encode("utf-8", "surrogatepass") for p in rows],
                np.array([p["chunk_number"] for p in rows], np.int64),
                np.array([p["fingerprint"] == self._place.fingerprint for p in rows], np.bool_),
                digest_words([bytes.fromhex(p["text_digest"]) for p in rows]),
            )

    def readers(self) -> Mapping[str, int]:
        """Count by looking at every point: a facet would leave out points without a group."""
        by_group: Counter[str] = Counter()
        for points in self._pages(None, with_payload=["acl"]):
            for point in points:
                by_group.update(set((point.payload or {})["acl"]) or {NOBODY})
        return by_group

    def stored(self, source_keys: Sequence[str]) -> Stored:
        """Find points by the index on their documents' keys."""
        match = models.MatchAny(any=[*source_keys])
        chosen = models.Filter(must=[models.FieldCondition(key="source_key", match=match)])
        points = [p for page in self._pages(chosen, with_payload=True, with_vectors=True)
                  for p in page]  # fmt: skip
        payloads = [p.payload or {} for p in points]
        vectors = np.array([p.vector for p in points], np.float32)
        return Stored(
            [chunk_of(p) for p in payloads],
            [p["fingerprint"] for p in payloads],
            vectors.reshape(len(points), -1 if points else self._place.dimensions),
        )


def chunk_of(p: Mapping[str, Any]) -> Chunk:
    """Return the chunk that a payload of ours describes."""
    return Chunk(
        p["source_key"], p["chunk_number"], p["start_offset"], p["end_offset"], p["title"],
        p["text"], bytes.fromhex(p["text_digest"]), p["acl"], p["metadata"],
    )  # fmt: skip
