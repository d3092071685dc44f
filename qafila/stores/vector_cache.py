"""The cache of computed vectors, beside the data in a pgvector target.

A vector is kept under the digest of its text and the digest of what made it; nothing else of the
text is kept. Only pgvector targets have one: in the ledger it would outgrow everything else there
and go into every backup of the evidence, and Qdrant has no table for it. What a Qdrant collection
holds already is reused by reading the collection as a source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from qafila.sql import statement
from qafila.stores.port import Vectors
from qafila.workload.fingerprint import VectorPart


class EmbeddingCache:
    """Vectors of one model. The caller owns the connection; autocommit.

    It is written apart from the rows, before them: what was paid for is kept, also when the batch
    it was made for is not.
    """

    def __init__(self, connection: psycopg.Connection[Any], vectors: VectorPart) -> None:
        self._connection = connection
        self._fingerprint = vectors.digest
        self._dimensions = vectors.dimensions

    def find(self, digests: Sequence[bytes]) -> tuple[NDArray[np.bool_], Vectors]:
        """Return, for each text digest, whether there is a vector, and it; zeros where not.

        One statement. An entry of another length than the model's is none.
        """
        found = np.zeros(len(digests), np.bool_)
        vectors = np.zeros((len(digests), self._dimensions), np.float32)
        if not digests:
            return found, vectors
        with self._connection.cursor(binary=True) as cursor:
            rows = cursor.execute(
                statement("cache", "find_cached"),
                {"fingerprint": self._fingerprint, "digests": list(set(digests))},
            ).fetchall()
        length = 4 * self._dimensions
        held: dict[bytes, bytes] = {d: body for d, body in rows if len(body) == length}
        if held:
            at = [i for i, d in enumerate(digests) if d in held]
            bodies = b"".join(held[digests[i]] for i in at)
            found[at] = True
            vectors[at] = np.frombuffer(bodies, "<f4").reshape(len(at), self._dimensions)
        return found, vectors

    def put(self, digests: Sequence[bytes], vectors: Vectors) -> None:
        """Keep vectors, in one statement; harmless for those that are there.

        A vector that is zero or not finite is not kept.
        """
        if not digests:
            return
        sound = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
        plain = np.ascontiguousarray(vectors, "<f4")
        new = {digests[i]: plain[i].tobytes() for i in np.flatnonzero(sound).tolist()}
        if new:
            ordered = sorted(new)
            self._connection.execute(
                statement("cache", "put_cached"),
                {
                    "fingerprint": self._fingerprint,
                    "digests": ordered,
                    "embeddings": [new[d] for d in ordered],
                },
            )

    def forget(self, digests: Iterable[bytes]) -> int:
        """Delete the vectors of these texts, of every model; return how many there were."""
        return self._connection.execute(
            statement("cache", "forget_cached"), {"digests": sorted(set(digests))}
        ).rowcount
