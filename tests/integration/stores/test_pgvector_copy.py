"""Copying a pgvector table as bytes: everything arrives, fenced, resumable, nothing in silence."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.errors import StaleEpoch
from qafila.sources.pgvector import PgvectorSource as ByRow
from qafila.stack import postgres
from qafila.stores.pgvector import store as pgvector_store
from qafila.stores.pgvector.raw import NO_JSONB
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place, Rejected, VectorStore
from qafila.workload.corpus import PgvectorSource, PgvectorTarget
from qafila.workload.fingerprint import rows_digest, text_digest

FROM, TO = Place("docs", 1, "a" * 16, 4), Place("docs", 2, "b" * 16, 4)
BARE = PgvectorTarget(kind="pgvector", block="t", full_text="none", index="none")
Target = psycopg.Connection[Any]
ROWS = 120


@pytest.fixture
def target(target_url: str) -> Iterator[Target]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def source(pg_server: postgres.Postgres) -> Iterator[Target]:
    """A database of its own, as another server would be."""
    url = postgres.ensure_database(pg_server, f"index_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        yield connection


@pytest.fixture
def store(target: Target) -> PgvectorStore:
    opened = PgvectorStore(target, TO, BARE)
    opened.prepare()
    return opened


def origin_table(source: Target) -> PgvectorSource:
    """Make a table as applications have it, with rows that cannot be copied among others."""
    source.execute(
        "CREATE TABLE item (tenant text, code numeric, body text, headline text, readers text[],"
        " topic text, year integer, embedding vector, PRIMARY KEY (tenant, code))"
    )
    source.execute(
        "INSERT INTO item SELECT 't' || n %% 3, round(n / 10.0, 1), 'Text « ' || n || ' » نص',"
        " 'Title ' || n,"
        " ARRAY['staff', 'g' || n %% 2], 'topic', 2000 + n, ARRAY[1, n, n %% 7, 0.5]::vector"
        " FROM generate_series(1, %s) AS n",
        [ROWS],
    )
    return PgvectorSource.model_validate(
        {
            "kind": "pgvector",
            "block": "s",
            "table": "item",
            "key": ["tenant", "code"],
            "text": "body",
            "title": "headline",
            "acl": "readers",
            "metadata": ["topic", "year"],
            "vectors": {"model": "m"},
        }
    )


def rows_of(store: VectorStore) -> list[tuple[Chunk, list[float]]]:
    return [(c, v.tolist()) for part, vs in store.scan(50) for c, v in zip(part, vs, strict=True)]


def digest_of(store: VectorStore) -> str:
    return rows_digest(
        (c.source_key, c.number, text_digest(c.text), np.array(v, "<f4").tobytes())
        for c, v in rows_of(store)
    )


def nothing_left(rejected: Sequence[Rejected]) -> None:
    raise AssertionError(rejected)


def expected_rows(source: Target, settings: PgvectorSource) -> list[tuple[Chunk, list[float]]]:
    """Return what the long way, row by row, would write."""
    made = []
    for batch in ByRow(source, settings).read(None, None, 1000):
        for row in batch:
            assert row.piece is not None
            assert row.vector is not None
            piece = row.piece
            chunk = Chunk(
                piece.source_key,
                piece.number,
                piece.start,
                piece.end,
                row.title,
                row.text,
                text_digest(row.text),
                list(row.acl),
                row.metadata,
            )
            made.append((chunk, row.vector.tolist()))
    return sorted(made, key=lambda m: (m[0].source_key, m[0].number))


@pytest.mark.parametrize("batch_rows", [7, 40, 120, 5_000])
def test_a_copy_is_what_the_long_way_would_write(
    source: Target, store: PgvectorStore, batch_rows: int
) -> None:
    settings = origin_table(source)
    marks: list[Checkpoint] = []
    mark = store.copy_from(
        source, settings, None, store.claim(0, 1), batch_rows, nothing_left, on_batch=marks.append
    )
    assert sorted(rows_of(store), key=lambda m: m[0].source_key) == expected_rows(source, settings)
    assert (mark.rows, mark.chunks, mark.finished) == (ROWS, ROWS, True)
    assert len(marks) == -(-ROWS // batch_rows)
    assert store.claim(0, 2).finished
    assert source.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_more_columns_than_a_function_takes_are_copied(
    source: Target, store: PgvectorStore
) -> None:
    names = [f"c{n}" for n in range(120)]
    columns = ", ".join(f"{c} json DEFAULT '{{\"{c}\": [1]}}'" for c in names)
    shape = f"id int PRIMARY KEY, text text, embedding vector(4), {columns}"
    source.execute(f"CREATE TABLE wide ({shape})".encode())
    source.execute(
        "INSERT INTO wide SELECT n, 'text ' || n, '[1,0,0,0]' FROM generate_series(1, 9) n"
    )
    settings = PgvectorSource.model_validate(
        {
            "kind": "pgvector",
            "block": "s",
            "table": "wide",
            "key": ["id"],
            "metadata": names,
            "vectors": {"model": "m"},
        }
    )
    store.copy_from(source, settings, None, store.claim(0, 1), 4, nothing_left)
    assert rows_of(store) == expected_rows(source, settings)
    assert len(rows_of(store)[0][0].metadata) == 120


@pytest.mark.parametrize("metadata", [["m"], ["m", "n"]])
@pytest.mark.parametrize("version", [None, 150_000])
def test_json_that_jsonb_cannot_hold_sets_its_row_aside_and_no_other(
    source: Target,
    store: PgvectorStore,
    monkeypatch: pytest.MonkeyPatch,
    metadata: list[str],
    version: int | None,
) -> None:
    """A server before 16 cannot be asked whether a text is jsonb; there a NUL is looked for."""
    if version is not None:
        monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", version)
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, text text, embedding vector(4), m json, n json)"
    )
    held = [
        r'{"a": "\u0000"}',
        r'{"a": "\\u0000"}',
        r'{"a": [1, {"b": "x\\\u0000"}]}',
        "[1]",
        "null",
        None,
        r'{"a": "\ud83d\ude00"}',
    ]
    if version is None:
        held += [r'{"a": "\ud800"}', '{"a": 1e400000}']
    for n, value in enumerate(held, 1):
        source.execute("INSERT INTO t VALUES (%s, 'text', '[1,0,0,0]', %s, '{}')", [n, value])
    settings = PgvectorSource.model_validate(
        {
            "kind": "pgvector",
            "block": "s",
            "table": "t",
            "key": ["id"],
            "metadata": metadata,
            "vectors": {"model": "m"},
        }
    )
    aside: list[Rejected] = []
    mark = store.copy_from(source, settings, None, store.claim(0, 1), 4, aside.extend)
    bad = ["1", "3"] if version else ["1", "3", "8", "9"]
    assert [r.source_key for r in aside] == bad
    assert {r.reason for r in aside} == {NO_JSONB}
    assert (mark.rows, mark.chunks, mark.finished) == (len(held), len(held) - len(bad), True)
    source.execute("DELETE FROM t WHERE id::text = ANY (%s)", [bad])
    assert rows_of(store) == expected_rows(source, settings)


def test_a_range_is_copied_from_above_its_low_key_to_its_high_one(
    source: Target, store: PgvectorStore
) -> None:
    settings = origin_table(source)
    ranges = ByRow(source, settings).freeze(50)
    for number, r in enumerate(ranges):
        mark = store.copy_from(
            source, settings, r.high, store.claim(number, 1), 20, nothing_left, low=r.low
        )
        assert mark.rows == r.rows
    assert sorted(rows_of(store), key=lambda m: m[0].source_key) == expected_rows(source, settings)


def test_our_own_generation_arrives_with_places_and_metadata(
    target: Target, store: PgvectorStore
) -> None:
    origin = PgvectorStore(target, FROM, BARE)
    origin.prepare()
    origin.claim(0, 1)
    chunks = [
        Chunk(
            f"d{n // 3}",
            n % 3,
            n,
            n + 4,
            "T",
            f"text {n}",
            text_digest(f"text {n}"),
            ["x"],
            {"page": n},
        )
        for n in range(90)
    ]
    vectors = np.eye(4, dtype=np.float32)[np.arange(90) % 4]
    origin.write(chunks, vectors, Checkpoint(0, 1, ["d29", "2"], 90, 90, True))
    settings = PgvectorSource.model_validate(
        {
            "kind": "pgvector",
            "block": "s",
            "table": "qafila.chunk_docs_g1",
            "title": "title",
            "acl": "acl",
            "metadata": ["metadata"],
            "vectors": {"model": "m"},
        }
    )
    with psycopg.connect(target.info.dsn, autocommit=True) as source:
        store.copy_from(source, settings, None, store.claim(0, 1), 25, nothing_left)
    assert rows_of(store) == rows_of(origin)
    assert digest_of(store) == digest_of(origin)
    assert {mark for _, mark in store.digests(["d1"]).values()} == {TO.fingerprint}


def test_rows_that_cannot_be_copied_are_set_aside_with_their_reason(
    source: Target, store: PgvectorStore
) -> None:
    settings = origin_table(source)
    source.execute("UPDATE item SET embedding = NULL WHERE code = 0.4")
    source.execute("UPDATE item SET embedding = '[0,0,0,0]' WHERE code = 0.5")
    source.execute("UPDATE item SET embedding = '[1,2,3]' WHERE code = 0.6")
    source.execute("UPDATE item SET body = NULL WHERE code = 0.7")
    source.execute("UPDATE item SET body = '' WHERE code = 12.0")  # the last row of its tenant
    for code, blanks in ((1.0, " \n\t"), (1.1, "\u00a0\u3000"), (1.2, "\ufeff \u200b" * 900)):
        source.execute("UPDATE item SET body = %s WHERE code = %s", [blanks, code])
    source.execute("UPDATE item SET body = ' ' || body WHERE code = 1.3")  # no more than that
    source.execute("UPDATE item SET tenant = repeat('long', 700) WHERE code = 0.9")
    aside: list[Rejected] = []
    mark = store.copy_from(source, settings, None, store.claim(0, 1), 25, aside.extend)
    assert '["t1", "0.4"]' in {r.source_key for r in aside}
    assert sorted(r.reason for r in aside) == [
        *["it has no text"] * 5,
        "it has no vector",
        "its key has 2811 bytes",
        "its vector has 3 dimensions",
        "its vector is zero, which no cosine search can find",
    ]
    assert (mark.rows, mark.chunks, store.count()) == (ROWS, ROWS - 9, ROWS - 9)


def test_a_copy_whose_shard_was_claimed_keeps_nothing_of_its_batch(
    source: Target, store: PgvectorStore
) -> None:
    settings = origin_table(source)
    old = store.claim(0, 1)
    store.claim(0, 2)
    with pytest.raises(StaleEpoch):
        store.copy_from(source, settings, None, old, 50, nothing_left)
    assert store.count() == 0
    assert source.execute("SELECT 1").fetchone() == (1,)  # the connection is free again


def test_a_copy_goes_on_where_it_was_stopped(source: Target, store: PgvectorStore) -> None:
    settings = origin_table(source)

    def stop(mark: Checkpoint) -> None:
        if mark.rows >= 40:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        store.copy_from(source, settings, None, store.claim(0, 1), 20, nothing_left, on_batch=stop)
    resumed = store.claim(0, 2)
    assert (resumed.rows, store.count(), resumed.finished) == (40, 40, False)
    assert source.execute("SELECT 1").fetchone() == (1,)
    mark = store.copy_from(source, settings, None, resumed, 20, nothing_left)
    assert (mark.rows, store.count(), store.repeated()) == (ROWS, ROWS, 0)


def test_a_long_copy_opens_its_source_anew(
    source: Target, store: PgvectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = origin_table(source)
    monkeypatch.setattr(pgvector_store, "SNAPSHOT_SECONDS", 0.0)
    application = psycopg.connect(source.info.dsn, autocommit=True)

    def write_behind(mark: Checkpoint) -> None:
        if mark.rows < ROWS:
            application.execute(
                "INSERT INTO item VALUES ('zz', %s, 'late', '', NULL, NULL, NULL, '[1,0,0,0]')",
                [mark.rows],
            )

    mark = store.copy_from(
        source, settings, None, store.claim(0, 1), 20, nothing_left, on_batch=write_behind
    )
    application.close()
    assert mark.rows == ROWS + 5  # what came while it ran, each seen by the next snapshot
    assert sorted(rows_of(store), key=lambda m: m[0].source_key) == expected_rows(source, settings)


def test_an_empty_range_is_finished_at_once(source: Target, store: PgvectorStore) -> None:
    settings = origin_table(source)
    mark = store.copy_from(
        source, settings, None, store.claim(0, 1), 20, nothing_left, low=["zzz", "0"]
    )
    assert (mark.rows, mark.last_key, mark.finished) == (0, ["zzz", "0"], True)


def test_a_source_that_fails_in_the_middle_keeps_what_was_committed(
    source: Target, store: PgvectorStore
) -> None:
    settings = origin_table(source)
    source.execute(
        "CREATE VIEW broken AS SELECT *, 1 / CASE WHEN code = 10 THEN 0 ELSE 1 END AS fault"
        " FROM item"
    )
    settings = settings.model_copy(update={"table": "broken", "metadata": ["fault"]})
    with pytest.raises(psycopg.Error):
        store.copy_from(source, settings, None, store.claim(0, 1), 20, nothing_left)
    held = store.claim(0, 2)
    assert held.rows == store.count()
    assert not held.finished
    assert source.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(("origin", "wanted"), [("halfvec", "vector"), ("vector", "halfvec")])
def test_a_vector_of_another_type_is_converted_by_the_source(
    source: Target, target: Target, origin: str, wanted: str
) -> None:
    settings = origin_table(source)
    source.execute(f"ALTER TABLE item ALTER embedding TYPE {origin}(4)")  # type: ignore[arg-type]
    how = BARE.model_copy(update={"vector_type": wanted})
    store = PgvectorStore(target, replace(TO, generation=3), how)
    store.prepare()
    store.copy_from(source, settings, None, store.claim(0, 1), 50, nothing_left)
    assert sorted(rows_of(store), key=lambda m: m[0].source_key) == expected_rows(source, settings)
