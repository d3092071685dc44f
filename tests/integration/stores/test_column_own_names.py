"""The column layout takes and drops only columns that Qafila made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import psycopg
import pytest
from pgvector.psycopg import register_vector

from qafila.errors import Refused
from qafila.sql import apply_schema
from qafila.stores.column.store import ColumnStore
from qafila.stores.column.swap import list_columns
from qafila.stores.pointer_row import move_alias
from qafila.stores.port import Place
from tests.support.columns import HASTY, ITEM, TARGET, make_item_table

PLACE = Place("live", 1, "f" * 16, 8)
ORIGINAL = Place("live", 0, "0" * 16, 4)
ADOPTED = Place("live", 1, "a" * 16, 4)
OURS = "INSERT INTO item (id, body, embedding) VALUES ('a', 'text', '[1,0,0,0]')"


@pytest.fixture
def database(target_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        register_vector(connection)
        make_item_table(connection)
        connection.execute(OURS)
        yield connection


def open_store(connection: psycopg.Connection, place: Place = PLACE) -> ColumnStore:
    return ColumnStore(connection, place, TARGET, ITEM, patience=HASTY)


def columns(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'item'::regclass AND attnum > 0"
        " AND NOT attisdropped"
    ).fetchall()
    return {name for (name,) in rows}


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("embedding_g1_digest", "bytea", b"the application's"),
        ("embedding_g1", "vector(8)", "[0,0,0,0,0,0,0,1]"),
        ("embedding_g0", "text", "the application's"),
    ],
)
def test_a_column_of_the_application_under_a_name_of_ours_is_refused_untouched(
    database: psycopg.Connection, name: str, kind: str, value: object
) -> None:
    database.execute(f"ALTER TABLE item ADD {name} {kind}")
    database.execute(f"UPDATE item SET {name} = %s", [value])
    before = database.execute("SELECT item::text FROM item").fetchall()
    store = open_store(database)
    assert [p for p in store.problems() if repr(name) in p]
    with pytest.raises(Refused, match=f"'{name}' already"):
        store.prepare()
    assert database.execute("SELECT item::text FROM item").fetchall() == before
    assert list_columns(database, "live") == []


def test_an_index_of_the_application_under_a_name_of_ours_is_refused(
    database: psycopg.Connection,
) -> None:
    database.execute("CREATE INDEX item_embedding_g1_hnsw ON item (body)")
    store = open_store(database)
    assert [p for p in store.problems() if "'item_embedding_g1_hnsw'" in p]
    with pytest.raises(Refused, match="item_embedding_g1_hnsw"):
        store.prepare()


def test_dropping_what_was_before_us_leaves_a_column_that_is_called_like_its_digests(
    database: psycopg.Connection,
) -> None:
    store = open_store(database)
    store.prepare()
    move_alias(database, "live", 1, 1)
    database.execute("ALTER TABLE item ADD embedding_g0_digest bytea DEFAULT 'theirs'")
    old = open_store(database, ORIGINAL)
    assert "embedding_g0_digest" not in "".join(old.removal())
    old.drop()
    assert "embedding_g0" not in columns(database)
    assert database.execute("SELECT embedding_g0_digest FROM item").fetchone() == (b"theirs",)


@pytest.mark.parametrize("name", ["embedding_g1", "embedding_g1_digest"])
def test_a_column_that_the_application_made_in_place_of_ours_is_not_taken_or_dropped(
    database: psycopg.Connection, name: str
) -> None:
    store = open_store(database)
    store.prepare()
    kind = "vector(8)" if name == "embedding_g1" else "bytea"
    database.execute(f"ALTER TABLE item DROP {name}")
    database.execute(f"ALTER TABLE item ADD {name} {kind}")
    again = open_store(database)
    with pytest.raises(Refused, match=f"'{name}' already"):
        again.prepare()
    if name == "embedding_g1":
        with pytest.raises(Refused, match="is not ours"):
            open_store(database).drop()
    else:
        open_store(database).drop()
    assert name in columns(database)


def test_an_adoption_takes_no_column_of_the_application_for_its_digests(
    database: psycopg.Connection,
) -> None:
    database.execute("ALTER TABLE item ADD embedding_g1_digest bytea")
    with pytest.raises(Refused, match="'embedding_g1_digest' already"):
        open_store(database, ADOPTED).adopt()
    assert list_columns(database, "live") == []


def test_our_columns_are_marked_and_keep_the_mark_through_a_swap(
    database: psycopg.Connection,
) -> None:
    store = open_store(database)
    store.prepare()
    move_alias(database, "live", 1, 1)
    open_store(database).prepare()
    found = database.execute(
        "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute"
        " WHERE attrelid = 'item'::regclass AND col_description(attrelid, attnum) IS NOT NULL"
        " ORDER BY attname"
    ).fetchall()
    assert found == [
        ("embedding", "Made by Qafila for workload live, generation 1: vectors"),
        ("embedding_g1_digest", "Made by Qafila for workload live, generation 1: digests"),
    ]


def test_columns_of_an_earlier_version_are_known_by_its_record_and_marked_then(
    database: psycopg.Connection,
) -> None:
    """Up to target/0004 there were records and no marks."""
    apply_schema(database, "target")
    database.execute("ALTER TABLE qafila.column_generation DROP COLUMN IF EXISTS marked")
    database.execute("DELETE FROM qafila.schema_file WHERE name LIKE 'target/0006%'")
    database.execute(
        "INSERT INTO qafila.column_generation (workload, generation, table_schema, table_name,"
        " serving_name, held_as, fingerprint) VALUES"
        " ('live', 0, 'public', 'item', 'embedding', 'embedding', NULL),"
        " ('live', 1, 'public', 'item', 'embedding', 'embedding_g1', %s)",
        [PLACE.fingerprint],
    )
    database.execute("ALTER TABLE item ADD embedding_g1 vector(8), ADD embedding_g1_digest bytea")
    store = open_store(database)
    assert store.problems() == []
    assert "embedding_g1_digest" in "".join(store.removal())
    store.prepare()
    marks = database.execute(
        "SELECT marked FROM qafila.column_generation WHERE generation = 1"
    ).fetchone()
    assert marks == (["vectors", "digests"],)
    next_one = open_store(database, dataclasses.replace(PLACE, generation=2))
    assert next_one.problems() == []
    next_one.prepare()
    open_store(database).drop()
    assert columns(database) >= {"embedding", "embedding_g2", "embedding_g2_digest"}
    assert not columns(database) & {"embedding_g1", "embedding_g1_digest"}


def test_an_adopted_column_is_never_marked_as_made_by_qafila(database: psycopg.Connection) -> None:
    open_store(database).prepare()  # a generation that was begun, and then abandoned
    adopted = open_store(database, dataclasses.replace(ADOPTED, generation=2))
    adopted.adopt()
    adopted.prepare()
    marks = dict(
        database.execute("SELECT generation, marked FROM qafila.column_generation").fetchall()
    )
    assert marks == {1: ["vectors", "digests"], 2: ["digests"]}
    row = database.execute(
        "SELECT col_description('item'::regclass, attnum) FROM pg_attribute"
        " WHERE attrelid = 'item'::regclass AND attname = 'embedding'"
    ).fetchone()
    assert row == (None,)


def test_a_swap_never_renames_onto_a_column_of_the_application(
    database: psycopg.Connection,
) -> None:
    open_store(database).prepare()
    database.execute("ALTER TABLE item ADD embedding_g0 text DEFAULT 'theirs'")
    with pytest.raises(Refused, match="embedding_g0"):
        move_alias(database, "live", 1, 1)
    assert columns(database) >= {"embedding", "embedding_g0", "embedding_g1"}
    database.execute("ALTER TABLE item DROP embedding_g0")
    move_alias(database, "live", 1, 1)
