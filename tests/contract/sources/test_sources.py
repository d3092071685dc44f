"""One suite for every source: PostgreSQL, files, S3, pgvector and Qdrant's local mode.

Each world holds the same documents, knows how to add and remove one, and in which order its source
puts their keys. A source is opened anew wherever another process would open it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import models

from qafila.errors import BadInput
from qafila.sources.objects import ObjectSource
from qafila.sources.port import Key, KeyRange, Source, SourceRow
from qafila.sources.qdrant import QdrantSource
from qafila.stack import postgres
from tests.support.aws import running_moto
from tests.support.source_worlds import (
    ABOVE,
    BELOW,
    BETWEEN,
    DOCUMENTS,
    KEYS,
    NAMES,
    World,
    in_files,
    in_postgres,
    in_qdrant,
    in_s3,
)


@pytest.fixture(scope="module")
def database(pg_server: postgres.Postgres) -> str:
    return postgres.ensure_database(pg_server, f"sources_{uuid.uuid4().hex[:8]}")


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    with running_moto() as url:
        yield url


UNIQUE_KEYS = [name for name in NAMES if name == "pgvector" or "postgres" in name]


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
            made.add_all({key: f"text {number} of {key}" for number, key in enumerate(KEYS)})
            yield made
    else:
        if name == "qdrant":
            made = in_qdrant()
        elif name == "s3 jsonl":
            made = in_s3(request.getfixturevalue("moto_url"), home)
        else:
            made = in_files(home, name)
        made.add_all({key: f"text {number} of a document" for number, key in enumerate(KEYS)})
        yield made
    shutil.rmtree(home)


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


@pytest.mark.without(*DOCUMENTS, reason="a folder without one file of the format is refused")
def test_rows_of_an_empty_source_belong_to_its_one_shard(world: World) -> None:
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


@pytest.mark.without(*DOCUMENTS, *UNIQUE_KEYS, reason="paths and primary keys are unique")
def test_a_key_that_is_there_twice_is_named(world: World) -> None:
    if isinstance(opened := world.reopen(), QdrantSource):
        opened._client.upsert(
            "docs",
            [
                models.PointStruct(
                    id=77,
                    vector={"dense": [1.0, 0, 0]},
                    payload={"doc": {"key": "a", "text": "x"}},
                )
            ],
        )
        (problem,) = world.reopen().problems()
    else:
        world.add("twice", "x")
        assert isinstance(opened, ObjectSource)
        location = opened._settings.location
        if location.startswith("s3://"):
            files: Any = opened._files
            files._client.copy_object(
                Bucket=files._bucket,
                Key="docs/copy.jsonl",
                CopySource={"Bucket": files._bucket, "Key": "docs/part-1.jsonl"},
            )
        else:
            folder = opened._folder.parent / location
            shutil.copy(folder / f"part-1.{world.name}", folder / f"copy.{world.name}")
        with pytest.raises(BadInput) as refused:
            next(iter(world.reopen().read(None, None, 10)))
        problem = world.reopen().problems()[0]
        assert problem in refused.value.problems
    assert "2 " in problem
