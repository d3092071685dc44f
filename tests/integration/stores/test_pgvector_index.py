"""Building the indexes of a generation: memory that fits, builds that end early, limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.backfill.patience import is_away
from qafila.errors import BackfillHalted
from qafila.stores.pgvector import index as pgvector_index
from qafila.stores.pgvector.index import plan_building
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place, Vectors
from qafila.stores.sizes import graph_memory_mb
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.fingerprint import text_digest

DIMENSIONS = 1000
PLACE = Place("docs", 1, "f" * 16, DIMENSIONS)
Target = psycopg.Connection[Any]


@pytest.fixture
def target(target_url: str) -> Iterator[Target]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        yield connection


def settings(**changes: Any) -> PgvectorTarget:
    return PgvectorTarget.model_validate(
        {
            "kind": "pgvector",
            "block": "t",
            "full_text": "none",
            "m": 4,
            "ef_construction": 10,
            **changes,
        }
    )


def units(rows: int, dimensions: int = DIMENSIONS) -> Vectors:
    raw = np.random.default_rng(5).standard_normal((rows, dimensions), np.float32)
    unit: Vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return unit


def filled(target: Target, how: PgvectorTarget, rows: int, place: Place = PLACE) -> PgvectorStore:
    store = PgvectorStore(target, place, how)
    store.prepare()
    store.claim(0, 1)
    batch = [
        Chunk(f"k{n:06}", 0, 0, 4, "", "text", text_digest("text"), ["everyone"])
        for n in range(rows)
    ]
    store.write(batch, units(rows, place.dimensions), Checkpoint(0, 1, ["k"], rows, rows, True))
    return store


def indexes(target: Target) -> dict[str, bool]:
    rows = target.execute(
        "SELECT c.relname, i.indisvalid FROM pg_index AS i JOIN pg_class AS c"
        " ON c.oid = i.indexrelid WHERE i.indrelid = 'qafila.chunk_docs_g1'::regclass"
    ).fetchall()
    return dict(rows)


@pytest.mark.parametrize(
    ("kind", "rows", "dimensions"),
    [("vector", 40_000, 400), ("halfvec", 36_000, 1_000)],
    ids=["several processes", "one process"],  # which a table of long, toasted rows gets
)
def test_the_memory_that_is_computed_holds_the_graph_and_is_no_waste(
    target: Target, kind: str, rows: int, dimensions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = settings(vector_type=kind)
    place = Place("docs", 1, "f" * 16, dimensions)
    needed = graph_memory_mb(rows, dimensions, how.m, how.vector_type)
    assert needed > 85
    store = filled(target, how, rows, place)
    monkeypatch.setattr(pgvector_index, "graph_memory_mb", lambda *_: needed * 4 // 5)
    with pytest.raises(BackfillHalted, match="does not fit into"):
        store.build_index()
    monkeypatch.undo()
    assert indexes(target) == {"chunk_docs_g1_key": True}
    store.build_index()
    assert indexes(target) == {"chunk_docs_g1_key": True, "chunk_docs_g1_hnsw": True}


def test_a_graph_that_outgrows_its_limit_is_stopped_and_names_the_setting(target: Target) -> None:
    store = filled(target, settings(index_memory_mb=64), 20_000)
    begun = time.monotonic()
    with pytest.raises(BackfillHalted, match="does not fit into 64 MB") as halted:
        store.build_index()
    assert time.monotonic() - begun < 20
    assert "corpus.target.index_memory_mb" in halted.value.remedy
    assert indexes(target) == {"chunk_docs_g1_key": True}


@pytest.mark.parametrize(("by", "as_if_away"), [("terminate", True), ("cancel", False)])
def test_a_build_that_is_killed_leaves_nothing_half_built_and_is_repeated(
    target: Target, target_url: str, by: str, as_if_away: bool
) -> None:
    """By itself only where the session is gone, as in an outage: a cancelled one was meant."""
    store = filled(target, settings(m=32, ef_construction=400), 6_000)
    pid = target.info.backend_pid

    def kill() -> None:
        with psycopg.connect(target_url, autocommit=True) as other:
            for _ in range(2_000):
                row = other.execute(
                    "SELECT 1 FROM pg_stat_progress_create_index WHERE pid = %s"
                    " AND phase = 'building index: loading tuples'",
                    [pid],  # of HNSW, not B-tree
                ).fetchone()
                if row is not None:
                    other.execute(f"SELECT pg_{by}_backend(%s)", [pid])
                    return
                time.sleep(0.005)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(BackfillHalted, match="the server ended the build") as halted:
        store.build_index()
    killer.join()
    assert is_away(halted.value) is as_if_away
    with psycopg.connect(target_url, autocommit=True) as again:
        assert indexes(again) == {"chunk_docs_g1_key": True}
        PgvectorStore(again, PLACE, settings()).build_index()
        assert indexes(again)["chunk_docs_g1_hnsw"]


def test_an_index_that_was_left_invalid_is_built_again(target: Target) -> None:
    store = filled(target, settings(), 300)
    store.build_index()
    target.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid ="
        " 'qafila.chunk_docs_g1_hnsw'::regclass"
    )
    store.build_index()
    assert all(indexes(target).values())


def test_a_chunk_that_is_there_twice_fails_the_key(target: Target) -> None:
    store = filled(target, settings(), 10)
    store.claim(1, 1)
    twice = Chunk("k000003", 0, 0, 4, "", "text", text_digest("text"), ["everyone"])
    store.write([twice], units(1), Checkpoint(1, 1, ["k"], 1, 1, True))
    assert store.repeated() == 1
    with pytest.raises(BackfillHalted, match=r"holds a chunk twice: .*k000003"):
        store.build_index()


def test_workers_that_cannot_share_memory_are_done_without(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = settings()
    monkeypatch.setattr(pgvector_index, "shared_memory_mb", lambda: 10)
    assert plan_building(target, how, rows=50_000, dimensions=256).workers == 0
    monkeypatch.setattr(pgvector_index, "shared_memory_mb", lambda: 10**9)
    monkeypatch.setattr(pgvector_index.os, "cpu_count", lambda: 3)
    assert plan_building(target, how, rows=50_000, dimensions=256).workers == 2


def test_when_the_server_has_too_little_shared_memory_one_process_builds_alone(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = target.execute("SHOW dynamic_shared_memory_type").fetchone()
    if row != ("posix",):
        pytest.skip("only files in /dev/shm have a size of their own")
    store = filled(target, settings(), 12_000, Place("docs", 1, "f" * 16, 400))
    beyond = pgvector_index.shared_memory_mb() + 1_000
    monkeypatch.setattr(pgvector_index, "shared_memory_mb", lambda: 10**9)
    monkeypatch.setattr(pgvector_index, "graph_memory_mb", lambda *_: beyond)
    monkeypatch.setattr(pgvector_index.os, "cpu_count", lambda: 2)
    run, tried = pgvector_index._Builder._run, []

    def spy(self: Any, query: Any, building: Any, workers: int) -> None:
        tried.append(workers)
        run(self, query, building, workers)

    monkeypatch.setattr(pgvector_index._Builder, "_run", spy)
    store.build_index()
    assert tried == [1, 1, 0]  # the key, the graph by two processes, the graph by one
    assert indexes(target) == {"chunk_docs_g1_key": True, "chunk_docs_g1_hnsw": True}


@pytest.mark.parametrize(
    ("changes", "dimensions", "problem"),
    [
        ({}, 2_000, None),
        ({}, 2_001, "halfvec takes 4000"),
        ({"vector_type": "halfvec"}, 4_000, None),
        ({"vector_type": "halfvec"}, 4_001, "set corpus.target.index to none"),
        ({}, 4_001, "set corpus.target.index to none"),
        ({"index": "none"}, 4_001, None),
        ({"index": "none"}, 16_001, "holds 16000 dimensions"),
        ({"m": 40, "ef_construction": 64}, 8, "raise it to 80"),
        ({"full_text": "arabic"}, 8, None),
    ],
)
def test_what_pgvector_cannot_do_is_a_problem_beforehand(
    target: Target, changes: dict[str, Any], dimensions: int, problem: str | None
) -> None:
    store = PgvectorStore(target, Place("docs", 1, "f" * 16, dimensions), settings(**changes))
    problems = store.problems()
    if problem is not None:
        assert len(problems) == 1
        assert problem in problems[0]
        return
    assert problems == []
    store.prepare()
    store.build_index()


def test_the_options_of_the_index_are_those_of_the_workload(target: Target) -> None:
    filled(target, settings(m=7, ef_construction=31, vector_type="halfvec"), 10).build_index()
    row = target.execute("SELECT pg_get_indexdef('qafila.chunk_docs_g1_hnsw'::regclass)").fetchone()
    assert row is not None
    assert "halfvec_cosine_ops" in row[0]
    assert "(m='7', ef_construction='31')" in row[0]


@pytest.mark.parametrize("version", ["0.5.1", "0.8.3", "0.8"])
def test_a_pgvector_with_known_faults_is_refused(target: Target, version: str) -> None:
    target.execute("UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'", [version])
    (problem,) = PgvectorStore(target, PLACE, settings()).problems()
    assert "update to 0.8.4" in problem
    target.execute("UPDATE pg_extension SET extversion = '0.8.4' WHERE extname = 'vector'")
    assert PgvectorStore(target, PLACE, settings()).problems() == []
