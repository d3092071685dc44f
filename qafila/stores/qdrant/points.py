"""Points on their way into a Qdrant collection: cut into requests, applied before we go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from qafila.connections.qdrant_faults import asking_qdrant, require_completed
from qafila.errors import BackfillHalted
from qafila.stores.port import Chunk, Place, Vectors
from qafila.stores.qdrant.filters import not_above
from qafila.workload.fingerprint import chunk_id_text

_BATCH_POINTS, _BATCH_BYTES = 256, 16 * 2**20  # a server takes 32 MB a request, unless told other
_FLOAT_BYTES, _POINT_BYTES = 22, 500  # in JSON; the second for payload beside the text


class PointWriter:
    """Writes with the rank of its writer, and over nothing that a higher rank has written."""

    def __init__(self, client: QdrantClient, place: Place) -> None:
        self._client = client
        self._place = place

    def upsert(self, chunks: Sequence[Chunk], vectors: Vectors, rank: int) -> None:
        """Write points in one request; return when they are applied. Idempotent by their ids.

        Raises:
            BackfillHalted: a vector is not what it should be, or the server did not confirm.
            Unavailable: the server does not answer; what did arrive overwrites itself.
        """
        doing = f"writing {len(chunks)} points to {self._place.name}"
        kept = (
            "everything up to the last checkpoint; points of this batch that did arrive are "
            "written again, over themselves."
        )
        if vectors.shape != (len(chunks), self._place.dimensions) or not np.isfinite(vectors).all():
            raise BackfillHalted(
                f"vectors of shape {vectors.shape} with NaN, infinity or another length came for "
                f"{len(chunks)} chunks of {self._place.name}.",
                kept=kept,
                remedy="see what the embedder answered.",
            )
        points = models.Batch.model_construct(  # checked above: a second look costs as much again
            ids=[chunk_id_text(c.source_key, c.number) for c in chunks],
            vectors=vectors.tolist(),
            payloads=[payload_of(c, self._place, rank) for c in chunks],
        )
        with asking_qdrant(doing, kept=kept):
            result = self._client.upsert(
                self._place.name, points, wait=True, update_filter=not_above(rank)
            )
        require_completed(result, doing, kept=kept)

    def delete(self, ids: Sequence[str], rank: int) -> None:
        """Delete points, but none that a higher rank has written; return when it is applied."""
        doing = f"deleting {len(ids)} points of {self._place.name}"
        chosen = models.Filter(
            must=[models.HasIdCondition(has_id=[*ids])], must_not=not_above(rank).must_not
        )
        with asking_qdrant(doing, kept="the mark of live sync: it is done again."):
            result = self._client.delete(self._place.name, points_selector=chosen, wait=True)
        require_completed(result, doing, kept="the mark of live sync: it is done again.")


def batches(chunks: Sequence[Chunk], dimensions: int) -> Iterator[slice]:
    """Yield slices of at most 256 chunks that fit into one request; a huge chunk goes alone."""
    start = size = 0
    for position, chunk in enumerate(chunks):
        more = dimensions * _FLOAT_BYTES + len(chunk.text.encode(errors="replace")) + _POINT_BYTES
        full = position - start == _BATCH_POINTS or size + more > _BATCH_BYTES
        if position > start and full:
            yield slice(start, position)
            start, size = position, 0
        size += more
    if len(chunks) > start:
        yield slice(start, len(chunks))


def payload_of(c: Chunk, place: Place, rank: int) -> dict[str, Any]:
    """Return what stands beside a chunk's vector; ``qdrant_witness.chunk_of`` reads it again."""
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
        "fingerprint": place.fingerprint,
        "generation": place.generation,
        "writer_rank": rank,
    }
