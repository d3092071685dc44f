"""Two real collections move: from files into both targets, then from one into the other and back.

Every move is the backfill's own steps: plan, apply, load, index, compare. The second and the third
copy vectors, so at the end all four generations hold the same rows to the last byte: source key,
chunk number, digest of the text, vector.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from blocks import PostgresDatabase, QdrantServer
from qafila.backfill.generations import model_of, open_for
from qafila.endpoints import open_store
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import Generation, apply_workload, move_phase
from qafila.stores.port import Place
from qafila.workload.fingerprint import rows_digest, text_digest
from qafila.workload.model import Workload
from qafila.workload.phases import Event
from tasks import embedding_backfill as steps
from tests.support.corpus import demo_workload
from tests.support.loads import load_all
from tests.support.qdrant_ways import SERVER, delete_collections, engine_behind_rest, own_workload

DATA = Path(__file__).parents[3] / "shared" / "data" / "retrieval"
EMPTY = {"cranfield": 2, "piaf-fr": 0}  # documents without a word, set aside with that reason
SHARD_ROWS, BATCH_ROWS = 700, 500

pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"no collections in {DATA}")


@dataclass(frozen=True)
class Road:
    """Where everything lies; ``prefix`` keeps names apart on a server that others use."""

    ledger: psycopg.Connection[Any]
    prefix: str

    def workload(self, name: str, **corpus: Any) -> Workload:
        """Return a workload of this test with its own name and corpus."""
        body = demo_workload().model_dump()
        body["name"] = f"{self.prefix}{name}"
        body["corpus"] |= corpus
        body["queries"]["judged"]["block"] = "demo-target"  # asks nothing here
        return Workload.model_validate(body)


@pytest.fixture
def road(
    ledger: psycopg.Connection, ledger_url: str, target_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Road]:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    record_connection(ledger, "demo-target", PostgresDatabase(url=target_url))
    with qdrant_url() as (url, prefix):
        record_connection(ledger, "qdrant", QdrantServer(url=url))
        yield Road(ledger, prefix)


@contextmanager
def qdrant_url() -> Iterator[tuple[str, str]]:
    """Yield a real server's address where one is given, else that of the engine behind a stub."""
    if SERVER in os.environ:
        prefix = own_workload("qdrant-server", "")
        yield os.environ[SERVER], prefix
        from qafila.connections.qdrant import connect_qdrant

        client = connect_qdrant(os.environ[SERVER])
        delete_collections(client, prefix.rstrip("-"))
        client.close()
    else:
        with engine_behind_rest() as (stub, _):
            yield stub.url, ""


PGVECTOR = {"kind": "pgvector", "block": "demo-target"}
QDRANT = {"kind": "qdrant", "block": "qdrant"}
SENTENCES = {"method": "sentences", "max_characters": 600, "overlap_characters": 100}


def files(collection: str) -> dict[str, Any]:
    return {
        "kind": "objects",
        "location": str(DATA / collection / "docs.jsonl"),
        "format": "jsonl",
        "key": "id",
        "text": ["title", "text"],
    }


def origin(workload: Workload) -> dict[str, Any]:
    model, revision = model_of(workload.corpus.embedder)
    return {"model": model, "revision": revision, "normalised": True}


def move(road: Road, workload: Workload) -> tuple[str, int, int, int]:
    """Backfill step by step; return the digest, and how many chunks, copies and dead letters."""
    apply_workload(road.ledger, workload)
    generation = open_for(road.ledger, workload)
    for event in (Event.AUDIT_ACCEPTED, Event.DECISION_APPROVED, Event.PLAN_APPLIED):
        generation = move_phase(road.ledger, generation, event)
    plan, ranges, shape = steps.plan_load.fn(generation, SHARD_ROWS, 1)
    steps.apply_plan.fn(generation, plan, ranges, shape)
    load_all(generation, BATCH_ROWS)
    steps.build_index.fn(generation)
    compared = steps.compare.fn(generation)
    assert compared.complete, compared
    row = road.ledger.execute(
        "SELECT sum(copied) FROM qafila.shard WHERE workload = %s", [workload.name]
    ).fetchone()
    assert row is not None
    digest = digest_of(road, workload, generation)
    return digest, compared.chunks_target, int(row[0]), compared.dead_letters


def digest_of(road: Road, workload: Workload, generation: Generation) -> str:
    with open_store(road.ledger, workload, generation) as store:
        return rows_digest(
            (chunk.source_key, chunk.number, text_digest(chunk.text), vector.tobytes())
            for chunks, vectors in store.scan(1000)
            for chunk, vector in zip(chunks, vectors.astype("<f4"), strict=True)
        )


@pytest.mark.parametrize("collection", EMPTY)
def test_a_collection_moves_into_both_targets_and_between_them_unchanged(
    road: Road, collection: str
) -> None:
    if not (DATA / collection / "docs.jsonl").exists():
        pytest.skip(f"no {collection} in {DATA}")
    cut = {"source": files(collection), "chunking": SENTENCES}
    first = road.workload(f"{collection}-a", **cut, target=PGVECTOR)
    second = road.workload(f"{collection}-b", **cut, target=QDRANT)
    table = Place(first.name, 1, "", 256).name
    third = road.workload(
        f"{collection}-c",
        source={
            "kind": "pgvector",
            "block": "demo-target",
            "table": f"qafila.{table}",
            "title": "title",
            "acl": "acl",
            "metadata": ["metadata"],
            "vectors": origin(first),
        },
        target=QDRANT,
    )
    fourth = road.workload(
        f"{collection}-d",
        source={
            "kind": "qdrant",
            "block": "qdrant",
            "collection": Place(third.name, 1, "", 256).name,
            "title": "title",
            "acl": "acl",
            "metadata": ["metadata"],
            "vectors": origin(first),
        },
        target=PGVECTOR,
    )
    digests = {}
    for workload, copies in ((first, False), (second, False), (third, True), (fourth, True)):
        digests[workload.name], chunks, copied, dead = move(road, workload)
        assert (copied, dead) == ((chunks, 0) if copies else (0, EMPTY[collection]))
        assert chunks > 700
    assert len(set(digests.values())) == 1, digests
