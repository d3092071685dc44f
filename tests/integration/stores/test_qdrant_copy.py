"""The direct copy of a pgvector table into Qdrant: the same rows as row by row, and as safe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import psycopg
import pytest
from pgvector import Vector
from pgvector.psycopg import register_vector

from qafila.backfill.load import _whole
from qafila.errors import StaleEpoch, Unavailable
from qafila.sources.pgvector import PgvectorSource
from qafila.stores.port import Checkpoint, Chunk, Place, Rejected, Vectors
from qafila.stores.qdrant.store import QdrantStore
from qafila.workload.corpus import PgvectorSource as Settings
from qafila.workload.fingerprint import text_digest
from tests.support.qdrant_stub import QdrantStub
from tests.support.qdrant_ways import engine_behind_rest

PLACE = Place("docs-search", 1, "f" * 16, 8)
SETTINGS = Settings.model_validate(
    {
        "kind": "pgvector",
        "block": "b",
        "table": "piece",
        "title": "title",
        "acl": "readers",
        "metadata": ["facts"],
        "vectors": {"model": "m"},
    }
)
ROWS = 53
TEXTS = ("text", "œuvre d’été", "نص عربي", "line\nbreak\t\\ \U0001f42b")
GROUPS = (["public"], ["hr", "équipe"], [], None)
FACTS = ('{"a": 1.5, "é": [null, true]}', "{}", None)


@pytest.fixture
def table(target_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        register_vector(connection)
        connection.execute(
            "CREATE TABLE piece (source_key text, chunk_number integer, start_offset integer,"
            " end_offset integer, title text, text text, readers text[], facts jsonb,"
            " embedding vector, PRIMARY KEY (source_key, chunk_number))"
        )
        for n, vector in enumerate(vectors(ROWS)):
            text = f"{TEXTS[n % 4]} {n}"
            connection.execute(
                "INSERT INTO piece VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    f"k{n // 3:03}",
                    n % 3,
                    n,
                    n + len(text),
                    "t" if n % 2 else None,
                    text,
                    GROUPS[n % 4],
                    FACTS[n % 3],
                    Vector(vector),
                ],
            )
        yield connection


@pytest.fixture
def served() -> Iterator[tuple[QdrantStub, QdrantStore]]:
    with engine_behind_rest() as (stub, client):
        store = QdrantStore(client, PLACE)
        store.prepare()
        yield stub, store


def vectors(n: int) -> Vectors:
    raw = np.random.default_rng(3).normal(size=(n, 8)).astype(np.float32)
    unit: Vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return unit


def refuse(rejected: Sequence[Rejected]) -> None:
    raise AssertionError(rejected)


def stored(store: QdrantStore) -> dict[tuple[str, int], tuple[Chunk, bytes]]:
    return {
        (c.source_key, c.number): (c, v.tobytes())
        for part, vs in store.scan(20)
        for c, v in zip(part, vs, strict=True)
    }


def by_rows(table: psycopg.Connection) -> dict[tuple[str, int], tuple[Chunk, bytes]]:
    """Return what the loop that serves every source would write."""
    rows = [row for batch in PgvectorSource(table, SETTINGS).read(None, None, 10) for row in batch]
    made = [(_whole(row), row.vector) for row in rows if row.vector is not None]
    return {
        (c.source_key, c.number): (
            dataclasses.replace(c, acl=list(c.acl), metadata=dict(c.metadata)),
            v.tobytes(),
        )
        for c, v in made
    }


@pytest.mark.parametrize("batch_rows", [10, 53, 500])
def test_the_direct_copy_writes_what_the_copy_by_rows_writes(
    table: psycopg.Connection, served: tuple[QdrantStub, QdrantStore], batch_rows: int
) -> None:
    _, store = served
    marks: list[Checkpoint] = []
    done = store.copy_from(
        table, SETTINGS, None, store.claim(0, 1), batch_rows, refuse, on_batch=marks.append
    )
    assert stored(store) == by_rows(table)
    assert (done.rows, done.chunks, done.finished) == (ROWS, ROWS, True)
    assert done == marks[-1] == dataclasses.replace(store.claim(0, 2), epoch=1)
    assert [m.rows for m in marks] == sorted(m.rows for m in marks)


def test_shards_meet_at_their_boundaries_and_nowhere_else(
    table: psycopg.Connection, served: tuple[QdrantStub, QdrantStore]
) -> None:
    _, store = served
    ranges = PgvectorSource(table, SETTINGS).freeze(20)
    rows = []
    for number, r in enumerate(ranges):
        claimed = store.claim(number, 1)
        done = store.copy_from(table, SETTINGS, r.high, claimed, 7, refuse, low=r.low)
        rows.append(done.rows)
        assert store.copy_from(table, SETTINGS, r.high, done, 7, refuse, low=r.low) == done
    assert rows == [r.rows for r in ranges] == [20, 20, 13]
    assert stored(store) == by_rows(table)


def test_rows_that_cannot_be_copied_are_set_aside_before_their_batch(
    table: psycopg.Connection, served: tuple[QdrantStub, QdrantStore]
) -> None:
    _, store = served
    table.execute(
        "UPDATE piece SET embedding = NULL WHERE source_key = 'k000' AND chunk_number = 0"
    )
    table.execute("UPDATE piece SET text = '' WHERE source_key = 'k001' AND chunk_number = 1")
    table.execute("UPDATE piece SET embedding = '[1,2]' WHERE source_key = 'k002'")
    zero = "[" + ",".join("0" * 8) + "]"
    table.execute("UPDATE piece SET embedding = %s WHERE source_key = 'k003'", [zero])
    aside: list[tuple[str, int, str]] = []

    def note(rejected: Sequence[Rejected]) -> None:
        assert not any((r.source_key, r.number) in stored(store) for r in rejected)
        aside.extend((r.source_key, r.number, r.reason) for r in rejected)

    done = store.copy_from(table, SETTINGS, None, store.claim(0, 1), 20, note)
    assert [(key, number) for key, number, _ in aside] == [
        ("k000", 0),
        ("k001", 1),
        *((key, n) for key in ("k002", "k003") for n in range(3)),
    ]
    assert "no vector" in aside[0][2]
    assert (done.rows, done.chunks, store.count()) == (ROWS, ROWS - 8, ROWS - 8)


def test_a_copy_that_was_cut_off_goes_on_at_its_checkpoint(
    table: psycopg.Connection, served: tuple[QdrantStub, QdrantStore]
) -> None:
    stub, store = served
    stub.fail(r"PUT .*_g1/points$", status=500, after=2)
    with pytest.raises(Unavailable):
        store.copy_from(table, SETTINGS, None, store.claim(0, 1), 10, refuse)
    resumed = store.claim(0, 2)
    assert (resumed.rows, store.count()) == (20, 20)
    store.copy_from(table, SETTINGS, None, resumed, 10, refuse)
    assert stored(store) == by_rows(table)


def test_a_copy_whose_shard_was_taken_stops_and_keeps_the_newer_checkpoint(
    table: psycopg.Connection, served: tuple[QdrantStub, QdrantStore]
) -> None:
    _, store = served

    def take_over(mark: Checkpoint) -> None:
        if mark.rows == 20:
            store.claim(0, 2)

    with pytest.raises(StaleEpoch):
        store.copy_from(table, SETTINGS, None, store.claim(0, 1), 10, refuse, on_batch=take_over)
    assert (store.count(), store.claim(0, 3).rows) == (20, 20)


def test_the_digest_is_of_the_text_that_arrived(
    table: psycopg.Connection, served: tuple[QdrantStub, QdrantStore]
) -> None:
    _, store = served
    store.copy_from(table, SETTINGS, None, store.claim(0, 1), 10, refuse)
    assert all(c.digest == text_digest(c.text) for c, _ in stored(store).values())


def test_an_empty_table_is_copied_at_once(
    table: psycopg.Connection, served: tuple[QdrantStub, QdrantStore]
) -> None:
    table.execute("TRUNCATE piece")
    done = served[1].copy_from(table, SETTINGS, None, served[1].claim(0, 1), 10, refuse)
    assert (done.rows, done.finished, served[1].count()) == (0, True, 0)
