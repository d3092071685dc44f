"""What a PostgreSQL source refuses, and which keys it carries unharmed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.errors import BackfillHalted, BadInput
from qafila.sources.port import SourceRow
from qafila.sources.postgres import PostgresSource
from qafila.stack import postgres
from qafila.stores.admission import Limits, reject_reason
from qafila.stores.port import Chunk
from qafila.workload.corpus import PostgresSource as Settings
from qafila.workload.fingerprint import text_digest


@pytest.fixture(scope="module")
def database(pg_server: postgres.Postgres) -> str:
    return postgres.ensure_database(pg_server, f"sources_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("DROP SCHEMA IF EXISTS public CASCADE")
        connection.execute("CREATE SCHEMA public")
        yield connection


def source(db: psycopg.Connection[Any], **settings: Any) -> PostgresSource:
    merged = {"kind": "postgres", "block": "b", "table": "t", "key": ["id"], "text": ["body"]}
    if "query" in settings:
        del merged["table"]
    return PostgresSource(db, Settings.model_validate({**merged, **settings}))


def read(opened: PostgresSource, rows_per_shard: int = 3, batch_rows: int = 2) -> list[SourceRow]:
    return [
        row
        for shard in opened.freeze(rows_per_shard)
        for batch in opened.read(shard.low, shard.high, batch_rows)
        for row in batch
    ]


KEYS = {
    "uuid": ["gen_random_uuid()"] * 7,
    "timestamptz": [
        "'2024-10-27 02:30:00+02'",
        "'2024-10-27 02:30:00+01'",
        "'2024-10-27 02:30:00.000001+01'",
        "'infinity'",
        "'-infinity'",
        "'0044-03-15 00:00 BC'",
        "'12024-01-01'",
    ],
    "numeric": ["0.1", "1e-30", "1.10", "-5", "'NaN'", "12345678901234567890.123456789"],
    "double precision": ["0.1", "1/3::float8", "'NaN'", "'-Infinity'", "1e308", "5e-324"],
    "text": [
        "''",
        "' '",
        "'a''b'",
        "'%s'",
        "'{}'",
        "'é'",
        "'e' || U&'\\0301'",
        "'كتاب'",
        "E'\\\\'",
        "E'line\\nbreak'",
        "'null'",
        "repeat('x', 1900)",
        "'\"[]\"'",
        "U&'\\+01F42A'",
    ],
    'text COLLATE "C"': ["'b'", "'B'", "'a'", "'é'", "'Z'"],
    'text COLLATE "pg_c_utf8"': ["'b'", "'B'", "'a'", "'é'", "'Z'"],
    "character(5)": ["'a'", "'ab'", "'abcde'", "'é'"],
    "character varying(3)": ["'a'", "'abc'", "'été'"],
    "mood": ["'sad'", "'ok'", "'it''s; fine'"],
    "label": ["'x'", "'y'", "'z'"],
    "bytea": ["'\\x00ff'", "''", "'\\x27'"],
    "date": ["'2024-01-31'", "'infinity'"],
    "interval": ["'1 day 02:03:04'", "'-1 year'"],
    "boolean": ["true", "false"],
    "integer[]": ["'{1,2}'", "'{{1,2},{3,4}}'", "'{}'"],
    "int4range": ["'[1,5)'", "'empty'"],
    "inet": ["'10.0.0.1'", "'::1'"],
    "jsonb": ["'{\"a\": 1}'", "'null'", "'[1]'"],
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_type_come_and_go_as_text(db: psycopg.Connection[Any], kind: str) -> None:
    db.execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s; fine')")
    db.execute("CREATE DOMAIN inner_label AS varchar(9)")
    db.execute("CREATE DOMAIN label AS inner_label")
    db.execute(f"CREATE TABLE t (id {kind} PRIMARY KEY, body text)")
    for value in KEYS[kind]:
        db.execute(f"INSERT INTO t VALUES ({value}, 'body')")
    db.execute("SET DateStyle = 'SQL, DMY'")  # what another role may be set to
    db.execute("SET TimeZone = 'Africa/Casablanca'")
    opened = source(db)
    assert opened.problems() == []
    rows = read(opened)
    assert len(rows) == len({r.key_text for r in rows}) == len(KEYS[kind])
    ordered = db.execute("SELECT id::text FROM t ORDER BY t.id").fetchall()
    assert [r.key_text for r in rows] == [k for (k,) in ordered]
    assert [r.key_text for r in opened.fetch([r.key_text for r in rows])] == [k for (k,) in ordered]
    for row in rows:
        assert opened.fetch([row.key_text]) == [row]


def test_a_key_of_several_columns_mixes_collations(db: psycopg.Connection[Any]) -> None:
    db.execute('CREATE TABLE t (a text COLLATE "C", n numeric, body text, PRIMARY KEY (a, n))')
    db.execute(
        "INSERT INTO t SELECT k, n / 3.0, k || n"
        " FROM unnest('{a,B,b,é,\"[\",%}'::text[]) AS k, generate_series(1, 4) AS n"
    )
    opened = source(db, key=["a", "n"])
    assert opened.problems() == []
    rows = read(opened, 5, 2)
    assert len(rows) == 24
    assert opened.fetch([rows[3].key_text, '["nobody", "1"]']) == [rows[3]]


def test_a_number_written_otherwise_is_another_document(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t (id numeric PRIMARY KEY, body text)")
    db.execute("INSERT INTO t VALUES (1.0, 'a')")
    assert [r.text for r in source(db).fetch(["1.0"])] == ["a"]
    assert source(db).fetch(["1.00"]) == []


def test_a_query_may_hold_percent_signs_comments_and_a_semicolon(
    db: psycopg.Connection[Any],
) -> None:
    db.execute("CREATE TABLE t AS SELECT n AS id, 'a%b' || n AS body FROM generate_series(1, 9) n")
    query = (
        "SELECT id, body || ' 100 %' AS body FROM t WHERE body LIKE 'a\\%%' AND id % 2 = 1; -- odd"
    )
    for asked in (query.replace("; -- odd", ";"), query.replace(";", "")):
        opened = source(db, query=asked)
        assert opened.problems() == []
        assert [r.key_text for r in read(opened)] == ["1", "3", "5", "7", "9"]
        assert opened.fetch(["3", "4"])[0].text == "a%b3 100 %"
        assert opened.volume().rows == 5


def test_a_query_of_the_operator_changes_nothing(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY, body text)")
    db.execute("CREATE FUNCTION harm() RETURNS text LANGUAGE sql AS 'DELETE FROM t RETURNING body'")
    db.execute("INSERT INTO t VALUES (1, 'kept')")
    (problem,) = source(db, query="SELECT id, harm() AS body FROM t").problems() or ["none"]
    with pytest.raises(BadInput, match="read-only"):
        read(source(db, query="SELECT id, harm() AS body FROM t"))
    assert problem
    assert db.execute("SELECT count(*) FROM t").fetchone() == (1,)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT 1 AS id, 2 AS id, 'x' AS body", "two columns 'id'"),
        ("SELECT 1 AS id", "no column 'body'"),
        ("SELECT NULL::int AS id, 'x' AS body", "is NULL in some row"),
        ("SELECT 1 AS id, '' AS body FROM generate_series(1, 2)", "unique, as in '1' (2 times)"),
        ("SELECT '{}'::json AS id, 'x' AS body", "which has no order"),
        ("SELECT 1::money AS id, 'x' AS body", "locale"),
        ("SELECT repeat('x', 2001) AS id, 'x' AS body", "longer than 2000 bytes"),
        ("SELECT 'a' COLLATE odd AS id, 'x' AS body", "different keys compare equal"),
        ("SELECT 1 AS id, 'x'::bytea AS body", "convert_from(body"),
        ("SELECT 1 AS id, 'x' AS body; DROP TABLE t", "syntax error"),
    ],
)
def test_what_cannot_be_read_by_key_is_named(
    db: psycopg.Connection[Any], query: str, named: str
) -> None:
    db.execute("CREATE TABLE t (id int)")
    db.execute("CREATE COLLATION odd (provider = libc, locale = 'C')")
    # as an ICU collation without regard for case is; this server is built without ICU
    db.execute("UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'odd'")
    (problem,) = source(db, query=query).problems()
    assert named in problem


def test_every_problem_of_a_table_is_named_at_once(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t (id json, at point, body text, readers text)")
    told = source(db, key=["id", "at"], text=["body", "gone"], acl="readers").problems()
    assert len(told) == 4
    db.execute("CREATE TABLE u (id text, body text, readers text[])")
    db.execute("INSERT INTO u VALUES ('a', '', NULL), ('a', '', '{x}'), (NULL, '', '{x}')")
    told = source(db, table="u", acl="readers").problems()
    assert [("not unique" in p, "NULL" in p) for p in told] == [
        (True, False),
        (False, True),
        (False, True),
    ]
    assert "nobody could read" in told[2]
    db.execute("CREATE TABLE v (id int PRIMARY KEY, body text, readers text[])")
    db.execute("INSERT INTO v VALUES (1, '', '{x,NULL}'), (2, '', '{}')")
    opened = source(db, table="v", acl="readers")
    assert opened.problems() == []
    assert [list(r.acl) for r in read(opened)] == [["x"], []]
    db.execute("INSERT INTO v VALUES (3, '', '{{a,b},{c,d}}')")
    assert "arrays within an array" in opened.problems()[0]
    with pytest.raises(BackfillHalted, match="changed its shape"):
        read(opened)


def test_what_hides_rows_or_is_not_ours_to_read_is_named(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY, body text)")
    db.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    db.execute("DO $$ BEGIN CREATE ROLE meek; EXCEPTION WHEN duplicate_object THEN END $$")
    db.execute("GRANT USAGE ON SCHEMA public TO meek")
    db.execute("SET ROLE meek")
    try:
        assert "cannot be read whole" in source(db).problems()[0]
        db.execute("RESET ROLE")
        db.execute("GRANT SELECT ON t TO meek")
        db.execute("SET ROLE meek")
        assert "BYPASSRLS" in source(db).problems()[0]
        db.execute("RESET ROLE")
        db.execute("CREATE TABLE u (id int PRIMARY KEY, body text, readers text[])")
        db.execute("GRANT SELECT (id) ON u TO meek")
        db.execute("SET ROLE meek")
        (told,) = source(db, table="u", acl="readers").problems()
        assert "give the role SELECT" in told
    finally:
        db.execute("RESET ROLE")


def test_a_quoted_name_and_a_view_are_read(db: psycopg.Connection[Any]) -> None:
    db.execute('CREATE TABLE "Doc" ("Id" int PRIMARY KEY, body text)')
    db.execute("""INSERT INTO "Doc" SELECT n, 'x' FROM generate_series(1, 5) n""")
    db.execute('CREATE VIEW t AS SELECT "Id" AS id, body FROM "Doc"')
    for opened in (source(db), source(db, table="public.Doc", key=["Id"])):
        assert opened.problems() == []
        assert len(read(opened)) == 5


def test_tables_that_inherit_share_no_unique_index(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY, body text)")
    db.execute("CREATE TABLE child () INHERITS (t)")
    db.execute("INSERT INTO t VALUES (1, 'a')")
    db.execute("INSERT INTO child VALUES (1, 'b')")
    assert "not unique" in source(db).problems()[0]


def test_more_columns_than_a_function_takes_are_kept(db: psycopg.Connection[Any]) -> None:
    names = [f"c{n}" for n in range(120)]
    db.execute(
        "CREATE TABLE t AS SELECT 1 AS id, 'x' AS body, "
        + ", ".join(f"{n} AS c{n}" for n in range(120))
    )
    (row,) = read(source(db, metadata=names))
    assert row.metadata == {name: n for n, name in enumerate(names)}


def test_a_key_that_is_text_as_well_still_orders_as_a_key(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t AS SELECT n AS id, 'x' AS body FROM generate_series(1, 12) n")
    opened = source(db, text=["id", "body"], metadata=["id"])
    assert [r.key_text for r in read(opened)] == [str(n) for n in range(1, 13)]
    assert [r.text for r in opened.fetch(["11", "9"])] == ["9\nx", "11\nx"]


def test_numbers_of_metadata_keep_every_digit_that_is_whole(
    db: psycopg.Connection[Any],
) -> None:
    """And of a fraction the 17 that a float has: as text, it keeps all of them."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY, body text, n numeric, f float8, m jsonb)")
    db.execute(
        "INSERT INTO t VALUES (1, 'x', 0.12345678901234567890, 0.1::float8 + 0.2,"
        ' \'{"big": 9007199254740993, "huge": -1e30}\')'
    )
    (row,) = read(source(db, metadata=["n", "f", "m"]))
    assert row.metadata == {
        "n": 0.12345678901234568,
        "f": 0.1 + 0.2,
        "m": {"big": 2**53 + 1, "huge": -(10**30)},
    }
    asked = "SELECT id, body, n::text AS n FROM t"
    assert read(source(db, query=asked, metadata=["n"]))[0].metadata == {
        "n": "0.12345678901234567890"
    }


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("jsonb", "'{\"a\": -1e5000}'", "infinity"),
        ("jsonb", "(repeat('[', 3000) || repeat(']', 3000))::jsonb", ""),
        ("json", "(repeat('[', 3000) || repeat(']', 3000))::json", ""),
        ("json", '\'{"a": "\\u0000"}\'', "NUL"),
        ("json", "'[\"\\ud800\"]'", "half a surrogate pair"),
        ("json", "'{\"a\": 1e200000}'", "infinity"),
    ],
)
def test_metadata_that_nothing_can_read_set_their_row_aside_alone(
    db: psycopg.Connection[Any], kind: str, value: str, reason: str
) -> None:
    db.execute(f"CREATE TABLE t (id int PRIMARY KEY, body text, m {kind})".encode())
    db.execute(f"INSERT INTO t VALUES (1, 'x', '{{\"a\": 1}}'), (2, 'y', {value})".encode())
    first, second = read(source(db, metadata=["m"]))
    assert first.metadata == {"m": {"a": 1}}

    def refused(row: SourceRow) -> str | None:
        chunk = Chunk(
            row.key_text, 0, 0, 1, "", row.text, text_digest(row.text), row.acl, row.metadata
        )
        return reject_reason(chunk, np.ones(2, np.float32), Limits(2))

    assert refused(first) is None
    assert "its metadata" in (told := refused(second) or "")
    assert reason in told


def test_json_beside_other_columns_is_kept_as_it_is(db: psycopg.Connection[Any]) -> None:
    columns = ", ".join(f"c{n} json" for n in range(60))
    db.execute(f"CREATE TABLE t (id int PRIMARY KEY, body text, b jsonb, {columns})".encode())
    db.execute(
        "INSERT INTO t (id, body, b, c0, c1, c2, c59) VALUES (1, 'x', '{\"c0\": \"[1]\"}',"
        " '{\"a\": [1, \"2\"]}', '\"{}\"', 'null', '1')"
    )
    opened = source(db, metadata=["b", *(f"c{n}" for n in range(60))])
    expected = {"b": {"c0": "[1]"}, **{f"c{n}": None for n in range(60)}}
    expected |= {"c0": {"a": [1, "2"]}, "c1": "{}", "c59": 1}
    assert read(opened)[0].metadata == expected
    assert opened.fetch(["1"])[0].metadata == expected


def test_a_value_in_the_way_is_not_taken_for_another_shape(db: psycopg.Connection[Any]) -> None:
    db.execute("CREATE TABLE t (id int PRIMARY KEY, body text)")
    db.execute("INSERT INTO t VALUES (1, '5'), (2, '0'), (3, 'x')")
    by_text = source(db, query="SELECT id, (10 / (id - 2))::text AS body FROM t")
    assert by_text.problems() == []
    asks: list[Callable[[], object]] = [by_text.volume, lambda: read(by_text)]
    cast = source(db, query="SELECT id, body, body::int AS n FROM t", metadata=["n"])
    asks += [lambda: read(cast), lambda: cast.fetch(["3"])]
    for ask, told in zip(asks, ["division by zero"] * 2 + ['integer: "x"'] * 2, strict=True):
        with pytest.raises(BackfillHalted, match="cannot be read as") as halted:
            ask()
        assert told in halted.value.what
        assert "let a query or a view leave them out" in (halted.value.remedy or "")


def test_texts_of_other_types_arrive_as_text(db: psycopg.Connection[Any]) -> None:
    db.execute(
        "CREATE TABLE t AS SELECT 1 AS id, '{\"a\": 1}'::jsonb AS j, 5 AS n, 'x'::char(9) AS c,"
        " NULL::text AS nothing, '{b}'::text[] AS x"
    )
    (row,) = read(source(db, text=["j", "n", "c", "nothing", "x"]))
    assert (row.title, row.text) == ('{"a": 1}', '{"a": 1}\n5\nx\n{b}')


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE t DROP COLUMN body",
        "ALTER TABLE t RENAME COLUMN id TO key",
        "ALTER TABLE t ALTER COLUMN id TYPE bigint USING ascii(id)",
        'ALTER TABLE t ALTER COLUMN id TYPE text COLLATE "POSIX"',
        "DROP TABLE t",
    ],
)
def test_a_table_that_changes_shape_stops_the_load(
    db: psycopg.Connection[Any], database: str, change: str
) -> None:
    db.execute("CREATE TABLE t (id text PRIMARY KEY, body text)")
    db.execute("INSERT INTO t SELECT n, 'x' FROM generate_series(1, 9) n")
    opened = source(db)
    shape = opened.shape()
    batches = opened.read(None, None, 2)
    next(batches)
    with psycopg.connect(database, autocommit=True) as other:
        other.execute(change)
    with pytest.raises(BackfillHalted, match="changed its shape"):
        next(batches)
    assert opened.shape() != shape


def test_a_key_that_became_double_or_null_is_no_silent_gap(
    db: psycopg.Connection[Any],
) -> None:
    db.execute("CREATE TABLE t (id text, body text)")
    db.execute("INSERT INTO t SELECT chr(96 + n), 'x' FROM generate_series(1, 6) n")
    opened = source(db)
    assert opened.problems() == []
    db.execute("INSERT INTO t VALUES ('b', 'again')")
    with pytest.raises(BadInput, match="not unique any more"):
        read(opened, 100, 2)
    db.execute("UPDATE t SET id = NULL WHERE body = 'again'")
    with pytest.raises(BadInput, match="NULL now"):
        read(opened)


def test_a_large_table_is_estimated(
    db: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    db.execute(
        "CREATE TABLE t AS SELECT n AS id, repeat('x', 10) AS body FROM generate_series(1, 200) n"
    )
    db.execute("ANALYZE t")
    assert (source(db).volume().rows, source(db).volume().text_bytes) == (200, 2000)
    monkeypatch.setattr("qafila.sources.relation.COUNT_TIMEOUT_MS", 1)
    slow = source(db, query="SELECT id, body, pg_sleep(0.01) FROM t")
    assert slow.volume().how == "estimated from the source's statistics"


LIARS = {
    "a function that writes": "SELECT id, harm() AS body FROM t",
    "a way out of the transaction": "SELECT id, body FROM t) AS asked; COMMIT; DELETE FROM kept; "
    "SELECT count(*), 0 FROM (SELECT id, body FROM t",
}


@pytest.mark.parametrize("liar", LIARS)
@pytest.mark.parametrize("step", ["volume", "freeze"])
def test_a_query_that_writes_is_refused_when_it_is_measured(
    db: psycopg.Connection[Any], liar: str, step: str
) -> None:
    db.execute("CREATE TABLE t AS SELECT 1 AS id, 'a' AS body")
    db.execute("CREATE TABLE kept AS SELECT 1 AS n")
    db.execute(
        "CREATE FUNCTION harm() RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN DELETE FROM kept; RETURN 'x'; END $$"
    )
    opened = source(db, query="SELECT id, body FROM t")
    assert opened.problems() == []
    lying = source(db, query=LIARS[liar])
    lying._relation._columns = opened._relation.known  # past the look that comes first
    with pytest.raises((BadInput, BackfillHalted)):
        lying.volume() if step == "volume" else lying.freeze(3)
    assert db.execute("SELECT count(*) FROM kept").fetchone() == (1,)


def test_what_a_query_sets_while_it_is_measured_ends_with_its_transaction(
    db: psycopg.Connection[Any],
) -> None:
    db.execute("CREATE TABLE t AS SELECT 1 AS id, 'a' AS body")
    opened = source(
        db, query="SELECT id, body || set_config('statement_timeout', '1h', false) AS body FROM t"
    )
    before = db.execute("SHOW statement_timeout").fetchone()
    assert opened.volume().rows == 1
    assert db.execute("SHOW statement_timeout").fetchone() == before
