"""Exact search over a sample, alone and fused with keywords as the product fuses them.

Every vector is looked at, so that it is the embedder that is measured and not an index.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from qafila.search.table import FRUGAL, generation_table, prepare_connection, search_keywords
from qafila.statistics.rank_fusion import score_fusion
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place, Vectors
from qafila.validation.judged import DEPTH, JudgedQuery
from qafila.workload.corpus import EVERYBODY, PgvectorTarget

SYSTEMS = ("vector", "hybrid")
_BATCH = 500
_BLOCK_NUMBERS = 20_000_000  # scores that are in memory at once

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Layout:
    """Which rows of the sample's vectors are whose: chunks of a document stand together."""

    keys: Sequence[str]
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> Layout:
        """Return the layout of chunks in the order of their documents' keys."""
        keys = [c.source_key for c in chunks]
        starts = [n for n, key in enumerate(keys) if n == 0 or key != keys[n - 1]]
        return cls([keys[n] for n in starts], np.asarray(starts, np.intp))


def nearest(layout: Layout, documents: Vectors, queries: Vectors) -> Iterator[dict[str, float]]:
    """Yield the hundred nearest documents of each question with their cosine, the nearest first.

    Of a document the best chunk counts; equal ones are in the order of their keys. A chunk without
    a vector is near to nothing, and nothing is near to a question without one.
    """
    without = ~documents.any(axis=1)
    block = max(1, _BLOCK_NUMBERS // max(1, len(documents)))
    for start in range(0, len(queries), block):
        some = queries[start : start + block]
        scores = some @ documents.T
        scores[:, without] = -np.inf
        best = np.maximum.reduceat(scores, layout.starts, axis=1)
        for query, row in zip(some, best, strict=True):
            if not query.any():
                yield {}
                continue
            order = np.argsort(-row, kind="stable")[:DEPTH]
            yield {layout.keys[n]: float(row[n]) for n in order if np.isfinite(row[n])}


def search_by_keywords(
    database: psycopg.Connection[Any],
    chunks: Sequence[Chunk],
    queries: Sequence[JudgedQuery],
    full_text: str,
) -> list[Scores]:
    """Return the keyword list of every question, from a scratch table that is dropped again.

    No candidate has a part in it, so it is made once for all.
    """
    place = Place(f"embedders-{uuid.uuid4().hex[:10]}", 1, "bench", 1)
    settings = PgvectorTarget.model_validate(
        {"kind": "pgvector", "block": "bench", "full_text": full_text, "index": "none"}
    )
    store = PgvectorStore(database, place, settings)
    prepare_connection(database, ef_search=settings.ef_search)
    where = generation_table(place.name, full_text=full_text)
    try:
        _fill(store, chunks)
        return [
            {
                f.source_key: f.score
                for f in search_keywords(database, where, q.text, DEPTH, selection=FRUGAL)
            }
            for q in queries
        ]
    finally:
        store.drop()


def _fill(store: PgvectorStore, chunks: Sequence[Chunk]) -> None:
    store.prepare()
    store.claim(0, 1)
    for start in range(0, len(chunks), _BATCH):
        some = [replace(c, acl=[EVERYBODY], metadata={}) for c in chunks[start : start + _BATCH]]
        done = start + len(some)
        mark = Checkpoint(0, 1, [some[-1].source_key], done, done, finished=done == len(chunks))
        store.write(some, np.ones((len(some), 1), np.float32), mark)
    store.build_index()


def rankings(
    layout: Layout, documents: Vectors, queries: Vectors, keywords: Sequence[Scores] | None
) -> dict[str, list[list[str]]]:
    """Return each system's answers; without keyword lists there is vector search only."""
    found: dict[str, list[list[str]]] = {s: [] for s in (SYSTEMS if keywords else SYSTEMS[:1])}
    for place, near in enumerate(nearest(layout, documents, queries)):
        found["vector"].append(list(near))
        if keywords:
            fused = score_fusion(keywords[place], near)
            found["hybrid"].append([key for key, _ in fused[:DEPTH]])
    return found
