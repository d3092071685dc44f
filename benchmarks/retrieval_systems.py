"""Scratch generations of a judged collection, and the three ways to search in them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import psycopg
from numpy.typing import NDArray

from qafila.compare.collection import CollectedDocument, Collection
from qafila.connections.qdrant import connect_qdrant
from qafila.embedders.wordllama import WordLlamaEmbedder
from qafila.search.table import (
    DEPTH,
    generation_table,
    prepare_connection,
    search_hybrid,
    search_keywords,
    search_vectors,
)
from qafila.statistics.rank_fusion import score_fusion
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place, VectorStore
from qafila.workload.corpus import EVERYBODY, PgvectorTarget, QdrantTarget
from qafila.workload.fingerprint import text_digest

SYSTEMS = ("keyword", "vector", "hybrid")
EF_SEARCH = 200  # a hundred results are asked for
SERVER = "QAFILA_TEST_QDRANT_URL"
_BATCH = 500

Vectors = NDArray[np.float32]
Search = Callable[[str, Vectors, int], list[str]]


@dataclass(frozen=True)
class Searches:
    """What was loaded, how keywords are searched, and one search a system.

    A search takes a question, its vector and how many documents to return at most.
    """

    keyword_by: str
    vector_by: str
    without_vector: Sequence[str]
    seconds: Mapping[str, float]
    systems: Mapping[str, Search]


@contextmanager
def loaded(
    collection: Collection,
    database: psycopg.Connection,
    embedder: WordLlamaEmbedder,
    *,
    target: str,
    full_text: str,
) -> Iterator[Searches]:
    """Load into a scratch generation of the target; it is dropped at the end.

    ``database`` holds the lexemes, whatever the target: Qdrant has no keyword search of ours.
    """
    begun = time.perf_counter()
    vectors = embedder.embed([d.whole for d in collection.documents])
    embedded = time.perf_counter()
    place = Place(f"bench-{uuid.uuid4().hex[:10]}", 1, "bench", embedder.dimensions)
    settings = PgvectorTarget.model_validate(
        {
            "kind": "pgvector",
            "block": "bench",
            "full_text": full_text,
            "index": "hnsw" if target == "pgvector" else "none",
        }
    )
    tables = PgvectorStore(database, place, settings)
    prepare_connection(database, ef_search=EF_SEARCH)
    where = generation_table(place.name, full_text=full_text)
    without = [d.key for d, v in zip(collection.documents, vectors, strict=True) if not v.any()]

    def keyword(text: str, _: Vectors, k: int) -> list[str]:
        return [f.source_key for f in search_keywords(database, where, text, k)]

    def vector(_: str, vector: Vectors, k: int) -> list[str]:
        if not vector.any():
            return []  # the model knows no word of it: nothing is near
        return [f.source_key for f in search_vectors(database, where, vector, k)]

    def hybrid(text: str, vector: Vectors, k: int) -> list[str]:
        if not vector.any():
            return keyword(text, vector, k)
        return [f.source_key for f in search_hybrid(database, where, text, vector, k)]

    by = f"PostgreSQL full-text search ({full_text}), the rarest words of a question"
    try:
        _fill(tables, collection.documents, vectors)
        if target == "pgvector":
            seconds = {"embed": embedded - begun, "load": time.perf_counter() - embedded}
            yield Searches(
                by,
                "pgvector, HNSW",
                without,
                seconds,
                {"keyword": keyword, "vector": vector, "hybrid": hybrid},
            )
            return
        with _collection_store(place) as (store, by_vector):
            _fill(store, collection.documents, vectors)
            seconds = {"embed": embedded - begun, "load": time.perf_counter() - embedded}

            def near(_: str, vector: Vectors, k: int) -> list[str]:
                if not vector.any():
                    return []
                return [h.source_key for h in store.search(vector, k, [EVERYBODY])]

            def fused(text: str, vector: Vectors, k: int) -> list[str]:
                depth = max(k, DEPTH)
                words = search_keywords(database, where, text, depth)
                hits = store.search(vector, depth, [EVERYBODY]) if vector.any() else []
                both = score_fusion(
                    {f.source_key: f.score for f in words}, {h.source_key: h.score for h in hits}
                )
                return [key for key, _ in both[:k]]

            yield Searches(
                by,
                by_vector,
                without,
                seconds,
                {"keyword": keyword, "vector": near, "hybrid": fused},
            )
    finally:
        tables.drop()


@contextmanager
def _collection_store(place: Place) -> Iterator[tuple[VectorStore, str]]:
    from qafila.stores.qdrant.store import QdrantStore

    url = os.environ.get(SERVER)
    client = connect_qdrant(url) if url else connect_qdrant(path=":memory:")
    with closing(client):
        store = QdrantStore(client, place, QdrantTarget(kind="qdrant", block="bench"))
        try:
            yield store, f"Qdrant at {url}, HNSW" if url else "Qdrant's local mode, exact"
        finally:
            store.drop()


def _fill(store: VectorStore, documents: Sequence[CollectedDocument], vectors: Vectors) -> None:
    """Write every document that has a vector as one chunk, in batches, and build the index."""
    store.prepare()
    store.claim(0, 1)
    chunks = [
        Chunk(d.key, 0, 0, len(d.whole), d.title, d.whole, text_digest(d.whole), [EVERYBODY])
        for d in documents
    ]
    for start in range(0, len(chunks), _BATCH):
        some = chunks[start : start + _BATCH]
        done = start + len(some)
        mark = Checkpoint(0, 1, [some[-1].source_key], done, done, finished=done == len(chunks))
        store.write(some, vectors[start : start + _BATCH], mark)
    store.build_index()
