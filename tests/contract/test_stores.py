"""One suite for every vector store: the fake, pgvector in both layouts, and Qdrant in three ways.

Qdrant: local mode; its engine behind a stub of the REST interface; and, by QAFILA_TEST_QDRANT_URL,
a real server.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import psycopg
import pytest

from qafila.core.admission import limits_of, rejections
from qafila.core.corpus import PgvectorTarget
from qafila.core.fingerprint import text_digest
from qafila.errors import Refused, StaleEpoch
from tasks.stores.memory import MemoryStore
from tasks.stores.pgvector import PgvectorStore
from tasks.stores.port import Checkpoint, Chunk, Place, SyncMark, Vectors, VectorStore
from tasks.stores.qdrant import QdrantStore
from tests.columns import ColumnBehindApplication, make_item_table
from tests.qdrant_ways import WAYS, delete_collections, own_workload, qdrant_client

PLACE = Place("docs-search", 1, "f" * 16, 8)
Reopen = Callable[[Place], VectorStore]


PGVECTOR = {
    "pgvector": PgvectorTarget(kind="pgvector", block="target"),
    "pgvector-halfvec": PgvectorTarget(
        kind="pgvector", block="target", vector_type="halfvec", full_text="french"
    ),
    "pgvector-bare": PgvectorTarget(
        kind="pgvector", block="target", index="none", full_text="none"
    ),
}


@pytest.fixture(params=["memory", *PGVECTOR, "column", *WAYS])
def reopen(request: pytest.FixtureRequest) -> Iterator[Reopen]:
    """Return a function that opens the same store again, as another process would."""
    if request.param in PGVECTOR:
        settings = PGVECTOR[request.param]
        url = request.getfixturevalue("target_url")
        with psycopg.connect(url, autocommit=True) as connection:
            yield lambda place: PgvectorStore(connection, place, settings)
    elif request.param == "column":
        url = request.getfixturevalue("target_url")
        with psycopg.connect(url, autocommit=True) as connection:
            make_item_table(connection)
            yield lambda place: ColumnBehindApplication(connection, place)
    elif request.param in WAYS:
        own = own_workload(request.param, PLACE.workload)
        with qdrant_client(request.param) as client:
            yield lambda place: QdrantStore(client, dataclasses.replace(place, workload=own))
            if request.param == "qdrant-server":
                delete_collections(client, own)
    else:
        kept: dict[str, MemoryStore] = {}
        yield lambda place: kept.setdefault(place.name, MemoryStore(place))


@pytest.fixture
def store(reopen: Reopen) -> VectorStore:
    opened = reopen(PLACE)
    assert opened.problems() == []
    opened.prepare()
    opened.prepare()
    return opened


def chunks(*keys: str, acl: str = "public") -> list[Chunk]:
    texts = {k: f"text {k}" for k in keys}
    return [Chunk(k, 0, 0, len(t), "", t, text_digest(t), [acl]) for k, t in texts.items()]


def vectors(n: int, seed: int = 0) -> Vectors:
    raw = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    unit: Vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return unit


@pytest.fixture
def precision(request: pytest.FixtureRequest) -> float:
    """How far a stored number may be from the one written: half precision rounds."""
    return 1e-3 if "halfvec" in request.node.name else 0.0


def test_what_was_written_is_there_with_its_checkpoint(store: VectorStore) -> None:
    store.claim(0, 1)
    store.write(chunks("a", "b"), vectors(2), Checkpoint(0, 1, ["b"], 2, 2, False))
    assert (store.count(), store.repeated()) == (2, 0)
    resumed = store.claim(0, 2)
    assert (resumed.last_key, resumed.rows, resumed.finished) == (["b"], 2, False)
    assert store.digests(["a", "x"]) == {("a", 0): (text_digest("text a"), PLACE.fingerprint)}


def test_a_worker_whose_shard_was_claimed_cannot_write(store: VectorStore) -> None:
    old = store.claim(0, 1)
    store.claim(0, 2)
    with pytest.raises(StaleEpoch):
        store.write(chunks("a"), vectors(1), dataclasses.replace(old, last_key=["a"], rows=1))
    assert store.count() == 0


def test_an_older_epoch_cannot_claim(store: VectorStore) -> None:
    store.claim(0, 5)
    with pytest.raises(StaleEpoch):
        store.claim(0, 5)


def test_another_fingerprint_is_refused(store: VectorStore, reopen: Reopen) -> None:
    store.claim(0, 1)
    if isinstance(store, MemoryStore):
        pytest.skip("the fake is gone with its process, so nobody can come with another model")
    with pytest.raises(Refused, match="mix"):
        reopen(dataclasses.replace(PLACE, fingerprint="0" * 16)).claim(0, 2)


def test_exact_search_agrees_with_brute_force(store: VectorStore) -> None:
    keys = [f"k{n:03}" for n in range(60)]
    known = vectors(60)
    store.claim(0, 1)
    store.write(chunks(*keys), known, Checkpoint(0, 1, ["k059"], 60, 60, True))
    store.build_index()
    query = vectors(1, seed=9)[0]
    expected = [keys[i] for i in np.argsort(-(known @ query))[:5]]
    assert [h.source_key for h in store.search_exact(query, 5, ["public"])] == expected
    assert len(store.search(query, 5, ["public"])) == 5


def test_a_chunk_is_only_found_by_those_who_may_read_it(store: VectorStore) -> None:
    store.claim(0, 1)
    store.write(chunks("open"), vectors(1), Checkpoint(0, 1, ["open"], 1, 1))
    store.write(chunks("secret", acl="hr"), vectors(1), Checkpoint(0, 1, ["secret"], 2, 2))
    for search in (store.search, store.search_exact):
        assert {h.source_key for h in search(vectors(1)[0], 10, ["public"])} == {"open"}
        assert {h.source_key for h in search(vectors(1)[0], 10, ["hr"])} == {"secret"}


def test_a_dropped_generation_leaves_the_others(store: VectorStore, reopen: Reopen) -> None:
    other = reopen(dataclasses.replace(PLACE, generation=2))
    other.prepare()
    for s in (store, other):
        s.claim(0, 1)
        s.write(chunks("a"), vectors(1), Checkpoint(0, 1, ["a"], 1, 1, True))
    store.drop()
    assert other.count() == 1
    store.prepare()
    assert (store.count(), store.claim(0, 1).last_key) == (0, None)


def test_a_document_is_replaced_whole_and_a_deleted_one_is_gone(store: VectorStore) -> None:
    if isinstance(store, ColumnBehindApplication):
        pytest.skip("a row has one chunk: tests/integration/test_column_layout.py replaces it")
    store.claim(0, 1)
    two = [*chunks("a"), dataclasses.replace(chunks("a")[0], number=1), *chunks("b", "c")]
    store.write(two, vectors(4), Checkpoint(0, 1, ["c"], 3, 4, True))
    store.build_index()
    assert store.claim_sync(1) == SyncMark(1, "")
    for _ in range(2):  # a second time changes nothing
        store.replace(["a", "b"], chunks("a"), vectors(1, seed=3), SyncMark(1, "7"))
    assert {key for key, _ in store.digests(["a", "b", "c"])} == {"a", "c"}
    assert store.count() == 2
    assert store.claim_sync(2) == SyncMark(2, "7")


def test_a_live_sync_of_before_cannot_write(store: VectorStore) -> None:
    store.claim_sync(1)
    store.claim_sync(2)
    with pytest.raises(StaleEpoch):
        store.replace(["a"], chunks("a"), vectors(1), SyncMark(1, "9"))
    with pytest.raises(StaleEpoch):
        store.claim_sync(2)
    assert store.count() == 0


def test_a_scan_returns_every_chunk_and_vector_as_written(
    store: VectorStore, precision: float
) -> None:
    keys = [f"k{n:02}" for n in range(25)]
    known = vectors(25)
    store.claim(0, 1)
    store.write(chunks(*keys), known, Checkpoint(0, 1, ["k24"], 25, 25, True))
    seen = {
        c.source_key: (c, v) for part, vs in store.scan(10) for c, v in zip(part, vs, strict=True)
    }
    assert sorted(seen) == keys
    for key, vector in zip(keys, known, strict=True):
        chunk, stored = seen[key]
        assert chunk == chunks(key)[0]
        np.testing.assert_allclose(stored, vector, rtol=0, atol=precision)


def test_what_no_store_can_hold_is_set_aside_and_the_rest_is_written(store: VectorStore) -> None:
    good, *bad = chunks(*"abcdefg")
    bad = [
        dataclasses.replace(bad[0], text="nul\0"),
        dataclasses.replace(bad[1], text="half \ud83d pair"),
        dataclasses.replace(bad[2], metadata={"deep": [{"nul\0": 1}]}),
        dataclasses.replace(bad[3], metadata={"score": float("nan")}),
        bad[4],
        bad[5],
    ]
    batch, made = [good, *bad], vectors(7)
    made[5], made[6] = 0, np.nan
    limits = limits_of(PGVECTOR["pgvector"], 8)
    rejected = rejections(batch, made, limits)
    assert sorted(rejected) == [1, 2, 3, 4, 5, 6]
    kept = [n for n in range(7) if n not in rejected]
    store.claim(0, 1)
    mark = Checkpoint(0, 1, ["g"], 7, len(kept))
    store.write([batch[n] for n in kept], made[kept], mark)
    assert set(store.digests(list("abcdefg"))) == {("a", 0)}
