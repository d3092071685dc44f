"""Healthy indexes, for faults to be planted into, and what an inspection finds there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
import yaml
from qdrant_client import QdrantClient, models

from qafila.inspect.layouts import source_yaml
from qafila.inspect.model import Facts, Finding, Inspection
from qafila.inspect.pgvector import PgvectorInspector
from qafila.inspect.qdrant import QdrantInspector
from qafila.inspect.rules import inspect
from qafila.workload.corpus import PgvectorSource, QdrantSource

ROWS, WIDTH = 200, 16


def unit(n: int, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """Return unit vectors of shape (n, width), the same for the same seed."""
    raw = np.random.default_rng(seed).normal(size=(n, width))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def written(vector: Sequence[float]) -> str:
    """Return a vector as pgvector reads it."""
    return "[" + ",".join(repr(float(x)) for x in vector) + "]"


def text(n: int) -> str:
    """Return a text that no other number has."""
    return f"Text number {n} says something of its own about {n * 7919 % 1009} things."


def healthy(
    database: psycopg.Connection[Any],
    vectors: np.ndarray | None = None,
    kind: str = "vector(16)",
    operators: str = "vector_cosine_ops",
) -> None:
    """Make a table that has nothing wrong with it."""
    database.execute(
        f"CREATE TABLE item (id bigint PRIMARY KEY, body text, model text, embedding {kind},"
        " updated_at timestamptz NOT NULL DEFAULT now())"
    )
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO item (id, body, embedding) VALUES (%s, %s, %s)",
            [
                (n, text(n), written(v))
                for n, v in enumerate(unit(ROWS) if vectors is None else vectors)
            ],
        )
    if operators:
        database.execute(f"CREATE INDEX item_hnsw ON item USING hnsw (embedding {operators})")
    database.execute("ANALYZE item")


def look(database: psycopg.Connection[Any], table: str = "item", **how: Any) -> Inspection:
    """Return what is found in a table of this database."""
    return inspect(PgvectorInspector(database, **how).inspect(table)[0])


def codes(inspection: Inspection) -> list[str]:
    """Return the codes of all findings, in their order."""
    return [f.code for f in inspection.findings]


def the(inspection: Inspection, code: str) -> Finding:
    """Return the one finding of this code."""
    found = [f for f in inspection.findings if f.code == code]
    assert len(found) == 1, (code, codes(inspection))
    return found[0]


def pasted(facts: Facts) -> PgvectorSource | QdrantSource:
    """Return the source as a workload file would take it, the model filled in by a person."""
    block = yaml.safe_load(source_yaml(facts, "old-index"))["corpus"]["source"]
    kind = PgvectorSource if facts.store == "pgvector" else QdrantSource
    return kind.model_validate(block)


def collection(points: Sequence[models.PointStruct], distance: str = "Dot") -> QdrantClient:
    """Return a client in local mode that holds these points."""
    client = QdrantClient(":memory:")
    client.create_collection(
        "docs", vectors_config=models.VectorParams(size=WIDTH, distance=models.Distance(distance))
    )
    if points:
        client.upsert("docs", list(points))
    return client


def points(**changed: Mapping[int, Any]) -> list[models.PointStruct]:
    """Return a healthy collection's points, with fields replaced by id."""
    made = []
    for n, v in enumerate(unit(ROWS)):
        payload = {
            "page_content": changed.get("text", {}).get(n, text(n)),
            "metadata": changed.get("metadata", {}).get(n, {}),
        }
        vector = changed.get("vector", {}).get(n, v.tolist())
        made.append(models.PointStruct(id=n, vector=vector, payload=payload))
    return made


def look_in(client: QdrantClient, name: str = "docs", **how: Any) -> Inspection:
    """Return what is found in a collection of this client."""
    return inspect(QdrantInspector(client, local=True, **how).inspect(name)[0])
