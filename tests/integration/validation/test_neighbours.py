"""The rung of neighbours: an old index that is a source, a generation that serves, or none."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.backfill.generations import model_of
from qafila.endpoints import open_store
from qafila.ledger.ledger import generation_of, open_ledger
from qafila.sql import apply_schema
from qafila.stack import postgres
from qafila.validation.checks.neighbours import compare_neighbours
from qafila.validation.model import Finding, NotApplicable
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict
from tests.integration.validation.worlds import (
    DIMENSIONS,
    World,
    fill,
    fresh_world,
    made_rows,
    some_vectors,
)
from tests.support.corpus import demo_workload, ready_generation
from tests.support.demo_services import ledger_of

ROWS = 400


def old_index(kind: str = "vector", **vectors: Any) -> dict[str, Any]:
    model, revision = model_of(demo_workload().corpus.embedder)
    return {
        "source": {
            "kind": "pgvector",
            "block": "demo-source",
            "table": "old",
            "acl": "acl",
            "vectors": {"model": model, "revision": revision, **vectors},
        },
        "embedder": {"kind": "wordllama", "dimensions": DIMENSIONS},
        "target": {
            "kind": "pgvector",
            "block": "demo-target",
            "full_text": "none",
            "index": "none",
            "vector_type": kind,
        },
    }


def index_world(server: postgres.Postgres, kind: str, **vectors: Any) -> World:
    """Fill an old index, with ten equal vectors in it, and a copy of it as a generation."""
    mark = uuid.uuid4().hex[:8]
    source, target, ledger_url = (
        postgres.ensure_database(server, f"{name}_{mark}") for name in ("src", "tgt", "led")
    )
    for url, schema in ((ledger_url, "ledger"), (target, "target")):
        with psycopg.connect(url) as connection:
            apply_schema(connection, schema)
    workload: Workload = demo_workload(**old_index(kind, **vectors))
    made = some_vectors(ROWS, seed=2)
    made[100:112] = made[100]  # a tie that the ten nearest cut through
    chunks = made_rows(ROWS)
    with psycopg.connect(source, autocommit=True) as old:
        old.execute("CREATE EXTENSION IF NOT EXISTS vector")
        old.execute(
            "CREATE TABLE old (source_key text, chunk_number int, text text, acl text[],"
            " embedding vector, PRIMARY KEY (source_key, chunk_number))"
        )
        with old.cursor() as cursor, cursor.copy("COPY old FROM STDIN") as copy:
            for c, v in zip(chunks, made, strict=True):
                copy.write_row((c.source_key, 0, c.text, list(c.acl), str(v.tolist())))
    with ledger_of(ledger_url), open_ledger() as ledger:
        generation = ready_generation(ledger, workload, source, target)
        with open_store(ledger, workload, generation) as store:
            order = np.random.default_rng(3).permutation(ROWS)  # ties come in another order
            fill(store, [chunks[n] for n in order], made[order])
    return World(ledger_url, source, target, workload, generation)


@pytest.fixture(scope="module", params=["vector", "halfvec"])
def copied(request: pytest.FixtureRequest, pg_server: postgres.Postgres) -> World:
    return index_world(pg_server, request.param)


def measured(world: World, **how: Any) -> Finding:
    with ledger_of(world.ledger_url):
        found = compare_neighbours(world.climb(**{"queries": 20, "neighbour_queries": 60, **how}))
    assert isinstance(found, Finding), found
    return found


def test_a_copy_has_the_same_neighbours_up_to_ties(copied: World) -> None:
    found = measured(copied, neighbour_queries=ROWS)  # every document, those with ties as well
    assert found.judgement.verdict is Verdict.PASS, found.judgement.sentence
    assert found.on == f"{ROWS + 20} questions"
    assert found.figures["neighbours"]["same_vectors"] is True
    assert "All 420 questions" in found.judgement.sentence


@pytest.fixture
def changed(copied: World) -> Iterator[psycopg.Connection[Any]]:
    with copied.target() as target:
        target.execute(f"CREATE TABLE kept AS SELECT * FROM {copied.table}")
        yield target
        target.execute(f"TRUNCATE {copied.table}")
        target.execute(f"INSERT INTO {copied.table} SELECT * FROM kept")
        target.execute("DROP TABLE kept")


def test_swapped_vectors_show_as_neighbours_lost_and_gained(
    copied: World, changed: psycopg.Connection[Any]
) -> None:
    changed.execute(
        f"UPDATE {copied.table} AS t SET embedding = k.embedding FROM kept AS k"
        " WHERE (t.source_key, k.source_key) IN (('k000001', 'k000300'), ('k000300', 'k000001'))"
    )
    found = measured(copied, neighbour_queries=ROWS)
    assert found.judgement.verdict is Verdict.FAIL
    assert "find other neighbours in the new index" in found.judgement.sentence
    rows = {r["asked"] for r in found.details[0].rows}
    assert {"k000001", "k000300"} <= rows


def test_a_row_that_is_gone_is_lost_unless_it_was_set_aside(
    copied: World, changed: psycopg.Connection[Any]
) -> None:
    changed.execute(f"DELETE FROM {copied.table} WHERE source_key = 'k000001'")
    lost = measured(copied, neighbour_queries=ROWS)
    assert lost.judgement.verdict is Verdict.FAIL
    assert "loses k000001" in lost.judgement.sentence
    with copied.ledger() as ledger:
        ledger.execute(
            "INSERT INTO qafila.dead_letter (workload, generation, source_key, chunk_number,"
            " reason) VALUES ('aws-docs-search', 1, 'k000001', 0, 'a test')"
        )
        try:
            known = measured(copied, neighbour_queries=ROWS)
        finally:
            ledger.execute("DELETE FROM qafila.dead_letter")
    assert known.judgement.verdict is Verdict.PASS, known.judgement.sentence


def test_a_row_that_nobody_may_read_is_no_difference(
    copied: World, changed: psycopg.Connection[Any]
) -> None:
    changed.execute(f"UPDATE {copied.table} SET acl = '{{}}' WHERE source_key = 'k000001'")
    assert measured(copied, neighbour_queries=ROWS).judgement.verdict is Verdict.PASS


def test_of_another_model_the_overlap_is_told_and_nothing_fails(
    pg_server: postgres.Postgres,
) -> None:
    world = index_world(pg_server, "vector", model="another")
    with world.target() as target:
        target.execute(  # as if all were embedded by a model that sees everything otherwise
            f"UPDATE {world.table} AS t SET embedding = o.embedding FROM {world.table} AS o"
            " WHERE o.source_key = 'k' || lpad(((substr(t.source_key, 2)::int * 7 + 3)"
            f" % {ROWS})::text, 6, '0')"
        )
    found = measured(world)
    assert found.judgement.verdict is Verdict.PASS
    assert "For information" in found.judgement.sentence
    assert "model" in found.judgement.sentence
    assert found.figures["neighbours"]["overlap_at_10"] < 0.5
    assert found.smallest_effect == ""


def test_a_generation_that_serves_is_the_old_index(pg_server: postgres.Postgres) -> None:
    world = fresh_world(pg_server, rows=ROWS, index="none")
    with ledger_of(world.ledger_url):
        alone = compare_neighbours(world.climb())
        assert isinstance(alone, NotApplicable)
        assert "no other generation of aws-docs-search serves" in alone.because
        with world.ledger() as ledger:
            ledger.execute("UPDATE qafila.generation SET phase = %s", [Phase.PROMOTED.value])
            ledger.execute(
                "INSERT INTO qafila.generation (workload, number, revision, fingerprint,"
                " fingerprint_body, phase) SELECT workload, 2, revision, fingerprint,"
                " fingerprint_body, 'backfilled' FROM qafila.generation WHERE number = 1"
            )
            second = generation_of(ledger, world.workload.name, 2)
            with open_store(ledger, world.workload, second) as store:
                fill(store, made_rows(ROWS), some_vectors(ROWS, seed=2))
        world.generation = second
        same = measured(world)
        assert same.judgement.verdict is Verdict.PASS
        assert "old is generation 1" in same.compared
        with world.ledger() as ledger:
            ledger.execute(
                "UPDATE qafila.generation SET fingerprint_body ="
                " jsonb_set(fingerprint_body, '{model}', '\"another\"') WHERE number = 1"
            )
        assert "it differs in model" in measured(world).judgement.sentence
        with world.target() as target:
            target.execute("DROP TABLE qafila.chunk_aws_docs_search_g1")
        gone = compare_neighbours(world.climb())
        assert isinstance(gone, NotApplicable)
        assert "cannot be searched" in gone.because
