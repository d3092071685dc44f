"""Writing to a real pgvector: what it refuses, that the check finds all of it, a full disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from qafila.errors import BackfillHalted
from qafila.stack import postgres
from qafila.stores.admission import limits_of, rejections
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place, Vectors
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.fingerprint import text_digest

PLACE = Place("docs", 1, "f" * 16, 8)
BARE = PgvectorTarget(kind="pgvector", block="t", full_text="none", index="none")
Target = psycopg.Connection[Any]


@pytest.fixture
def target(target_url: str) -> Iterator[Target]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        yield connection


def opened(target: Target, how: PgvectorTarget = BARE, place: Place = PLACE) -> PgvectorStore:
    store = PgvectorStore(target, place, how)
    assert store.problems() == []
    store.prepare()
    return store


def chunk(key: str, text: str = "text", **more: Any) -> Chunk:
    digest = text_digest(text)
    return replace(Chunk(key, 0, 0, len(text), "", text, digest, ["everyone"]), **more)


def units(rows: int, dimensions: int = 8) -> Vectors:
    raw = np.random.default_rng(5).normal(size=(rows, dimensions)).astype(np.float32)
    unit: Vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return unit


def vector_with(value: float) -> Vectors:
    made = units(1)[0].copy()
    made[3] = value
    return made


def random_key(size: int) -> str:
    """Return a key that cannot be compressed, as an index would do with a regular one."""
    return np.random.default_rng(1).bytes(size).hex()[:size]


TRAPS: dict[str, tuple[dict[str, Any], Vectors | None]] = {
    "NUL in the text": ({"text": "nul \0 inside"}, None),
    "NUL in the title": ({"title": "\0"}, None),
    "NUL in the key": ({"source_key": "bad\0"}, None),
    "NUL in a group": ({"acl": ["\0"]}, None),
    "lone surrogate": ({"text": "half \ud83d pair"}, None),
    "\\u0000 in jsonb": ({"metadata": {"a": "\0"}}, None),
    "NaN in jsonb": ({"metadata": {"a": float("nan")}}, None),
    "surrogate in jsonb": ({"metadata": {"a": "\udc00"}}, None),
    "NaN in the vector": ({}, vector_with(np.nan)),
    "infinity in the vector": ({}, vector_with(np.inf)),
    "wrong digest": ({"digest": b"short"}, None),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_one_unfit_row_would_take_its_batch_along_and_the_check_finds_it(
    target: Target, trap: str
) -> None:
    store = opened(target)
    change, vector = TRAPS[trap]
    batch = [chunk("a"), replace(chunk("bad"), **change), chunk("z")]
    vectors = units(3)
    if vector is not None:
        vectors[1] = vector
    store.claim(0, 1)
    with pytest.raises((psycopg.DataError, ValueError)):
        store.write(batch, vectors, Checkpoint(0, 1, ["z"], 3, 3))
    assert (store.count(), store.claim(0, 2).last_key) == (0, None)  # the connection is well
    rejected = rejections(batch, vectors, limits_of(BARE, 8))
    assert list(rejected) == [1]
    store.write([batch[0], batch[2]], vectors[[0, 2]], Checkpoint(0, 2, ["z"], 3, 2))
    assert (store.count(), store.claim(0, 3).last_key) == (2, ["z"])


def test_vectors_of_another_length_are_refused_and_found(target: Target) -> None:
    store = opened(target)
    store.claim(0, 1)
    with pytest.raises(ValueError, match="shape"):
        store.write([chunk("a")], units(1, 7), Checkpoint(0, 1, ["a"], 1, 1))
    assert "7 dimensions" in rejections([chunk("a")], units(1, 7), limits_of(BARE, 8))[0]


@pytest.mark.parametrize(
    ("change", "vector"),
    [({"source_key": random_key(20_000)}, None), ({}, np.zeros(8, np.float32))],
    ids=["key of 20 kB", "zero vector"],
)
def test_what_is_stored_and_fails_later_is_found_before(
    target: Target, change: dict[str, Any], vector: Vectors | None
) -> None:
    store = opened(target, PgvectorTarget(kind="pgvector", block="t", full_text="none"))
    bad, vectors = replace(chunk("bad"), **change), units(1)
    if vector is not None:
        vectors[0] = vector
    store.claim(0, 1)
    store.write([bad], vectors, Checkpoint(0, 1, ["bad"], 1, 1))
    if vector is None:
        with pytest.raises(BackfillHalted, match="index row requires 20016 bytes"):
            store.build_index()
    else:
        store.build_index()
        target.execute("SET enable_seqscan = off")  # so few rows would not need an index
        assert store.search(units(1)[0], 5, ["everyone"]) == []
    assert list(rejections([bad], vectors, limits_of(BARE, 8))) == [0]


def test_the_longest_key_that_is_let_through_can_be_indexed(target: Target) -> None:
    store = opened(target)
    longest = chunk(random_key(2_600))
    assert rejections([longest], units(1), limits_of(BARE, 8)) == {}
    store.claim(0, 1)
    store.write([longest], units(1), Checkpoint(0, 1, ["k"], 1, 1))
    store.build_index()


def spelt(number: str, first: int) -> str:
    """Return a number in the letters of another script; a hyphen stays."""
    return "".join(d if d == "-" else chr(first + int(d, 16)) for d in number)


ARABIC, GOTHIC = 0x627, 0x10330  # letters of two and of four bytes
LONG_TEXTS = {
    "short words": " ".join(f"{n:x}" for n in range(300_000)),
    "words with hyphens": " ".join(f"{n:03x}-{n + 7:03x}" for n in range(200_000)),
    "addresses": " ".join(f"a{n:x}.bc/{n:x}" for n in range(200_000)),
    "Arabic": " ".join(spelt(f"{n:05x}-{n:04x}", ARABIC) for n in range(100_000)),
    "letters of four bytes": " ".join(spelt(f"{n:04x}-{n:04x}", GOTHIC) for n in range(100_000)),
    "dense at its beginning": " ".join(spelt(f"{n:04x}", GOTHIC) for n in range(50_000))
    + " a" * 900_000,
}


@pytest.mark.parametrize("kind", LONG_TEXTS)
def test_no_text_is_too_long_for_its_lexemes(target: Target, kind: str) -> None:
    text = LONG_TEXTS[kind]
    store = opened(target, PgvectorTarget(kind="pgvector", block="t", index="none"))
    store.claim(0, 1)
    store.write([chunk("a", text, title=text)], units(1), Checkpoint(0, 1, ["a"], 1, 1))
    store.build_index()
    assert store.count() == 1


def test_lexemes_of_a_whole_text_would_be_too_long(target: Target) -> None:
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="too long for tsvector"):
        target.execute("SELECT to_tsvector('english', %s)", [LONG_TEXTS["words with hyphens"]])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text()
    | st.floats(-1e9, 1e9, allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
any_chunk = st.builds(
    lambda title, text, number, acl, metadata: Chunk(
        "", number, 3, 3 + len(text), title, text, text_digest(text), acl, metadata
    ),
    st.text(),
    st.text(),
    st.integers(0, 2**31 - 1),
    st.lists(st.text(), max_size=3),
    st.dictionaries(st.text(), json_values, max_size=3),
)


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_what_is_packed_is_what_the_server_reads(target: Target, kind: str) -> None:
    how = BARE.model_copy(update={"vector_type": kind})
    epoch = 0

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(any_chunk, min_size=1, max_size=12))
    def check(drawn: list[Chunk]) -> None:
        nonlocal epoch
        epoch += 1
        store = opened(target, how, replace(PLACE, generation=epoch))
        batch = [replace(c, source_key=f"k{n:03}") for n, c in enumerate(drawn)]
        vectors = units(len(batch)).astype(np.float16).astype(np.float32)
        fit = [
            n for n in range(len(batch)) if n not in rejections(batch, vectors, limits_of(how, 8))
        ]
        store.claim(0, 1)
        store.write([batch[n] for n in fit], vectors[fit], Checkpoint(0, 1, ["k"], 1, len(fit)))
        seen = [(c, v) for part, vs in store.scan(5) for c, v in zip(part, vs, strict=True)]
        assert [c for c, _ in seen] == [batch[n] for n in fit]
        np.testing.assert_array_equal(np.array([v for _, v in seen]).reshape(-1, 8), vectors[fit])
        store.drop()

    check()


@pytest.mark.parametrize("rows", [1, 68, 69, 400])
def test_a_batch_of_any_size_arrives_whole(target: Target, rows: int) -> None:
    store = opened(target)
    batch = [chunk(f"k{n:04}", "x" * (40_000 if n % 50 == 1 else n)) for n in range(rows)]
    store.claim(0, 1)
    store.write(batch, units(rows), Checkpoint(0, 1, ["k"], rows, rows))
    assert [c for part, _ in store.scan(1000) for c in part] == batch


@pytest.fixture
def small_disk(pg_server: postgres.Postgres) -> Iterator[Path]:
    """A file system of 8 MB that the server may write to."""
    folder = Path(postgres_folder(pg_server)).parent / "small"
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a file system can be mounted by root only")
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    os.chown(folder, psutil.Process(pg_server.pid).uids().effective, -1)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def fill(store: PgvectorStore, mark: Checkpoint) -> None:
    for batch in range(100):
        part = [chunk(f"k{batch:03}{n:03}", random_key(3_000)) for n in range(100)]
        rows = 100 * (batch + 1)
        moved = replace(mark, last_key=[part[-1].source_key], rows=rows, chunks=rows)
        store.write(part, units(100), moved)


def postgres_folder(server: postgres.Postgres) -> str:
    with psycopg.connect(server.uri) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    return str(row[0])


def test_a_full_disk_halts_the_load_and_keeps_what_was_committed(
    target: Target, small_disk: Path
) -> None:
    target.execute(
        sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(small_disk)))
    )
    store = PgvectorStore(target, PLACE, BARE)
    try:
        target.execute("SET default_tablespace = small")
        store.prepare()
        mark = store.claim(0, 1)
        with pytest.raises(BackfillHalted, match="disk is full") as halted:
            fill(store, mark)
        assert "run the backfill again" in halted.value.remedy
        held = store.claim(0, 2)
        assert held.rows == store.count() > 0
        mended = replace(held, last_key=["z"], rows=held.rows + 1, chunks=held.chunks + 1)
        store.write([chunk("z")], units(1), mended)
        assert store.count() == held.rows + 1
    finally:
        store.drop()
        target.execute("RESET default_tablespace")
        target.execute("DROP TABLESPACE small")


@pytest.mark.parametrize("inline", [True, False])
def test_long_rows_stay_whole_when_asked(target: Target, inline: bool) -> None:
    place = replace(PLACE, dimensions=768)
    store = opened(target, BARE.model_copy(update={"inline_vectors": inline}), place)
    store.claim(0, 1)
    made = units(40, 768)
    store.write([chunk(f"k{n:02}") for n in range(40)], made, Checkpoint(0, 1, ["k"], 40, 40))
    row = target.execute(
        "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = %s", [place.name]
    ).fetchone()
    assert row is not None
    assert (row[0] == 0) is inline
    np.testing.assert_array_equal(next(store.scan(100))[1], made)
