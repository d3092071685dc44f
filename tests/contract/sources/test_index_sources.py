"""An index that is there already as a source: whose layouts are read, and what is refused."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import psycopg
import pytest
from qdrant_client import QdrantClient, models

from qafila.errors import BackfillHalted, BadInput, Refused
from qafila.sources.pgvector import PgvectorSource
from qafila.sources.port import Piece, Source, SourceRow
from qafila.sources.qdrant import QdrantSource
from qafila.sql import apply_schema
from qafila.stack import postgres
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place, VectorStore
from qafila.stores.qdrant.store import QdrantStore
from qafila.workload.corpus import PgvectorSource as PgvectorSettings
from qafila.workload.corpus import QdrantSource as QdrantSettings
from qafila.workload.fingerprint import text_digest
from tests.support.qdrant_ways import qdrant_client

PLACE = Place("docs-search", 1, "f" * 16, 4)


@pytest.fixture(scope="module")
def database(pg_server: postgres.Postgres) -> str:
    url = postgres.ensure_database(pg_server, f"index_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url) as connection:
        apply_schema(connection, "target")
    return url


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("DROP TABLE IF EXISTS t")
        yield connection


def table(db: psycopg.Connection[Any], **settings: Any) -> PgvectorSource:
    asked = {"kind": "pgvector", "block": "b", "table": "t", "vectors": {"model": "m"}, **settings}
    return PgvectorSource(db, PgvectorSettings.model_validate(asked))


def collection(client: QdrantClient, **settings: Any) -> QdrantSource:
    asked = {
        "kind": "qdrant",
        "block": "b",
        "collection": "t",
        "vectors": {"model": "m"},
        **settings,
    }
    return QdrantSource(client, QdrantSettings.model_validate(asked))


def read(source: Source, rows_per_shard: int = 3) -> list[SourceRow]:
    return [
        row
        for shard in source.freeze(rows_per_shard)
        for batch in source.read(shard.low, shard.high, 2)
        for row in batch
    ]


def chunks() -> tuple[list[Chunk], np.ndarray[Any, Any]]:
    texts = [("a", 0, 0, "Text un"), ("a", 1, 8, "deux 😀"), ("b", 0, 0, "كتاب"), ("12", 0, 0, "x")]
    made = [
        Chunk(key, n, start, start + len(t), "T", t, text_digest(t), ["hr", "it"], {"by": key})
        for key, n, start, t in texts
    ]
    raw = np.random.default_rng(5).normal(size=(4, 4)).astype(np.float32)
    return made, raw / np.linalg.norm(raw, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", ["pgvector", "qdrant"])
def test_a_generation_of_our_own_comes_back_as_it_was_written(
    db: psycopg.Connection[Any], kind: str
) -> None:
    made, vectors = chunks()
    client = QdrantClient(":memory:")
    store: VectorStore = (
        PgvectorStore(db, PLACE) if kind == "pgvector" else QdrantStore(client, PLACE)
    )
    store.prepare()
    store.claim(0, 1)
    store.write(made, vectors, Checkpoint(0, 1, ["b"], 3, 4, True))
    kept: dict[str, Any] = {"title": "title", "acl": "acl", "metadata": ["metadata"]}
    source: Source = (
        table(db, table=f"qafila.{PLACE.name}", **kept)
        if kind == "pgvector"
        else collection(client, collection=PLACE.name, **kept)
    )
    assert source.problems() == []
    found = {(r.piece.source_key, r.piece.number): r for r in read(source) if r.piece}
    assert len(found) == 4
    for chunk, vector in zip(made, vectors, strict=True):
        row = found[chunk.source_key, chunk.number]
        assert row.piece == Piece(chunk.source_key, chunk.number, chunk.start, chunk.end)
        assert (row.title, row.text, list(row.acl)) == ("T", chunk.text, ["hr", "it"])
        assert row.metadata == {"by": chunk.source_key}
        assert row.vector is not None
        np.testing.assert_array_equal(row.vector, vector)
    again = source.fetch(["a", "12", "gone"])
    assert sorted((r.piece.source_key, r.piece.number) for r in again if r.piece) == [
        ("12", 0),
        ("a", 0),
        ("a", 1),
    ]


def test_a_table_of_another_tool_with_one_key_and_some_nulls(db: psycopg.Connection[Any]) -> None:
    db.execute(
        "CREATE TABLE t (id uuid PRIMARY KEY, document text, cmetadata jsonb, embedding vector)"
    )
    db.execute(
        "INSERT INTO t SELECT md5(n::text)::uuid, CASE WHEN n > 1 THEN 'text ' || n END,"
        " jsonb_build_object('source', n),"
        " CASE n WHEN 2 THEN NULL WHEN 3 THEN '[1,2]'::vector ELSE '[1,2,3]'::vector END"
        " FROM generate_series(1, 5) n"
    )
    source = table(db, key=["id"], text="document", metadata=["cmetadata"])
    assert source.problems() == []
    rows = {r.metadata["source"]: r for r in read(source, 2)}
    assert rows[1].text == ""
    assert rows[2].vector is None
    assert [rows[n].vector.tolist() for n in (3, 4)] == [[1, 2], [1, 2, 3]]  # type: ignore[union-attr]
    assert rows[4].piece == Piece(rows[4].key[0], 0, 0, len("text 4"))
    assert [r.key_text for r in source.fetch([rows[5].key_text])] == [rows[5].key_text]


def test_a_key_of_other_columns_is_one_document_a_row(db: psycopg.Connection[Any]) -> None:
    db.execute(
        "CREATE TABLE t (a text, b text, text text, embedding halfvec(2), PRIMARY KEY (a, b))"
    )
    db.execute("INSERT INTO t VALUES ('x', 'y', 't', '[1.5,-2]')")
    (row,) = read(table(db, key=["a", "b"]))
    assert row.piece == Piece('["x", "y"]', 0, 0, 1)
    assert row.vector is not None
    assert row.vector.tolist() == [1.5, -2.0]
    assert table(db, key=["a", "b"]).fetch([row.key_text])[0].text == "t"


def test_pgvector_in_a_schema_of_its_own(pg_server: postgres.Postgres) -> None:
    url = postgres.ensure_database(pg_server, f"apart_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as db:
        db.execute("CREATE SCHEMA apart")
        db.execute("CREATE EXTENSION vector SCHEMA apart")
        db.execute("CREATE TABLE t (id int PRIMARY KEY, text text, embedding apart.halfvec(2))")
        db.execute("INSERT INTO t VALUES (1, 't', '[1,2]')")
        source = table(db, key=["id"])
        assert source.problems() == []
        assert [r.vector.tolist() for r in read(source) if r.vector is not None] == [[1, 2]]


def test_what_is_no_index_is_named(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY, text text, embedding real[], v sparsevec(9))")
    assert "vector or halfvec" in table(db, key=["id"]).problems()[0]
    assert "vector or halfvec" in table(db, key=["id"], embedding="v").problems()[0]
    assert len(table(db, key=["id", "no"], text="none", embedding="gone").problems()) == 3


def test_a_nul_in_json_beside_a_chunk_stops_no_other_chunk(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY, text text, m json, embedding vector(2))")
    db.execute(r"""INSERT INTO t VALUES (1, 'x', '{"a": "\u0000"}', '[1,2]'),
                                        (2, 'y', '{"a": [1]}', '[1,2]')""")
    rows = read(table(db, key=["id"], metadata=["m"]))
    assert [r.metadata for r in rows] == [{"a": "\0"}, {"a": [1]}]


def test_bytes_are_no_text_of_a_chunk(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY, text bytea, title bytea, embedding vector(2))")
    told = table(db, key=["id"], title="title").problems()
    assert [p.split(",")[0] for p in told] == [
        f"text column {c!r} is bytea" for c in ("text", "title")
    ]


def test_a_number_that_numbers_no_chunk_is_named_with_the_way_out(
    db: psycopg.Connection[Any],
) -> None:
    db.execute(
        "CREATE TABLE t (tenant text, id bigint, text text, embedding vector(2),"
        " PRIMARY KEY (tenant, id))"
    )
    for number in (-1, 2**31):
        db.execute("INSERT INTO t VALUES ('a', %s, 'x', '[1,2]')", [number])
        (told,) = table(db, key=["tenant", "id"]).problems()
        assert "name it first" in told
        other_way = table(db, key=["id", "tenant"])
        assert other_way.problems() == []
        assert [r.key_text for r in read(other_way)] == [f'["{number}", "a"]']
        db.execute("DELETE FROM t")
    db.execute("INSERT INTO t VALUES ('a', 0, 'x', '[1,2]'), ('a', 2147483647, 'x', '[1,2]')")
    assert table(db, key=["tenant", "id"]).problems() == []


def test_a_vector_column_that_changes_stops_the_load(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY, text text, embedding vector(2))")
    db.execute("INSERT INTO t SELECT n, 'x', '[1,2]' FROM generate_series(1, 6) n")
    source = table(db, key=["id"])
    shape, batches = source.shape(), source.read(None, None, 2)
    next(batches)
    db.execute("ALTER TABLE t ALTER COLUMN embedding TYPE halfvec(2)")
    with pytest.raises(BackfillHalted, match="changed its shape"):
        next(batches)
    assert source.shape() != shape


@pytest.fixture
def client() -> QdrantClient:
    client = QdrantClient(":memory:")
    client.create_collection(
        "t",
        vectors_config={
            "a": models.VectorParams(size=2, distance=models.Distance.COSINE),
            "many": models.VectorParams(
                size=2,
                distance=models.Distance.DOT,
                multivector_config=models.MultiVectorConfig(
                    comparator=models.MultiVectorComparator.MAX_SIM
                ),
            ),
        },
        sparse_vectors_config={"thin": models.SparseVectorParams()},
    )
    return client


def test_a_collection_of_another_tool(client: QdrantClient) -> None:
    ids: list[int | str] = [2**63, 7, str(uuid.UUID(int=5)), str(uuid.UUID(int=2**127)), 0]
    client.upsert(
        "t",
        [
            models.PointStruct(
                id=i,
                vector={} if i == 7 else {"a": [3, 4]},
                payload={"page_content": f"text {i}", "metadata": {"ref": n, "source": "s"}},
            )
            for n, i in enumerate(ids)
        ],
    )
    settings = {"vector_name": "a", "text": "page_content", "metadata": ["metadata"]}
    plain = collection(client, key=None, number=None, **settings)
    assert plain.problems() == []
    rows = read(plain, 2)
    assert [r.key for r in rows] == [[0], [7], [2**63], [ids[2]], [ids[3]]]
    assert [r.key_text for r in rows] == [str(i) for i in sorted(ids[:2] + ids[4:], key=int)] + ids[
        2:4
    ]
    assert rows[1].vector is None
    assert rows[0].vector is not None
    np.testing.assert_allclose(rows[0].vector, [0.6, 0.8])
    assert rows[0].metadata == {"ref": 4, "source": "s"}
    assert [r.key for r in plain.fetch(["7", str(ids[3]), "no id", "-1", str(2**70)])] == [
        [7],
        [ids[3]],
    ]
    by_reference = collection(client, key="metadata.ref", number=None, **settings)
    assert by_reference.problems() == []
    assert [r.key for r in by_reference.fetch(["1", "4", "x"])] == [[7], [0]]


@pytest.mark.parametrize(
    "key",
    ["doc.id", "metadata.ref", "_node_content.ref", "my key", "_node.my key", "clé-1", "ids[0]"],
)
def test_a_key_is_found_again_wherever_it_stands(client: QdrantClient, key: str) -> None:
    """In a field with dots in its name, in an object, in JSON that is kept as one text."""

    def payload(n: int) -> dict[str, Any]:
        ref = f"d{n}" if n % 2 else n
        inside = {"ref": ref, "text": f"text {n}", "my key": ref}
        return {
            "doc.id": ref,
            "metadata": inside,
            "_node_content": json.dumps(inside),
            "my key": ref,
            "_node": inside,
            "clé-1": ref,
            "ids[0]": ref,
            "the text": f"text {n}",
        }

    client.upsert(
        "t", [models.PointStruct(id=n, vector={"a": [3, 4]}, payload=payload(n)) for n in range(6)]
    )
    opened = collection(client, vector_name="a", key=key, number=None, text="the text")
    assert opened.problems() == []
    assert [r.key_text for r in read(opened, 2)] == ["0", "d1", "2", "d3", "4", "d5"]
    client.upsert(
        "t",
        [  # a list with a key in it is no key
            models.PointStruct(id=9, vector={}, payload={"metadata": {"ref": ["d1"]}, key: ["d1"]})
        ],
    )
    found = opened.fetch(["d1", "4", "never", "d5", "٣", "²"])
    assert [(r.key_text, r.text) for r in found] == [
        ("4", "text 4"),
        ("d1", "text 1"),
        ("d5", "text 5"),
    ]


@pytest.mark.parametrize("way", ["qdrant", "qdrant-engine"])
def test_whole_numbers_of_64_bits_are_found_again(way: str) -> None:
    keys = [2**64 - 1, 2**63, 2**63 - 1, -(2**63), 0]
    with qdrant_client(way) as client:
        params = models.VectorParams(size=2, distance=models.Distance.DOT)
        client.create_collection("t", vectors_config=params)
        client.upsert(
            "t",
            [
                models.PointStruct(id=n, vector=[1, 0], payload={"ref": k, "text": "t"})
                for n, k in enumerate(keys)
            ],
            wait=True,
        )
        opened = collection(client, key="ref", number=None)
        assert [r.key_text for r in read(opened)] == [*map(str, keys)]
        asked = [*map(str, keys), str(2**70), "٣", "9" * 5_000]
        assert {r.key_text for r in opened.fetch(asked)} == {*map(str, keys)}
        by_id = collection(client, key=None, number=None)
        assert [r.key for r in by_id.fetch(["1", "9" * 5_000])] == [[1]]


@pytest.mark.parametrize("way", ["qdrant", "qdrant-engine"])
def test_a_field_that_no_path_of_qdrant_can_name_is_refused(way: str) -> None:
    """Its paths have quotes and no escape: a quote or a backslash in a name ends them."""
    with qdrant_client(way) as client:
        params = models.VectorParams(size=2, distance=models.Distance.DOT)
        client.create_collection("t", vectors_config=params)
        payload = {'a "b"': "x", "c\\d": 0, "text": "t", 'm"': 1}
        client.upsert("t", [models.PointStruct(id=1, vector=[1, 0], payload=payload)], wait=True)
        told = collection(client, key='a "b"', number="c\\d", text='x."').problems()
        assert [p.split(" is ")[0] for p in told] == [
            f"corpus.source.{s}" for s in ("text", "key", "number")
        ]
        assert all("write the field under another name" in p for p in told)
        kept = collection(client, key=None, number=None, metadata=['m"'], title='a "b"')
        assert kept.problems() == []
        assert [(r.title, r.metadata) for r in read(kept)] == [("x", {'m"': 1})]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"collection": "gone"}, "it has: t"),
        ({}, "no vector ''"),
        ({"vector_name": "thin"}, "sparse"),
        ({"vector_name": "many"}, "several vectors a point"),
        ({"vector_name": "a", "vectors": {"model": "m", "normalised": False}}, "normalises"),
    ],
)
def test_what_is_no_collection_of_vectors_is_named(
    client: QdrantClient, settings: dict[str, Any], named: str
) -> None:
    told = collection(client, **settings).problems()
    assert any(named in p for p in told)


def test_points_without_a_key_or_with_the_same_are_all_named(client: QdrantClient) -> None:
    payloads: list[dict[str, Any]] = [
        {"source_key": "a", "chunk_number": 0, "text": "x", "acl": ["hr"]},
        {"source_key": "a", "chunk_number": 0, "text": "x", "acl": ["hr"]},
        {"chunk_number": 0},
        {"source_key": "b"},
        {"source_key": 1.5, "chunk_number": 0},
        {"source_key": "c", "chunk_number": True},
        {"source_key": "d", "chunk_number": 1},
    ]
    client.upsert(
        "t",
        [models.PointStruct(id=n, vector={"a": [1, 0]}, payload=p) for n, p in enumerate(payloads)],
    )
    told = collection(client, vector_name="a", acl="acl").problems()
    assert [p.split(":")[0] for p in told[:-1]] == [f"point {n}" for n in (2, 3, 4, 5, 6)]
    assert told[-1].startswith("2 points, 0 one of them, are chunk 0 of 'a'")
    with pytest.raises(BadInput, match="point 2"):
        read(collection(client, vector_name="a"), 100)
    by_id = collection(client, vector_name="a", key=None, number=None, acl="acl").problems()
    assert [p.split(":")[0] for p in by_id] == [f"point {n}" for n in (2, 3, 4, 5, 6)]
    assert all("nobody could read it" in p for p in by_id)
    client.upsert(
        "t",
        [
            models.PointStruct(
                id=n,
                vector={"a": [1, 0]},
                payload={"source_key": "z", "chunk_number": number, "text": "x"},
            )
            for n, number in ((20, -1), (21, 2**31))
        ],
    )
    told = collection(client, vector_name="a").problems()
    assert [p for p in told if "numbers no chunk" in p] == [
        f"point {n}: 'chunk_number' is {number}, which numbers no chunk"
        for n, number in ((20, -1), (21, 2**31))
    ]
    assert "has a text at 'body'" in collection(client, vector_name="a", text="body").problems()[0]


@pytest.mark.parametrize(
    "kind", ["vector", "halfvec", "dot", "cosine", "euclid", "named vector", "engine"]
)
def test_an_index_is_searched_as_it_is(db: psycopg.Connection[Any], kind: str) -> None:
    made, vectors = chunks()
    asked = vectors[2] + 0.1 * vectors[0]
    unit = asked / np.linalg.norm(asked)
    expected = sorted(
        ((c.source_key, c.number, float(v @ unit)) for c, v in zip(made, vectors, strict=True)),
        key=lambda f: -f[2],
    )
    with ExitStack() as stack:
        source: Any
        if kind in ("vector", "halfvec"):
            db.execute(
                f"CREATE TABLE t (source_key text, chunk_number int, text text, embedding {kind},"
                " PRIMARY KEY (source_key, chunk_number))"
            )
            for c, v in zip(made, vectors, strict=True):
                db.execute(
                    "INSERT INTO t VALUES (%s, %s, %s, %s)",
                    [c.source_key, c.number, c.text, str(v.tolist())],
                )
            db.execute("INSERT INTO t VALUES ('none', 0, 'x', NULL), ('short', 0, 'x', '[1,2]')")
            db.execute("SET enable_seqscan = off")
            source = table(db)
        else:
            client = stack.enter_context(
                qdrant_client("qdrant-engine" if kind == "engine" else "qdrant")
            )
            distance = {"cosine": models.Distance.COSINE, "euclid": models.Distance.EUCLID}.get(
                kind, models.Distance.DOT
            )
            params = models.VectorParams(size=4, distance=distance)
            name = "own" if kind == "named vector" else ""
            client.create_collection("t", vectors_config={name: params} if name else params)
            points = [
                models.PointStruct(
                    id=n,
                    vector={name: v.tolist()} if name else v.tolist(),
                    payload={"source_key": c.source_key, "chunk_number": c.number, "text": c.text},
                )
                for n, (c, v) in enumerate(zip(made, vectors, strict=True))
            ]
            client.upsert("t", points, wait=True)
            source = collection(client, vector_name=name)
        found = source.nearest(unit.astype(np.float32), 3)
        assert [f[:2] for f in found] == [e[:2] for e in expected[:3]]
        scores = [f[2] for f in found]
        assert scores == pytest.approx([e[2] for e in expected[:3]], abs=source.rounds)


def test_scores_that_are_no_cosine_are_refused() -> None:
    with qdrant_client("qdrant") as client:
        params = models.VectorParams(size=4, distance=models.Distance.MANHATTAN)
        client.create_collection("t", vectors_config=params)
        with pytest.raises(Refused, match="says nothing about cosine"):
            collection(client).nearest(np.ones(4, np.float32), 3)
