"""The same documents in every kind of source, for the contract of sources."""

from __future__ import annotations

import csv
import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import duckdb
import psycopg
from pgvector.psycopg import register_vector
from qdrant_client import QdrantClient, models

from qafila.connections.aws import connect_s3
from qafila.sources.objects import ObjectSource, files_of
from qafila.sources.pgvector import PgvectorSource
from qafila.sources.port import Source
from qafila.sources.postgres import PostgresSource
from qafila.sources.qdrant import QdrantSource
from qafila.workload.corpus import ObjectSource as ObjectSettings
from qafila.workload.corpus import PgvectorSource as PgvectorSettings
from qafila.workload.corpus import PostgresSource as PostgresSettings
from qafila.workload.corpus import QdrantSource as QdrantSettings
from tests.support.pdf import pdf_of

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
    put_all: Callable[[dict[str, str]], None] | None = None  # where one at a time is slow
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, text: str) -> None:
        self.put(key, text)
        self.texts[self.key_of(key)] = text

    def add_all(self, texts: dict[str, str]) -> None:
        if self.put_all is None:
            for key, text in texts.items():
                self.add(key, text)
        else:
            self.put_all(texts)
            self.texts |= {self.key_of(key): text for key, text in texts.items()}

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
        self.put_all({key: text})

    def put_all(self, texts: dict[str, str]) -> None:
        self.records |= texts
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
    "postgres table",
    "postgres query",
    "jsonl",
    "csv",
    "parquet",
    "markdown",
    "html",
    "pdf",
    "s3 jsonl",
    "pgvector",
    "qdrant",
]


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
            "kind": "pgvector",
            "block": "b",
            "table": "doc",
            "key": ["id", "part"],
            "text": "body",
            "vectors": {"model": "m"},
        }
        chunks = PgvectorSettings.model_validate(parts)
        return World(name, lambda: PgvectorSource(db, chunks), put, remove, has_vectors=True)
    where = (
        {"table": "doc"}
        if "table" in name
        else {"query": "SELECT id, body, '100 %' AS share FROM doc WHERE part % 2 = 0"}
    )
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
        return World(name, reopen, files.put, files.remove, put_all=files.put_all)

    def put(key: str, text: str) -> None:
        (folder / f"{key}{ENDINGS[name]}").write_bytes(DOCUMENTS[name](text))

    def remove(key: str) -> None:
        (folder / f"{key}{ENDINGS[name]}").unlink()

    return World(name, reopen, put, remove, key_of=lambda key: f"{key}{ENDINGS[name]}")


def in_s3(url: str, home: Path) -> World:
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    reach: dict[str, Any] = {
        "regions": ["us-east-1"],
        "endpoint_url": url,
        "access_key_id": "a",
        "secret_access_key": "b",
    }
    boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="a",
        aws_secret_access_key="b",
    ).create_bucket(Bucket=bucket)
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
        put_all({key: text})

    def put_all(texts: dict[str, str]) -> None:
        local.put_all(texts)
        upload()

    def remove(key: str) -> None:
        local.remove(key)
        upload()

    return World(
        "s3 jsonl",
        lambda: ObjectSource(asked, files_of(asked, home, client), home),
        put,
        remove,
        put_all=put_all,
    )


def in_qdrant() -> World:
    client = QdrantClient(":memory:")
    client.create_collection(
        "docs",
        vectors_config={"dense": models.VectorParams(size=3, distance=models.Distance.COSINE)},
    )
    asked = QdrantSettings.model_validate(
        {
            "kind": "qdrant",
            "block": "b",
            "collection": "docs",
            "vector_name": "dense",
            "key": "doc.key",
            "number": None,
            "text": "doc.text",
            "vectors": {"model": "m"},
        }
    )

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
            id=id_of(key),
            vector={"dense": [1.0, 2.0, 3.0]},
            payload={"doc": {"key": key, "text": text}},
        )
        client.upsert("docs", [point])

    def remove(key: str) -> None:
        client.delete("docs", [id_of(key)])

    return World(
        "qdrant", lambda: QdrantSource(client, asked), put, remove, order=rank, has_vectors=True
    )
