"""The rung of the index on a real index, whole and broken in every way that it should notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.errors import Unavailable
from qafila.stack import postgres
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Effort, Hit, Holds, Place, Vectors
from qafila.validation.checks.index import measure_index
from qafila.validation.model import Finding
from qafila.validation.suite import Climb
from qafila.workload.verdict import Verdict
from tests.integration.validation.worlds import World, fresh_world, some_vectors
from tests.support.demo_services import ledger_of

INDEX = "chunk_aws_docs_search_g1_hnsw"
BY_COSINE = " USING hnsw (embedding vector_cosine_ops)"


@pytest.fixture(scope="module")
def world(pg_server: postgres.Postgres) -> World:
    return fresh_world(pg_server)


def measured(world: World, climb: Climb) -> Finding:
    with ledger_of(world.ledger_url):
        found = measure_index(climb)
    assert isinstance(found, Finding)
    return found


@contextmanager
def without_index(world: World) -> Iterator[psycopg.Connection[Any]]:
    """Drop the index for the block, with whatever was built in its place."""
    with world.target() as target:
        target.execute(f"DROP INDEX qafila.{INDEX}")
        try:
            yield target
        finally:
            target.execute(f"DROP INDEX IF EXISTS qafila.{INDEX}")
            target.execute(f"CREATE INDEX {INDEX} ON {world.table}{BY_COSINE}")


def test_a_whole_index_passes_under_every_filter(world: World) -> None:
    found = measured(world, world.climb())
    assert found.judgement.verdict is Verdict.PASS, found.judgement.sentence
    assert list(found.parts) == [
        "all rows",
        "readers of everyone",
        "readers of hr",
        "readers of ops",
        "kind = 'rare'",
    ]
    assert "0.1 %" in found.parts["kind = 'rare'"].sentence
    assert found.figures["recall_at_10"] >= 0.9
    low, high = found.figures["recall_ci"]
    assert 0.9 <= low <= found.figures["recall_at_10"] <= high <= 1
    assert found.figures["recall_queries"] == 60
    assert [p["filter"] for p in found.series["recall_by_share"]] == list(found.parts)
    assert found.smallest_effect.endswith("over all rows")


def test_a_lower_ef_search_fails_and_the_setting_that_reaches_is_named(world: World) -> None:
    found = measured(world, world.climb(workload=world.with_target(ef_search=1)))
    assert found.judgement.verdict is Verdict.FAIL
    said = found.parts["all rows"].sentence
    assert "all of it below 0.9" in said
    assert "reaches 0.9" in said or "reaches 1.0" in said
    assert "set corpus.target.ef_search: " in said
    settings = [r["setting"] for r in found.details[0].rows if r["filter"] == "all rows"]
    assert settings[0] == "ef_search 40"


@pytest.mark.parametrize(
    ("built", "said"),
    [
        (None, "has no HNSW index on embedding"),
        (f"{BY_COSINE} WHERE source_key < 'k000100'", "holds a part of the rows only"),
        (
            " USING hnsw (embedding vector_l2_ops) WITH (m = 2, ef_construction = 4)",
            "is built with vector_l2_ops",
        ),
    ],
)
def test_an_index_that_does_not_serve_fails_though_nothing_is_missed(
    world: World, built: str | None, said: str
) -> None:
    with without_index(world) as target:
        if built is not None:
            target.execute(f"CREATE INDEX {INDEX} ON {world.table}{built}")
        found = measured(world, world.climb())
    assert found.judgement.verdict is Verdict.FAIL
    assert said in found.judgement.sentence
    assert "every search looks at all 12000 rows" in found.judgement.sentence
    assert "qafila run embedding-backfill aws-docs-search" in found.judgement.sentence
    assert found.figures["recall_at_10"] is None


def test_an_index_that_was_left_unfinished_is_named(world: World) -> None:
    flag = "UPDATE pg_index SET indisvalid = %s WHERE indexrelid = %s::regclass"
    with world.target() as target:
        target.execute(flag, [False, f"qafila.{INDEX}"])
        try:
            found = measured(world, world.climb())
        finally:
            target.execute(flag, [True, f"qafila.{INDEX}"])
    assert found.judgement.verdict is Verdict.FAIL
    assert f"{INDEX} is invalid" in found.judgement.sentence


def test_zero_vectors_are_counted_since_no_index_holds_them(world: World) -> None:
    zero = "[" + ",".join(["0"] * 64) + "]"
    with world.target() as target:
        target.execute(
            f"CREATE TABLE kept AS SELECT * FROM {world.table} WHERE source_key < 'k000003'"
        )
        change = f"UPDATE {world.table} AS t SET embedding = %s FROM kept AS k"
        change += " WHERE k.source_key = t.source_key"
        target.execute(change, [zero])
        try:
            found = measured(world, world.climb())
        finally:
            target.execute(change.replace("%s", "k.embedding"))
            target.execute("DROP TABLE kept")
    assert found.judgement.verdict is Verdict.FAIL
    assert "3 of 12000 rows" in found.judgement.sentence
    assert "zero vector" in found.judgement.sentence


def test_an_index_that_the_planner_leaves_aside_is_named(world: World) -> None:
    with world.target() as target:
        database = target.info.dbname
        target.execute(f'ALTER DATABASE "{database}" SET enable_indexscan = off')
        try:
            found = measured(world, world.climb())
        finally:
            target.execute(f'ALTER DATABASE "{database}" RESET enable_indexscan')
    assert found.judgement.verdict is Verdict.FAIL
    assert "the planner does not use chunk_aws_docs_search_g1_hnsw" in found.judgement.sentence


def test_a_target_that_asks_for_no_index_is_looked_at_whole(world: World) -> None:
    found = measured(world, world.climb(workload=world.with_target(index="none"), queries=12))
    assert found.judgement.verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)


class Narrowless:
    """A store whose searches forget the filter by metadata."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def search(self, vector: Vectors, k: int, groups: Any, *_: Any) -> list[Hit]:
        return list(self._store.search(vector, k, groups))


def test_a_filter_that_is_not_applied_fails(world: World) -> None:
    found = measured(world, world.climb(seen_as=Narrowless))  # type: ignore[arg-type]
    assert found.judgement.verdict is Verdict.FAIL
    assert "kind = 'rare': search returned" in found.judgement.sentence
    assert "it is not applied" in found.judgement.sentence


class Silent:
    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        raise Unavailable("the store does not answer.")


def test_a_store_that_does_not_answer_was_not_measured(world: World) -> None:
    found = measured(world, world.climb(seen_as=Silent))  # type: ignore[arg-type]
    assert found.judgement.verdict is Verdict.ERROR


def test_too_few_queries_say_how_many_would_do(world: World) -> None:
    found = measured(world, world.climb(queries=10))
    assert found.judgement.verdict is Verdict.INCONCLUSIVE
    assert "recall_queries: " in found.judgement.sentence


@pytest.mark.parametrize("forced", [False, True])
def test_exact_search_looks_at_every_row_whatever_the_database_prefers(
    world: World, forced: bool
) -> None:
    """The plan of the very statement, as the server logs it to the session that asks."""
    with world.target() as target:
        store = PgvectorStore(target, place(world), world.workload.corpus.target)
        if forced:  # a popular way to make pgvector use its index
            target.execute("SET enable_seqscan = off")
            target.execute("SET enable_sort = off")
        query = some_vectors(1, seed=5)[0]
        for search, scanned in ((store.search_exact, True), (store.search, False)):
            before = index_scans(target)
            for where in (None, Holds("kind", "common")):
                search(query, 10, ["everyone", "hr", "ops"], where)
            assert (index_scans(target) == before) is scanned


def test_strict_and_wider_searches_ask_what_they_say(world: World) -> None:
    with world.target() as target:
        store = PgvectorStore(target, place(world), world.workload.corpus.target)
        query = some_vectors(1, seed=5)[0]
        truth = [h.source_key for h in store.search_exact(query, 10, ["hr"])]
        found = [h.source_key for h in store.search(query, 10, ["hr"], None, Effort(800))]
        assert len(set(truth) & set(found)) >= 9
        strict = store.search(query, 10, ["ops"], None, Effort(100, strict=True))
        scores = [h.score for h in strict]
        assert scores == sorted(scores, reverse=True)


def place(world: World) -> Place:
    generation = world.generation
    return Place(generation.workload, generation.number, generation.fingerprint, 64)


def index_scans(target: psycopg.Connection[Any]) -> int:
    """Return how often the HNSW index was scanned, this session's searches included."""
    target.execute("SELECT pg_stat_force_next_flush()")
    row = target.execute(
        "SELECT idx_scan FROM pg_stat_all_indexes WHERE indexrelname LIKE '%hnsw'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_made_up_vectors_are_unit_vectors() -> None:
    np.testing.assert_allclose(np.linalg.norm(some_vectors(5, 1), axis=1), 1, rtol=1e-5)
