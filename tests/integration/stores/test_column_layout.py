"""The column layout against a real PostgreSQL: filled, swapped, returned."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgvector import Vector
from pgvector.psycopg import register_vector

from qafila.errors import BackfillHalted, Refused, StaleEpoch, Unavailable
from qafila.stores.brief_lock import Patience
from qafila.stores.column import swap as column_swap
from qafila.stores.column.store import ColumnStore
from qafila.stores.column.table import AppTable, table_of
from qafila.stores.pointer_row import Alias, move_alias, read_alias, return_alias
from qafila.stores.port import Checkpoint, Chunk, Place, SyncMark, Vectors
from qafila.workload.corpus import Corpus
from qafila.workload.fingerprint import text_digest
from tests.support.columns import HASTY, ITEM, TARGET, make_item_table
from tests.support.corpus import demo_workload

OLD, NEW = 4, 8
PLACE = Place("live", 1, "f" * 16, NEW)
ORIGINAL = Place("live", 0, "0" * 16, OLD)
KEYS = [f"k{n}" for n in range(6)]


@pytest.fixture
def connect(target_url: str) -> Iterator[Callable[[], psycopg.Connection]]:
    opened: list[psycopg.Connection] = []

    def open_one() -> psycopg.Connection:
        opened.append(psycopg.connect(target_url, autocommit=True))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def database(connect: Callable[[], psycopg.Connection]) -> psycopg.Connection:
    """The application's table with six rows and its own vectors, which it demands."""
    connection = connect()
    register_vector(connection)
    make_item_table(connection, OLD)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO item (id, body, readers, embedding) VALUES (%s, %s, '{everyone}', %s)",
            [(k, f"text {k}", Vector(v)) for k, v in zip(KEYS, unit(6, OLD), strict=True)],
        )
    connection.execute("ALTER TABLE item ALTER embedding SET NOT NULL")
    connection.execute(
        "CREATE INDEX item_by_vector ON item USING hnsw (embedding vector_cosine_ops)"
    )
    return connection


@pytest.fixture
def store(database: psycopg.Connection) -> ColumnStore:
    opened = open_store(database, PLACE)
    assert opened.problems() == []
    opened.prepare()
    opened.claim(0, 1)
    return opened


def open_store(connection: psycopg.Connection, place: Place) -> ColumnStore:
    return ColumnStore(connection, place, TARGET, ITEM, patience=HASTY)


def unit(n: int, dimensions: int, seed: int = 0) -> Vectors:
    raw = np.random.default_rng(seed).normal(size=(n, dimensions)).astype(np.float32)
    length: Vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return length


def chunk(key: str, text: str | None = None) -> Chunk:
    body = f"text {key}" if text is None else text
    return Chunk(key, 0, 0, len(body), "", body, text_digest(body), ["everyone"])


def fill(store: ColumnStore, *keys: str) -> Vectors:
    vectors = unit(len(keys), NEW, seed=7)
    store.write([chunk(k) for k in keys], vectors, Checkpoint(0, 1, [keys[-1]], len(keys)))
    return vectors


def columns(connection: psycopg.Connection) -> dict[str, tuple[str, bool]]:
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        " WHERE attrelid = 'item'::regclass AND attnum > 0 AND NOT attisdropped"
    ).fetchall()
    return {name: (kind, required) for name, kind, required in rows}


def test_cutover_and_return_swap_the_names_and_the_pointer_row_together(
    database: psycopg.Connection, store: ColumnStore
) -> None:
    fill(store, *KEYS)
    store.build_index()
    assert columns(database)["embedding_g1"] == ("vector(8)", False)
    for _ in range(2):
        assert move_alias(database, "live", 1, 3) == Alias("live", 1, None, None, 3)
        assert columns(database)["embedding"] == ("vector(8)", False)
        assert columns(database)["embedding_g0"] == ("vector(4)", False)
    database.execute("INSERT INTO item (id, body) VALUES ('new', 'a row that knows no old vector')")
    assert len(store.search(unit(1, NEW)[0], 9, ["everyone"])) == 6
    with pytest.raises(StaleEpoch):
        return_alias(database, "live", [1], 2)
    for _ in range(2):
        assert return_alias(database, "live", [1], 4) == Alias("live", None, None, None, 4)
        assert columns(database)["embedding"] == ("vector(4)", False)
        assert columns(database)["embedding_g1"] == ("vector(8)", False)
    assert {c.generation: c.required for c in column_swap.list_columns(database, "live")} == {
        0: True,
        1: False,
    }
    names = database.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'item'").fetchall()
    assert {n for (n,) in names} == {"item_pkey", "item_by_vector", "item_embedding_g1_hnsw"}


def test_a_row_that_changed_since_it_was_read_keeps_no_vector_of_its_old_text(
    database: psycopg.Connection, store: ColumnStore, connect: Callable[[], psycopg.Connection]
) -> None:
    database.execute("UPDATE item SET body = 'other' WHERE id = 'k1'")
    application = connect()
    with application.transaction():
        application.execute("UPDATE item SET body = 'changing' WHERE id = 'k2'")
        writing = threading.Thread(target=fill, args=(store, *KEYS))
        writing.start()
        time.sleep(0.2)  # the batch waits for the row
    writing.join()
    assert sorted(k for k, _ in store.digests(KEYS)) == ["k0", "k3", "k4", "k5"]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["read", "write", "change", "delete", "insert", "swap", "back"]),
            st.sampled_from(KEYS[:3]),
        ),
        max_size=25,
    )
)
def test_whatever_the_order_a_vector_is_of_the_text_that_its_digest_names(
    pg_once: psycopg.Connection, steps: list[tuple[str, str]]
) -> None:
    """Each version of a text has its own vector, so a wrong one is seen."""
    pg_once.execute("TRUNCATE item; TRUNCATE qafila.alias, qafila.checkpoint")
    store = open_store(pg_once, PLACE)
    store.prepare()
    mark = store.claim(0, 1)
    held: dict[str, str] = {}
    epoch = 0
    for number, (step, key) in enumerate(steps):
        epoch += 1
        if step == "read":
            row = pg_once.execute("SELECT body FROM item WHERE id = %s", [key]).fetchone()
            held.pop(key, None)
            if row is not None:
                held[key] = row[0]
        elif step == "write" and key in held:
            vector = np.eye(NEW, dtype=np.float32)[[int(held[key]) % NEW]]
            store.write([chunk(key, held[key])], vector, dataclasses.replace(mark, last_key=[key]))
        elif step == "change":
            pg_once.execute("UPDATE item SET body = %s WHERE id = %s", [str(number), key])
        elif step == "delete":
            pg_once.execute("DELETE FROM item WHERE id = %s", [key])
        elif step == "insert":
            pg_once.execute(
                "INSERT INTO item (id, body) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [key, str(number)],
            )
        elif step == "swap":
            move_alias(pg_once, "live", 1, epoch)
        else:
            return_alias(pg_once, "live", [1], epoch)
    return_alias(pg_once, "live", [1], epoch + 1)
    for vector, digest, body in pg_once.execute(
        "SELECT embedding_g1, embedding_g1_digest, body FROM item WHERE embedding_g1 IS NOT NULL"
    ).fetchall():
        numbers = [n for n in range(len(steps)) if text_digest(str(n)) == digest]
        assert vector.to_numpy()[numbers[0] % NEW] == 1.0
        if digest == text_digest(body):
            assert vector.to_numpy()[int(body) % NEW] == 1.0


@pytest.fixture
def pg_once(connect: Callable[[], psycopg.Connection]) -> psycopg.Connection:
    """One table for all examples of a property; each empties it."""
    connection = connect()
    register_vector(connection)
    make_item_table(connection, OLD)
    return connection


def test_live_sync_feeds_the_new_column_and_after_the_swap_the_old_one_too(
    database: psycopg.Connection, store: ColumnStore
) -> None:
    fill(store, *KEYS)
    move_alias(database, "live", 1, 1)
    old = open_store(database, ORIGINAL)
    old.prepare()
    for fed in (store, old):
        fed.claim_sync(1)
    database.execute("UPDATE item SET body = 'changed' WHERE id = 'k1'")
    database.execute("INSERT INTO item (id, body) VALUES ('new', 'a new one')")
    database.execute("DELETE FROM item WHERE id = 'k2'")
    keys, now = ["k1", "k2", "new"], [chunk("k1", "changed"), chunk("new", "a new one")]
    for fed, dimensions in ((store, NEW), (old, OLD)):
        for _ in range(2):
            fed.replace(keys, now, unit(2, dimensions, seed=5), SyncMark(1, "9"))
    return_alias(database, "live", [1], 2)
    for name, dimensions in (("embedding", OLD), ("embedding_g1", NEW)):
        rows = database.execute(
            f"SELECT {name} FROM item WHERE id IN ('k1', 'new') ORDER BY id"
        ).fetchall()
        np.testing.assert_array_equal(
            np.array([v.to_numpy() for (v,) in rows]), unit(2, dimensions, seed=5)
        )
    assert store.claim_sync(2) == SyncMark(2, "9")
    assert store.count() == old.count() == 6


def test_a_row_without_a_chunk_loses_its_vector_but_not_one_of_its_present_text(
    database: psycopg.Connection, store: ColumnStore
) -> None:
    fill(store, *KEYS)
    store.claim_sync(1)
    database.execute("UPDATE item SET body = '' WHERE id = 'k1'")
    store.replace(["k1", "k2"], [], unit(0, NEW), SyncMark(1, "3"))
    assert ("k1", 0) not in store.digests(KEYS)
    assert ("k2", 0) in store.digests(KEYS)
    with pytest.raises(StaleEpoch):
        store.replace(["k1"], [], unit(0, NEW), SyncMark(0, "2"))


def test_null_is_nobody_only_where_a_column_of_groups_is_named(
    database: psycopg.Connection, store: ColumnStore
) -> None:
    database.execute("UPDATE item SET readers = NULL WHERE id IN ('k0', 'k1')")
    database.execute("UPDATE item SET readers = ARRAY[NULL, 'everyone'] WHERE id = 'k2'")
    fill(store, *KEYS)
    query = unit(1, NEW)[0]
    assert {h.source_key for h in store.search(query, 9, ["everyone"])} == {*KEYS[2:]}
    public = ColumnStore(database, PLACE, TARGET, AppTable(("body",)), patience=HASTY)
    assert {h.source_key for h in public.search(query, 9, ["everyone"])} == {*KEYS}
    assert public.matching(["everyone"]) == 6
    assert public.matching(["hr"]) == 0
    assert public.readers() == {"everyone": 6}


def test_several_chunks_of_a_row_are_refused(store: ColumnStore) -> None:
    second = dataclasses.replace(chunk("k0"), number=1)
    with pytest.raises(Refused, match="one vector a row"):
        store.write([chunk("k0"), second], unit(2, NEW), Checkpoint(0, 1, ["k0"], 1, 2))
    assert store.claim(0, 2).last_key is None


def test_a_long_reader_holds_up_the_swap_and_the_swap_holds_up_nobody(
    database: psycopg.Connection, store: ColumnStore, connect: Callable[[], psycopg.Connection]
) -> None:
    fill(store, *KEYS)
    long, short = connect(), connect()
    waits: list[float] = []
    stop = threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            begun = time.perf_counter()
            short.execute("SELECT count(*) FROM item").fetchone()
            waits.append(time.perf_counter() - begun)
            time.sleep(0.001)

    reading = threading.Thread(target=read_on)
    with long.transaction():
        long.execute("SELECT count(*) FROM item").fetchone()
        reading.start()
        patience = Patience(wait_ms=20, total_seconds=1.0, pause_seconds=(0.02, 0.05))
        with pytest.raises(Unavailable, match=rf"process {long.info.backend_pid} "):
            column_swap.move_with_column(
                database, "live", lambda: Alias("live", 1, None, None, 1), patience=patience
            )
    stop.set()
    reading.join()
    assert len(waits) > 100
    assert max(waits) < 0.2  # 20 ms behind each attempt, and a busy machine's share
    assert columns(database)["embedding"] == ("vector(4)", True)
    assert read_alias(database, "live") is None
    move_alias(database, "live", 1, 1)
    assert columns(database)["embedding"][0] == "vector(8)"


def test_who_holds_the_table_and_asks_the_pointer_row_knows_what_the_name_means(
    database: psycopg.Connection, store: ColumnStore, connect: Callable[[], psycopg.Connection]
) -> None:
    fill(store, *KEYS)
    application = connect()
    stop, wrong, asked = threading.Event(), [], [0]

    def ask_on() -> None:
        while not stop.is_set():
            with application.transaction():
                row = application.execute(
                    "SELECT (SELECT generation FROM qafila.alias WHERE workload = 'live')"
                    " FROM item LIMIT 1"
                ).fetchone()
                assert row is not None
                zeros = "[" + ",".join(["1"] * (NEW if row[0] == 1 else OLD)) + "]"
                try:
                    application.execute(
                        "SELECT id FROM item ORDER BY embedding <=> %s::vector LIMIT 1", [zeros]
                    ).fetchone()
                except psycopg.Error as error:
                    wrong.append(error)
                    return
            asked[0] += 1

    asking = threading.Thread(target=ask_on)
    asking.start()
    for epoch in range(1, 21):
        if epoch % 2:
            move_alias(database, "live", 1, epoch)
        else:
            return_alias(database, "live", [1], epoch)
    stop.set()
    asking.join()
    assert wrong == []
    assert asked[0] > 20


@pytest.mark.parametrize("dimensions", [OLD, NEW])
def test_prepared_statements_follow_the_name_unless_they_return_another_type(
    database: psycopg.Connection, connect: Callable[[], psycopg.Connection], dimensions: int
) -> None:
    place = dataclasses.replace(PLACE, dimensions=dimensions)
    store = open_store(database, place)
    store.prepare()
    store.claim(0, 1)
    store.write([chunk("k3")], unit(1, dimensions), Checkpoint(0, 1, ["k3"], 1))
    application = connect()
    register_vector(application)
    ordered = "SELECT id FROM item ORDER BY embedding <=> %s LIMIT 1"
    returned = "SELECT embedding FROM item WHERE id = 'k3'"
    for _ in range(7):
        application.execute(ordered, [Vector(unit(1, OLD)[0])], prepare=True).fetchone()
        application.execute(returned, prepare=True).fetchone()
    move_alias(database, "live", 1, 1)
    new = Vector(unit(1, dimensions)[0])
    assert application.execute(ordered, [new], prepare=True).fetchone() == ("k3",)
    if dimensions == OLD:
        assert application.execute(returned, prepare=True).fetchone() == (new,)
    else:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="cached plan"):
            application.execute(returned, prepare=True)
        assert application.execute(returned, prepare=False).fetchone() == (new,)


def test_what_would_stay_with_the_old_vectors_is_named_before_anything_changes(
    database: psycopg.Connection,
) -> None:
    database.execute("CREATE VIEW shown AS SELECT id, embedding FROM item")
    database.execute("ALTER TABLE item ADD CHECK (vector_dims(embedding) = 4)")
    database.execute("ALTER TABLE item ALTER embedding SET DEFAULT '[1,0,0,0]'")
    database.execute(
        "CREATE ROLE reader_of_vectors; GRANT SELECT (embedding) ON item TO reader_of_vectors"
    )
    database.execute("CREATE PUBLICATION sent FOR TABLE item")
    try:
        found = "\n".join(open_store(database, PLACE).problems())
    finally:
        database.execute(
            "REVOKE SELECT (embedding) ON item FROM reader_of_vectors;DROP ROLE reader_of_vectors"
        )
    for thing in ("view shown", "constraint", "default value", "privileges", "publication sent"):
        assert thing in found
    assert "embedding_g1" not in columns(database)


def test_what_the_workload_says_against_the_layout_is_said_at_once(
    database: psycopg.Connection,
) -> None:
    corpus = demo_workload(
        chunking={"method": "window"},
        target={
            "kind": "pgvector",
            "block": "demo-target",
            "column": {"table": "item", "key": ["id"], "column": "embedding"},
        },
    ).corpus
    assert len(table_of(corpus).problems) == 4
    elsewhere = Corpus.model_validate(
        {**corpus.model_dump(), "source": {"kind": "objects", "location": "x", "format": "csv"}}
    )
    assert "objects" in table_of(elsewhere).problems[0]
    missing = ColumnStore(database, PLACE, TARGET, AppTable(("words",), acl="groups"))
    assert len(missing.problems()) == 2


def test_a_column_of_the_application_is_never_taken_or_dropped(
    database: psycopg.Connection, store: ColumnStore
) -> None:
    with pytest.raises(Refused, match="serves"):
        open_store(database, ORIGINAL).drop()
    database.execute("ALTER TABLE item ADD embedding_g2 text")
    with pytest.raises(Refused, match="not ours"):
        open_store(database, dataclasses.replace(PLACE, generation=2)).prepare()
    fill(store, *KEYS)
    move_alias(database, "live", 1, 1)
    with pytest.raises(Refused, match="serves"):
        store.drop()
    old = open_store(database, ORIGINAL)
    old.drop()
    assert "embedding_g0" not in columns(database)
    with pytest.raises(Refused, match="no column"):
        return_alias(database, "live", [1], 2)
    assert read_alias(database, "live") == Alias("live", 1, None, None, 1)


def test_the_column_that_serves_already_is_adopted_where_the_pointer_row_names_its_generation(
    database: psycopg.Connection,
) -> None:
    move_alias(database, "live", 1, 0)
    old = open_store(database, dataclasses.replace(PLACE, dimensions=OLD))
    old.prepare()
    new = open_store(database, dataclasses.replace(PLACE, generation=2, fingerprint="a" * 16))
    new.prepare()
    assert [c.generation for c in column_swap.list_columns(database, "live")] == [1, 2]
    move_alias(database, "live", 2, 1)
    assert columns(database)["embedding"] == ("vector(8)", False)
    assert columns(database)["embedding_g1"] == ("vector(4)", False)
    assert old.count() == 6


def test_an_index_that_outgrows_its_memory_is_stopped_and_leaves_nothing(
    database: psycopg.Connection,
) -> None:
    tight = TARGET.model_copy(update={"index_memory_mb": 1})
    store = ColumnStore(database, PLACE, tight, ITEM, patience=HASTY)
    store.prepare()
    database.execute(
        "INSERT INTO item (id, body, embedding) SELECT 'x' || n, 'x', '[1,0,0,0]'"
        " FROM generate_series(1, 3000) n"
    )
    database.execute(
        "UPDATE item SET embedding_g1 = (SELECT array_agg(random())::vector"
        " FROM generate_series(1, 8) WHERE item.id <> '')"
    )
    with pytest.raises(BackfillHalted, match="does not fit into 1 MB"):
        store.build_index()
    names = database.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'item'").fetchall()
    assert {n for (n,) in names} == {"item_pkey", "item_by_vector"}


def test_an_index_build_that_was_broken_off_is_cleared(
    database: psycopg.Connection, store: ColumnStore
) -> None:
    fill(store, *KEYS)
    store.build_index()
    database.execute(
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'item_embedding_g1_hnsw'::regclass"
    )
    store.build_index()
    asked = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'item_embedding_g1_hnsw'::regclass"
    assert database.execute(asked).fetchone() == (True,)
