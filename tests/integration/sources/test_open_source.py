"""Every kind of source is opened from a workload file and a recorded connection alone."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from qdrant_client import QdrantClient, models

from blocks import AwsAccount, PostgresDatabase, QdrantServer
from qafila.connections.aws import connect_s3
from qafila.connections.settings import KINDS
from qafila.endpoints import blocks_of, open_source, reach_of, volume_of
from qafila.errors import BadInput, Refused
from qafila.ledger.connections import record_connection
from qafila.sources.port import require_shape
from qafila.stack import postgres
from tests.support.aws import running_moto
from tests.support.corpus import workload_from

VECTORS = {"vectors": {"model": "m"}}


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture
def database(pg_server: postgres.Postgres) -> str:
    url = postgres.ensure_database(pg_server, f"open_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE t (id text PRIMARY KEY, text text, embedding vector(2))")
        connection.execute("INSERT INTO t VALUES ('a', 'one', '[0,1]'), ('b', 'two', NULL)")
    return url


def prepared(kind: str, request: pytest.FixtureRequest, home: Path) -> tuple[dict[str, Any], Any]:
    """Return the part of a workload file that names a source, and its connection."""
    lines = "".join(json.dumps({"id": k, "text": k}) + "\n" for k in "ab")
    if kind in ("postgres", "pgvector"):
        block = PostgresDatabase(url=request.getfixturevalue("database"))
        if kind == "postgres":
            return {
                "kind": kind,
                "block": "it",
                "query": "SELECT * FROM t",
                "key": ["id"],
                "text": ["text"],
            }, block
        return {"kind": kind, "block": "it", "table": "t", "key": ["id"], **VECTORS}, block
    if kind == "files":
        (home / "docs.jsonl").write_text(lines)
        return {"kind": "objects", "location": "docs.jsonl", "format": "jsonl"}, None
    if kind == "s3":
        url = request.getfixturevalue("moto_url")
        client = connect_s3(["us-east-1"], url, "a", "b")
        client.create_bucket(Bucket="docs")
        client.put_object(Bucket="docs", Key="x/1.jsonl", Body=lines.encode())
        block_s3 = AwsAccount(
            regions=["us-east-1"], endpoint_url=url, access_key_id="a", secret_access_key="b"
        )
        return {
            "kind": "objects",
            "location": "s3://docs/x",
            "format": "jsonl",
            "block": "it",
        }, block_s3
    client = QdrantClient(path=str(home / "qdrant"))
    client.create_collection(
        "c", vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE)
    )
    client.upsert(
        "c",
        [
            models.PointStruct(id=n, vector=[0, 1], payload={"source_key": k, "text": k})
            for n, k in enumerate("ab")
        ],
    )
    client.close()
    return {"kind": "qdrant", "block": "it", "collection": "c", "number": None, **VECTORS}, (
        QdrantServer(path=str(home / "qdrant"))
    )


@pytest.mark.parametrize("kind", ["postgres", "pgvector", "files", "s3", "qdrant"])
def test_a_source_is_opened_by_its_connection(
    kind: str,
    ledger: psycopg.Connection[Any],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    monkeypatch.setenv("QAFILA_SECRET_IT", "b")
    part, block = prepared(kind, request, tmp_path)
    workload = workload_from(part)
    record_connection(ledger, "demo-target", PostgresDatabase(url="postgresql://nowhere/x"))
    if block is not None:
        names = [name for name, _ in blocks_of(workload)]
        assert ("it", KINDS[block.kind]) in blocks_of(workload)
        assert names == ["it", "demo-target", "judged", "demo-edge"]
        with pytest.raises(Refused, match="there is no connection 'it'"):
            reach_of(ledger, workload)
        record_connection(ledger, "it", block)
    reach = reach_of(ledger, workload)
    for given in (None, reach):  # a child process is given the reach and asks no ledger
        with open_source(ledger, workload, given) as source:
            assert source.problems() == []
            assert [r.key_text for b in source.read(None, None, 1) for r in b] == ["a", "b"]
            assert volume_of(source, workload.name).rows == 2
            require_shape(source, source.shape())
            with pytest.raises(Refused, match="not what it was when the plan was made"):
                require_shape(source, "another")


def test_a_bucket_needs_a_connection_and_says_so_at_once() -> None:
    with pytest.raises(ValueError, match="needs a block"):
        workload_from({"kind": "objects", "location": "s3://b", "format": "csv"})


def test_what_cannot_be_read_is_named_with_the_file_to_mend(
    ledger: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    (tmp_path / "a.csv").write_text("id,text\n1\n1\n")
    workload = workload_from({"kind": "objects", "location": "a.csv", "format": "csv"})
    with open_source(ledger, workload) as source, pytest.raises(BadInput) as refused:
        volume_of(source, workload.name)
    assert len(refused.value.problems) == 2
    assert f"workloads/{workload.name}.yaml" in str(refused.value)
