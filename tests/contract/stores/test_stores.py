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

from qafila.errors import Refused, StaleEpoch
from qafila.stores import pointer_row as alias
from qafila.stores.admission import limits_of, rejections
from qafila.stores.column.store import ColumnStore
from qafila.stores.memory import MemoryStore
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import (
    Checkpoint,
    Chunk,
    Effort,
    Holds,
    Part,
    Place,
    SyncMark,
    Vectors,
    VectorStore,
)
from qafila.stores.qdrant import alias as qdrant_alias
from qafila.stores.qdrant.store import QdrantStore
from qafila.stores.row_sets import NOBODY
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.fingerprint import text_digest
from tests.support.columns import ColumnBehindApplication, make_item_table
from tests.support.qdrant_ways import WAYS, delete_collections, own_workload, qdrant_client

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


@pytest.mark.without("memory", reason="it is gone with its process")
def test_another_fingerprint_is_refused(store: VectorStore, reopen: Reopen) -> None:
    store.claim(0, 1)
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
    assert store.removal()
    store.drop()
    assert store.removal() == []
    assert other.removal()
    assert other.count() == 1
    kept = other.claim(0, 2)
    assert (kept.last_key, kept.finished) == (["a"], True)
    store.prepare()
    assert (store.count(), store.claim(0, 1).last_key) == (0, None)


@pytest.mark.without("memory", reason="it has no pointer")
@pytest.mark.parametrize("role", ["trial", "serving", "previous"])
def test_what_the_pointer_names_is_not_dropped(
    store: VectorStore, reopen: Reopen, role: str
) -> None:
    other = reopen(dataclasses.replace(PLACE, generation=2))
    other.prepare()
    store.claim(0, 1)
    store.write(chunks("a"), vectors(1), Checkpoint(0, 1, ["a"], 1, 1, True))
    point_at(store, role)
    with pytest.raises(Refused, match=r"generation 1 of .* is not dropped") as refused:
        store.drop()
    assert refused.value.kept == "all of its rows and its index."
    assert (store.count(), store.claim(0, 2).last_key) == (1, ["a"])
    assert store.removal()


def point_at(store: VectorStore, role: str) -> None:
    """Let the pointer name generation 1 as what the role says."""
    if isinstance(store, QdrantStore):
        client, name = store._client, store._place.workload
        if role == "trial":
            qdrant_alias.set_trial(client, name, 1, 1)
        else:
            qdrant_alias.move_alias(client, name, 1, 1)
        if role == "previous":
            qdrant_alias.move_alias(client, name, 2, 2)
        return
    assert isinstance(store, PgvectorStore | ColumnStore)
    target = store._connection
    if role == "trial":
        alias.set_trial(target, PLACE.workload, 1, 1)
    else:
        alias.move_alias(target, PLACE.workload, 1, 1)
    if role == "previous":
        alias.move_alias(target, PLACE.workload, 2, 2)


@pytest.mark.without("column", reason="a row has one chunk: test_column_layout.py replaces it")
def test_a_document_is_replaced_whole_and_a_deleted_one_is_gone(store: VectorStore) -> None:
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


def held(store: VectorStore, batch_rows: int = 10) -> list[tuple[bytes, int, bool, bytes]]:
    """Return all witnesses of a store, sorted, and check that they come in batches."""
    found: list[tuple[bytes, int, bool, bytes]] = []
    for part in store.witnesses(batch_rows):
        assert 0 < len(part.keys) <= batch_rows
        digests = [bytes(d) for d in part.digests]
        rows = part.keys, part.numbers.tolist(), part.marked.tolist(), digests
        found += zip(*rows, strict=True)
    return sorted(found)


def test_every_chunk_is_a_witness_once(store: VectorStore) -> None:
    assert held(store) == []
    keys = [f"k{n:02}" for n in range(25)] + ["é", "ب", "K", "_"]
    store.claim(0, 1)
    store.write(chunks(*keys), vectors(len(keys)), Checkpoint(0, 1, ["_"], 29, 29, True))
    expected = [(k.encode(), 0, True, text_digest(f"text {k}")) for k in keys]
    assert held(store) == sorted(expected)


def test_a_stream_of_witnesses_may_be_left_at_any_row(store: VectorStore) -> None:
    store.claim(0, 1)
    store.write(chunks(*"abcde"), vectors(5), Checkpoint(0, 1, ["e"], 5, 5, True))
    stream = store.witnesses(2)
    next(stream)
    del stream
    assert (store.count(), len(held(store))) == (5, 5)


def test_readers_are_counted_by_group(store: VectorStore) -> None:
    store.claim(0, 1)
    some = [*chunks("a", "b"), *chunks("c", acl="hr")]
    some[0].acl, some[1].acl = ["public", "hr"], []
    store.write(some, vectors(3), Checkpoint(0, 1, ["c"], 3, 3, True))
    assert dict(store.readers()) == {"public": 1, "hr": 2, NOBODY: 1}


def test_what_is_stored_of_a_document_comes_back_whole(
    store: VectorStore, precision: float
) -> None:
    written = chunks("a", "b", "c")
    if not isinstance(store, ColumnBehindApplication):  # whose metadata are columns of the table
        written[1].metadata = {"n": 1, "x": 1.0, "deep": [None, True, {"ä": "1"}]}
        written.insert(1, dataclasses.replace(written[0], number=1, start=2, end=6, title="T"))
    known = vectors(len(written))
    store.claim(0, 1)
    store.write(written, known, Checkpoint(0, 1, ["c"], 3, len(written), True))
    found = store.stored(["a", "b", "x"])
    order = sorted(range(len(found.chunks)), key=lambda n: chunk_place(found.chunks[n]))
    assert [found.chunks[n] for n in order] == written[:-1]
    assert set(found.fingerprints) == {PLACE.fingerprint}
    np.testing.assert_allclose(found.vectors[order], known[:-1], rtol=0, atol=precision)
    assert repr(found.chunks[order[-1]].metadata) == repr(written[-2].metadata)
    assert store.stored(["x"]).vectors.shape == (0, 8)


def chunk_place(chunk: Chunk) -> tuple[str, int]:
    return chunk.source_key, chunk.number


def filled(store: VectorStore, batch: list[Chunk]) -> Vectors:
    made = vectors(len(batch))
    store.claim(0, 1)
    last = [batch[-1].source_key]
    store.write(batch, made, Checkpoint(0, 1, last, len(batch), len(batch), True))
    store.build_index()
    return made


def with_metadata(key: str, acl: str = "public", **metadata: object) -> Chunk:
    return dataclasses.replace(chunks(key, acl=acl)[0], metadata=metadata)


VALUES = [
    (Holds("kind", "a"), {"k0", "k4"}),  # a list counts by its items
    (Holds("kind", "A"), set()),  # case counts
    (Holds("year", 2024), {"k1"}),
    (Holds("year", "2024"), {"k3"}),  # a text is no number
    (Holds("open", True), {"k2"}),
    (Holds("a.b", "dotted"), {"k5"}),  # a dot in a name is no step deeper
    (Holds("a.c", "nested"), set()),
    (Holds("50%", "x"), {"k6"}),
    (Holds("nobody", "has"), set()),
]


@pytest.mark.without("column", reason="its metadata are columns: test_other_stores.py")
def test_a_search_is_narrowed_by_a_value_of_the_metadata(
    store: VectorStore, request: pytest.FixtureRequest
) -> None:
    batch = [
        with_metadata("k0", kind="a"),
        with_metadata("k1", year=2024),
        with_metadata("k2", open=True),
        with_metadata("k3", year="2024", open="true"),
        with_metadata("k4", kind=["b", "a"]),
        with_metadata("k5", **{"a.b": "dotted", "a": {"c": "nested"}}),
        with_metadata("k6", **{"50%": "x"}),
        with_metadata("k7", acl="hr", kind="a"),
    ]
    filled(store, batch)
    query = vectors(1, seed=4)[0]
    engine = "qdrant-engine" in request.node.name  # its binding makes 1 of True
    for where, expected in (v for v in VALUES if not (engine and v[0].value is True)):
        for found in (
            store.search(query, 9, ["public"], where),
            store.search(query, 9, ["public"], where, Effort(40, strict=True)),
            store.search_exact(query, 9, ["public"], where),
        ):
            assert {h.source_key for h in found} == expected, where
        assert store.matching(["public"], where) == len(expected), where
    assert store.matching(["public", "hr"], Holds("kind", "a")) == 3


ODD_FIELDS = {
    'a "b"': "quote",
    "c\\d": "backslash",
    "": "none",
    "année 1": "space",
    "e[0]": "index",
}


@pytest.mark.without("column", reason="its metadata are columns: test_other_stores.py")
def test_a_field_of_any_name_is_filtered_by_or_is_neither_offered_nor_asked_for(
    store: VectorStore,
) -> None:
    """Paths of Qdrant have quotes and no escape: a quote or a backslash in a name ends them."""
    filled(store, [with_metadata(v, **{f: v}) for f, v in ODD_FIELDS.items()])
    query, offered = vectors(1, seed=4)[0], {h.field for h in store.values()}
    for field, value in ODD_FIELDS.items():
        where = Holds(field, value)
        if isinstance(store, QdrantStore) and value in ("quote", "backslash"):
            assert field not in offered
            for ask in (
                lambda where=where: store.search(query, 9, ["public"], where),
                lambda where=where: store.search_exact(query, 9, ["public"], where),
                lambda where=where: store.matching(["public"], where),
            ):
                with pytest.raises(Refused) as refused:
                    ask()
                assert repr(field) in refused.value.what
                assert "under another name" in refused.value.remedy
        else:
            assert field in offered
            found = store.search_exact(query, 9, ["public"], where)
            assert [h.source_key for h in found] == [value], where
            assert store.matching(["public"], where) == 1


def test_a_part_is_drawn_the_same_each_time_and_by_its_seed(store: VectorStore) -> None:
    filled(store, chunks(*(f"k{n:03}" for n in range(400))))
    query, part = vectors(1, seed=4)[0], Part(0.1, seed=7)
    first = {h.source_key for h in store.search_exact(query, 400, ["public"], part)}
    assert 15 <= len(first) <= 70  # 40 and more than four standard deviations either way
    assert len(first) == store.matching(["public"], part)
    assert {h.source_key for h in store.search_exact(query, 400, ["public"], part)} == first
    assert {h.source_key for h in store.search(query, 5, ["public"], part)} <= first
    other = store.search_exact(query, 400, ["public"], Part(0.1, seed=8))
    assert {h.source_key for h in other} != first
    assert store.search(query, 5, ["hr"], part) == []


@pytest.mark.without("column", reason="its metadata are columns: test_other_stores.py")
def test_what_metadata_can_be_filtered_by_is_counted(store: VectorStore) -> None:
    batch = [
        *(with_metadata(f"a{n}", kind="a", year=2024) for n in range(3)),
        *(with_metadata(f"h{n}", kind="b", list=["x"], deep={"x": 1}, part=0.5) for n in range(2)),
        *chunks("none"),
    ]
    filled(store, batch)
    assert dict(store.values()) == {
        Holds("kind", "a"): 3,
        Holds("year", 2024): 3,
        Holds("kind", "b"): 2,
    }


def test_readers_see_their_chunks_and_nobody_sees_anything(store: VectorStore) -> None:
    filled(store, [*chunks("a", "b"), *chunks("c", acl="hr")])
    keys = ["a", "b", "c", "not there"]
    query = vectors(1)[0]
    for groups, expected in (
        (["public"], {"a", "b"}),
        (["hr"], {"c"}),
        (["hr", "public"], {"a", "b", "c"}),
        (["pub"], set()),
        (["50%s"], set()),
        ([], set()),
    ):
        assert store.visible(keys, groups) == {(k, 0) for k in expected}
        assert store.visible(["a"], groups) == {(k, 0) for k in expected & {"a"}}
        assert {h.source_key for h in store.search(query, 9, groups)} == expected
        assert store.matching(groups) == len(expected)


def test_a_chunk_without_a_group_is_nobodys_in_every_store(store: VectorStore) -> None:
    """In a table of the application this is NULL in the column of the groups."""
    nobodys = [dataclasses.replace(c, acl=[]) for c in chunks("b", "c")]
    filled(store, [*chunks("a"), *nobodys])
    query = vectors(1)[0]
    for groups in (["everyone"], ["public"], ["everyone", "public"], []):
        expected = {"a"} & ({"a"} if "public" in groups else set())
        assert {k for k, _ in store.visible(["a", "b", "c"], groups)} == expected
        assert {h.source_key for h in store.search(query, 9, groups)} == expected
        assert {h.source_key for h in store.search_exact(query, 9, groups)} == expected
        assert store.matching(groups) == len(expected)
    assert store.readers() == {"public": 1, NOBODY: 2}
    assert {c.source_key: list(c.acl) for c in store.stored(["b", "c"]).chunks} == {
        "b": [],
        "c": [],
    }
    scanned = {c.source_key: list(c.acl) for part, _ in store.scan(2) for c in part}
    assert scanned == {"a": ["public"], "b": [], "c": []}


def test_the_index_is_well_after_it_was_built(store: VectorStore) -> None:
    filled(store, chunks(*(f"k{n:03}" for n in range(60))))
    assert store.index_problems() == []
    assert store.scans(["public"]) in (True, False)
