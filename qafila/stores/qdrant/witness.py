"""What a Qdrant collection says of its points when it is compared.

It scrolls by the points' ids, which are in no order of keys. So nothing that compares relies on an
order: rows are summed up by bucket, or asked for by key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qafila.connections.qdrant_faults import asking_qdrant
from qafila.stores.port import Chunk, Stored, Vectors
from qafila.stores.qdrant.filters import of_documents
from qafila.stores.qdrant.pages import PointPages
from qafila.stores.row_sets import NOBODY, Witnesses, digest_words
from qafila.workload.fingerprint import chunk_id_text


class PointWitness(PointPages):
    """The part of the Qdrant store that comparisons ask."""

    def count(self) -> int:
        with asking_qdrant(f"counting {self._place.name}"):
            return self._client.count(self._place.name, exact=True).count

    def repeated(self) -> int:
        """A second copy can only stand under an id that is not derived from its key."""
        repeated: int = 0
        strangers: set[str] = set()
        for points in self._pages(None, with_payload=["source_key", "chunk_number"]):
            derived = {
                str(p.id): chunk_id_text(p.payload["source_key"], p.payload["chunk_number"])
                for p in points
                if p.payload
            }
            foreign = [own for own_id, own in derived.items() if own_id != own]
            if foreign:
                with asking_qdrant("looking for repeated points"):
                    found = self._client.retrieve(self._place.name, foreign, with_payload=False)
                there = {str(p.id) for p in found}
                for own in foreign:
                    repeated += own in there or own in strangers
                    strangers.add(own)
        return repeated

    def digests(self, source_keys: Sequence[str]) -> Mapping[tuple[str, int], tuple[bytes, str]]:
        fields = ["source_key", "chunk_number", "text_digest", "fingerprint"]
        return {
            (p["source_key"], p["chunk_number"]): (
                bytes.fromhex(p["text_digest"]),
                p["fingerprint"],
            )
            for points in self._pages(of_documents(source_keys), with_payload=fields)
            for p in (point.payload or {} for point in points)
        }

    def scan(self, batch_rows: int) -> Iterator[tuple[list[Chunk], Vectors]]:
        for points in self._pages(None, with_payload=True, with_vectors=True, limit=batch_rows):
            chunks = [chunk_of(p.payload or {}) for p in points]
            yield chunks, np.array([p.vector for p in points], np.float32)

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
        pages = self._pages(of_documents(source_keys), with_payload=True, with_vectors=True)
        points = [point for page in pages for point in page]
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
        p["source_key"],
        p["chunk_number"],
        p["start_offset"],
        p["end_offset"],
        p["title"],
        p["text"],
        bytes.fromhex(p["text_digest"]),
        p["acl"],
        p["metadata"],
    )
