"""What the rungs of recall and access ask of Qdrant and of a column, where those differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from qafila.stores.column.store import ColumnStore
from qafila.stores.port import Effort, Holds, Part, Place
from qafila.stores.qdrant.store import QdrantStore
from qafila.validation.checks.filtered_search import filters_of, reach
from qafila.validation.checks.judge_recall import IndexFound, judge_index
from qafila.workload.verdict import Verdict
from tests.integration.validation.worlds import fill, made_rows, some_vectors
from tests.support.columns import HASTY, ITEM, TARGET
from tests.support.qdrant_ways import engine_behind_rest, qdrant_client

PLACE = Place("docs-search", 1, "f" * 16, 64)
ROWS = 600


@pytest.mark.parametrize("way", ["qdrant", "qdrant-engine"])
def test_qdrant_is_narrowed_and_compared_with_itself(way: str) -> None:
    with qdrant_client(way) as client:
        store = QdrantStore(client, PLACE)
        fill(store, made_rows(ROWS), some_vectors(ROWS, seed=2))
        narrowed, missing = filters_of(store, 8, 7)
        names = [n.filter.name for n in narrowed]
        assert names[:4] == ["all rows", "readers of everyone", "readers of hr", "readers of ops"]
        assert missing == []
        reached = [reach(store, n, some_vectors(40, seed=9))[0] for n in narrowed]
        assert all(not r.foreign for r in reached)
        assert judge_index(IndexFound([], reached), 0.9, seed=7).verdict is Verdict.PASS


def test_a_part_of_a_collection_that_no_request_can_name_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qafila.stores.qdrant.search._MOST_DRAWN", 5)
    with qdrant_client("qdrant") as client:
        store = QdrantStore(client, PLACE)
        plain = [dataclasses.replace(c, acl=["everyone"], metadata={}) for c in made_rows(ROWS)]
        fill(store, plain, some_vectors(ROWS, seed=2))
        narrowed, missing = filters_of(store, 8, 7)
    assert [n.filter.name for n in narrowed] == ["all rows"]
    assert "too many to name in a request" in missing[0]


def test_an_index_of_qdrant_that_does_not_serve_is_named() -> None:
    with engine_behind_rest() as (stub, client):
        store = QdrantStore(client, PLACE)
        store.prepare()
        store.claim(0, 1)
        (held_back,) = store.index_problems()
        assert "held back (m is 0)" in held_back
        fill(QdrantStore(client, PLACE_2), made_rows(30), some_vectors(30, seed=2))
        whole = QdrantStore(client, PLACE_2)
        assert whole.index_problems() == []
        for info, said in (
            ({"status": "yellow"}, "is still yellow"),
            ({"status": "red"}, "its status is red"),
            ({"points_count": 1_000_000, "indexed_vectors_count": 0}, "vectors are not indexed"),
            ({"payload_schema": {}}, "no payload index on acl"),
        ):
            stub.info = info
            (problem,) = whole.index_problems()
            assert said in problem
        stub.info = {}
    with qdrant_client("qdrant") as local:
        assert QdrantStore(local, PLACE).index_problems() == []


PLACE_2 = dataclasses.replace(PLACE, generation=2)
APP = dataclasses.replace(ITEM, metadata=("kind", "year", "labels"))


@pytest.fixture
def item(target_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE item (id text PRIMARY KEY, body text NOT NULL, readers text[],"
            " kind text, year int, labels text[], embedding vector(64))"
        )
        yield connection


def test_a_column_is_narrowed_by_the_columns_beside_it(item: psycopg.Connection[Any]) -> None:
    chunks = [dataclasses.replace(c, start=0) for c in made_rows(ROWS)]
    with item.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO item VALUES (%s, %s, %s, %s, %s, %s)",
            [
                (
                    c.source_key,
                    c.text,
                    list(c.acl),
                    "50%" if n % 50 == 0 else "x",
                    2000 + n % 3,
                    ["a", "b"] if n % 100 == 1 else [],
                )
                for n, c in enumerate(chunks)
            ],
        )
    store = ColumnStore(item, PLACE, TARGET, APP, patience=HASTY)
    fill(store, chunks, some_vectors(ROWS, seed=2))
    query = some_vectors(1, seed=9)[0]
    for where, rows in (
        (Holds("kind", "50%"), 10),
        (Holds("labels", "b"), 6),
        (Holds("year", 2001), 200),
        (Holds("year", "2001"), 0),
    ):
        everyone = store.matching(["everyone", "hr", "ops"], where)
        assert everyone == (12 if where.value == "50%" else rows)
        for found in (
            store.search(query, 600, ["everyone", "hr", "ops"], where, Effort(1000)),
            store.search_exact(query, 600, ["everyone", "hr", "ops"], where),
        ):
            assert len(found) == everyone
    assert store.values()[Holds("kind", "50%")] == 12
    assert store.values()[Holds("year", 2001)] == 200
    part = Part(0.1, seed=7)
    assert len(store.search_exact(query, 600, ["everyone"], part)) == store.matching(
        ["everyone"], part
    )
    assert store.index_problems() == []
    item.execute("DROP INDEX item_embedding_g1_hnsw")
    (problem,) = store.index_problems()
    assert "public.item has no HNSW index on embedding_g1" in problem
    assert store.scans(["everyone"])


def test_a_column_has_more_columns_beside_it_than_a_function_takes(
    item: psycopg.Connection[Any],
) -> None:
    names = [f"c{n}" for n in range(120)]
    item.execute(f"ALTER TABLE item {', '.join(f'ADD {c} int' for c in names)}".encode())
    rows = [dataclasses.replace(c, start=0) for c in made_rows(9)]
    with item.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO item (id, body, readers, c0, c119) VALUES (%s, %s, %s, 1, %s)",
            [(c.source_key, c.text, list(c.acl), n % 3) for n, c in enumerate(rows)],
        )
    app = dataclasses.replace(ITEM, metadata=tuple(names))
    store = ColumnStore(item, PLACE, TARGET, app, patience=HASTY)
    fill(store, rows, some_vectors(9, seed=2))
    everyone = [g for c in rows for g in c.acl]
    assert store.matching(everyone, Holds("c119", 2)) == 3
    assert store.values() == {Holds("c0", 1): 9, **{Holds("c119", n): 3 for n in range(3)}}
    assert {len(c.metadata) for batch, _ in store.scan(5) for c in batch} == {120}
