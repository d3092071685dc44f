"""One suite for every source: PostgreSQL, files, S3, pgvector and Qdrant's local mode.

Each world holds the same documents, knows how to add and remove one, and in which order its source
puts their keys. A source is opened anew wherever another process would open it.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import duckdb
import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgvector.psycopg import register_vector
from qdrant_client import QdrantClient, models

from qafila.connecting import connect_s3
from qafila.core.corpus import ObjectSource as ObjectSettings
from qafila.core.corpus import PgvectorSource as PgvectorSettings
from qafila.core.corpus import PostgresSource as PostgresSettings
from qafila.core.corpus import QdrantSource as QdrantSettings
from qafila.errors import BadInput
from qafila.stack import postgres
from tasks.sources.objects import ObjectSource, files_of
from tasks.sources.pgvector import PgvectorSource
from tasks.sources.port import Key, KeyRange, Source, SourceRow
from tasks.sources.postgres import PostgresSource
from tasks.sources.qdrant import QdrantSource
from tests.aws import running_moto
from tests.pdf import pdf_of

# keys that sort otherwise by letters, by bytes or by number; a file's name can be any of them
KEYS = ["10", "9", "B", "a", "é", "e\u0301x", "كتاب", "z z", "100 %", "{0}", "it's", "ÿ", "🐪", "_"]
BELOW, BETWEEN, ABOVE = "!", "M", "🐫🐫"


@dataclass
class World:
    """A source with its documents; ``order`` sorts keys as the source does."""

    name: str
    reopen: Callable[[], Source]
    put: Callable[[str, str], None]
    remove: Callable[[str], None]
    order: Callable[[str], Any] = lambda key: key.encode()
    key_of: Callable[[str], str] = lambda key: key
    has_vectors: bool = False
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, text: str) -> None:
        self.put(key, text)
        self.texts[self.key_of(key)] = text

    def drop(self, key: str) -> None:
        self.remove(key)
        del self.texts[self.key_of(key)]

    @property
    def keys(self) -> list[str]:
        return sorted(self.texts, key=self.order)


@dataclass
class Folder:
    """Records of one format in a few files, written anew whenever one changes."""

    path: Path
    format: str
    records: dict[str, str] = field(default_factory=dict)

    def put(self, key: str, text: str) -> None:
        self.records[key] = text
        self._write()

    def remove(self, key: str) -> None:
        del self.records[key]
        self._write()

    def _write(self) -> None:
        rows = list(self.records.items())
        random.Random(7).shuffle(rows)
        for number in range(3):  # the first one lies deeper
            folder = self.path / "deeper" if number == 0 else self.path
            folder.mkdir(parents=True, exist_ok=True)
            write(self.format, folder / f"part-{number}.{self.format}", rows[number::3])


def write(format_: str, path: Path, rows: list[tuple[str, str]]) -> None:
    if format_ == "jsonl":
        lines = [{"id": k, "text": t, "info": {"by": "me"}} for k, t in rows]
        path.write_text("".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))
    elif format_ == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter=";").writerows([("id", "text"), *rows])
    elif format_ == "parquet":
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE t (id TEXT, text TEXT)")
            if rows:
                connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
            connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")


DOCUMENTS: dict[str, Callable[[str], bytes]] = {
    "markdown": lambda text: f"# A title\n\n{text}\n".encode(),
    "html": lambda text: f"<meta charset=utf-8><body><p>{text}</p>".encode(),
    "pdf": pdf_of,
}
ENDINGS = {"markdown": ".md", "html": ".html", "pdf": ".pdf"}
NAMES = [
    "postgres table", "postgres query", "jsonl", "csv", "parquet", "markdown", "html", "pdf",
    "s3 jsonl", "pgvector", "qdrant",
]  # fmt: skip


@pytest.fixture(scope="module")
def database(pg_server: postgres.Postgres) -> str:
    return postgres.ensure_database(pg_server, f"sources_{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture(params=NAMES)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    yield from make_world(request, str(request.param))


def make_world(request: pytest.FixtureRequest, name: str) -> Iterator[World]:
    home = Path(tempfile.mkdtemp(prefix="qafila-source-"))
    made: World
    if name.startswith("postgres") or name == "pgvector":
        with psycopg.connect(
            request.getfixturevalue("database"), autocommit=True, prepare_threshold=None
        ) as db:
            made = in_postgres(db, name)
            for number, key in enumerate(KEYS):
                made.add(key, f"text {number} of {key}")
            yield made
    else:
        if name == "qdrant":
            made = in_qdrant()
        elif name == "s3 jsonl":
            made = in_s3(request.getfixturevalue("moto_url"), home)
        else:
            made = in_files(home, name)
        for number, key in enumerate(KEYS):
            made.add(key, f"text {number} of a document")
        yield made
    shutil.rmtree(home)


def in_postgres(db: psycopg.Connection[Any], name: str) -> World:
    db.execute("CREATE EXTENSION IF NOT EXISTS vector")
    register_vector(db)
    db.execute("DROP TABLE IF EXISTS doc")
    db.execute(
        'CREATE TABLE doc (id text COLLATE "C", part int DEFAULT 0, body text,'
        " embedding halfvec(3), PRIMARY KEY (id, part))"
    )

    def put(key: str, text: str) -> None:
        db.execute(
            "INSERT INTO doc VALUES (%s, 0, %s, '[1,2,3]') ON CONFLICT (id, part)"
            " DO UPDATE SET body = excluded.body",
            [key, text],
        )

    def remove(key: str) -> None:
        db.execute("DELETE FROM doc WHERE id = %s", [key])

    if name == "pgvector":
        parts: dict[str, Any] = {
            "kind": "pgvector", "block": "b", "table": "doc", "key": ["id", "part"],
            "text": "body", "vectors": {"model": "m"},
        }  # fmt: skip
        chunks = PgvectorSettings.model_validate(parts)
        return World(name, lambda: PgvectorSource(db, chunks), put, remove, has_vectors=True)
    where = {"table": "doc"} if "table" in name else {
        "query": "SELECT id, body, '100 %' AS share FROM doc WHERE part % 2 = 0"
    }  # fmt: skip
    rows = PostgresSettings.model_validate(
        {"kind": "postgres", "block": "b", "key": ["id"], "text": ["body"], **where}
    )
    return World(name, lambda: PostgresSource(db, rows), put, remove)


def in_files(home: Path, name: str) -> World:
    folder = home / "docs"
    folder.mkdir()
    asked = ObjectSettings.model_validate({"kind": "objects", "location": "docs", "format": name})

    def reopen() -> Source:
        return ObjectSource(asked, files_of(asked, home), home)

    if name not in DOCUMENTS:
        files = Folder(folder, name)
        return World(name, reopen, files.put, files.remove)

    def put(key: str, text: str) -> None:
        (folder / f"{key}{ENDINGS[name]}").write_bytes(DOCUMENTS[name](text))

    def remove(key: str) -> None:
        (folder / f"{key}{ENDINGS[name]}").unlink()

    return World(name, reopen, put, remove, key_of=lambda key: f"{key}{ENDINGS[name]}")


def in_s3(url: str, home: Path) -> World:
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    reach: dict[str, Any] = {
        "regions": ["us-east-1"], "endpoint_url": url, "access_key_id": "a",
        "secret_access_key": "b",
    }  # fmt: skip
    boto3.client(
        "s3", region_name="us-east-1", endpoint_url=url, aws_access_key_id="a",
        aws_secret_access_key="b",
    ).create_bucket(Bucket=bucket)  # fmt: skip
    client = connect_s3(**reach)
    asked = ObjectSettings.model_validate(
        {"kind": "objects", "location": f"s3://{bucket}/docs", "block": "b", "format": "jsonl"}
    )
    local = Folder(home / "local", "jsonl")

    def upload() -> None:
        for path in local.path.rglob("*.jsonl"):
            place = f"docs/{path.relative_to(local.path).as_posix()}"
            client.put_object(Bucket=bucket, Key=place, Body=path.read_bytes())

    def put(key: str, text: str) -> None:
        local.put(key, text)
        upload()

    def remove(key: str) -> None:
        local.remove(key)
        upload()

    return World("s3 jsonl", lambda: ObjectSource(asked, files_of(asked, home, client), home),
                 put, remove)  # fmt: skip


def in_qdrant() -> World:
    client = QdrantClient(":memory:")
    client.create_collection(
        "docs",
        vectors_config={"dense": models.VectorParams(size=3, distance=models.Distance.COSINE)},
    )
    asked = QdrantSettings.model_validate(
        {"kind": "qdrant", "block": "b", "collection": "docs", "vector_name": "dense",
         "key": "doc.key", "number": None, "text": "doc.text", "vectors": {"model": "m"}}
    )  # fmt: skip

    def id_of(key: str) -> int | str:
        if key == BELOW:
            return 0
        if key == ABOVE:
            return "ffffffff-ffff-ffff-ffff-ffffffffffff"
        return int(key) if key.isdecimal() else str(uuid.uuid5(uuid.NAMESPACE_DNS, key))

    def rank(key: str) -> tuple[int, int]:
        found = id_of(key)
        return (0, found) if isinstance(found, int) else (1, uuid.UUID(found).int)

    def put(key: str, text: str) -> None:
        point = models.PointStruct(
            id=id_of(key), vector={"dense": [1.0, 2.0, 3.0]},
            payload={"doc": {"key": key, "text": text}},
        )  # fmt: skip
        client.upsert("docs", [point])

    def remove(key: str) -> None:
        client.delete("docs", [id_of(key)])

    return World("qdrant", lambda: QdrantSource(client, asked), put, remove, order=rank,
                 has_vectors=True)  # fmt: skip


def rows_of(source: Source, shards: list[KeyRange], batch_rows: int) -> list[list[SourceRow]]:
    return [
        [row for batch in source.read(s.low, s.high, batch_rows) for row in batch] for s in shards
    ]


def through_json(shards: list[KeyRange]) -> list[KeyRange]:
    """Return ranges as they come back from the ledger."""
    return [KeyRange(*(json.loads(json.dumps(k)) for k in (s.low, s.high)), s.rows) for s in shards]


def test_every_row_is_read_once_and_in_key_order_over_any_plan(world: World) -> None:
    opened = world.reopen()
    assert opened.problems() == []
    rows_left = len(world.texts)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(1, rows_left + 2), st.integers(1, rows_left + 2))
    def check(rows_per_shard: int, batch_rows: int) -> None:
        shards = through_json(opened.freeze(rows_per_shard))
        assert (shards[0].low, shards[-1].high) == (None, None)
        assert [a.high for a in shards[:-1]] == [b.low for b in shards[1:]]
        found = rows_of(opened, shards, batch_rows)
        assert [r.key_text for shard in found for r in shard] == world.keys
        assert [len(shard) for shard in found] == [s.rows for s in shards]
        assert max(s.rows for s in shards) <= rows_per_shard

    check()


def test_reading_resumes_behind_any_key(world: World) -> None:
    opened = world.reopen()
    every = rows_of(opened, [KeyRange(None, None, 0)], 4)[0]
    for number, row in enumerate(every):
        again = world.reopen() if number % 5 == 0 else opened
        low: Key = json.loads(json.dumps(row.key))
        behind = [r for batch in again.read(low, None, 3) for r in batch]
        assert [r.key_text for r in behind] == world.keys[number + 1 :]
        upto = [r for batch in again.read(None, low, 3) for r in batch]
        assert [r.key_text for r in upto] == world.keys[: number + 1]


def test_texts_groups_and_vectors_arrive(world: World) -> None:
    opened = world.reopen()
    for row in rows_of(opened, [KeyRange(None, None, 0)], 100)[0]:
        assert world.texts[row.key_text] in row.text
        assert list(row.acl) == ["everyone"]
        assert (row.piece is not None, row.vector is not None) == (world.has_vectors,) * 2
        if row.vector is not None:
            assert row.vector.dtype == np.float32
            unit = row.vector / np.linalg.norm(row.vector)
            np.testing.assert_allclose(unit, np.array([1, 2, 3]) / 14**0.5, rtol=1e-6)


def test_a_row_that_comes_late_belongs_to_exactly_one_frozen_shard(world: World) -> None:
    shards = through_json(world.reopen().freeze(4))
    for key in (BELOW, BETWEEN, ABOVE):
        world.add(key, "late")
    found = rows_of(world.reopen(), shards, 3)
    assert [r.key_text for shard in found for r in shard] == world.keys
    places = {r.key_text: n for n, shard in enumerate(found) for r in shard}
    assert places[world.key_of(BELOW)] == 0
    assert places[world.key_of(ABOVE)] == len(shards) - 1


def test_rows_of_an_empty_source_belong_to_its_one_shard(world: World) -> None:
    if world.name in DOCUMENTS:
        pytest.skip("a folder without one file of the format is refused: a wrong place or format")
    for key in KEYS:
        world.drop(key)
    opened = world.reopen()
    assert opened.problems() == []
    assert opened.freeze(10) == [KeyRange(None, None, 0)]
    assert rows_of(opened, opened.freeze(10), 5) == [[]]
    world.add("a", "late")
    assert [r.key_text for r in rows_of(world.reopen(), [KeyRange(None, None, 0)], 5)[0]] == ["a"]


def test_documents_are_fetched_as_they_are_and_what_is_gone_is_not(world: World) -> None:
    gone, changed, kept = "B", "a", "كتاب"
    world.drop(gone)
    world.add(changed, "another text")
    asked = [world.key_of(k) for k in (gone, changed, kept, "never there")]
    found = {r.key_text: r for r in world.reopen().fetch(asked)}
    assert sorted(found) == sorted(world.key_of(k) for k in (changed, kept))
    assert all(world.texts[k] in row.text for k, row in found.items())
    assert world.reopen().fetch([]) == []


def test_it_says_what_it_promises_and_how_much_there_is(world: World) -> None:
    opened = world.reopen()
    told = opened.semantics
    assert all(len(sentence) > 20 for sentence in (told.order, told.snapshot, told.change))
    volume = opened.volume()
    assert volume.rows == len(KEYS)
    assert volume.text_bytes >= sum(len(t) for t in world.texts.values())
    assert opened.shape() == world.reopen().shape()


def test_a_shape_that_differs_is_seen(world: World) -> None:
    """Of tables and collections, columns and types; of files, their very versions."""
    before = world.reopen().shape()
    world.add("a", "a text that has another length than before")
    files = world.name not in ("postgres table", "postgres query", "pgvector", "qdrant")
    assert (world.reopen().shape() != before) == files


def test_a_key_that_is_there_twice_is_named(world: World) -> None:
    if world.name in DOCUMENTS or world.name == "pgvector" or "postgres" in world.name:
        pytest.skip("paths and primary keys are unique; see test_postgres_source for the rest")
    if isinstance(opened := world.reopen(), QdrantSource):
        opened._client.upsert("docs", [models.PointStruct(
            id=77, vector={"dense": [1.0, 0, 0]}, payload={"doc": {"key": "a", "text": "x"}},
        )])  # fmt: skip
        (problem,) = world.reopen().problems()
    else:
        world.add("twice", "x")
        assert isinstance(opened, ObjectSource)
        location = opened._settings.location
        if location.startswith("s3://"):
            files: Any = opened._files
            files._client.copy_object(
                Bucket=files._bucket, Key="docs/copy.jsonl",
                CopySource={"Bucket": files._bucket, "Key": "docs/part-1.jsonl"},
            )  # fmt: skip
        else:
            folder = opened._folder.parent / location
            shutil.copy(folder / f"part-1.{world.name}", folder / f"copy.{world.name}")
        with pytest.raises(BadInput) as refused:
            next(iter(world.reopen().read(None, None, 10)))
        problem = world.reopen().problems()[0]
        assert problem in refused.value.problems
    assert "2 " in problem
