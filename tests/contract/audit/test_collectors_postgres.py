"""What is kept of a PostgreSQL server, what is closed to us, and that nothing is scanned."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from benchmarks.ending import stop_server
from qafila.audit.collectors import collectors_of
from qafila.audit.collectors.postgres_databases import _growth
from qafila.audit.collectors.postgres_server import Server, ServerLimits
from qafila.audit.estate import Collected, Outcome, Resource
from qafila.connections.postgres import connect_postgres
from qafila.session_name import working_on
from qafila.stack import postgres

BY_NAME = {c.name: c for c in collectors_of("postgres")}
SECRET = "zanzibar"  # in every text; never in what is collected


@pytest.fixture(scope="module")
def own_server() -> Iterator[postgres.Postgres]:
    """A server of its own: a collector looks into every database that there is."""
    folder = Path(tempfile.mkdtemp(prefix="qafila-pg-"))
    try:
        yield postgres.start(folder / "pg")
    finally:
        stop_server(folder / "pg")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shop(own_server: postgres.Postgres) -> Iterator[str]:
    """A database of a test's own, gone after it."""
    name = f"shop_{uuid.uuid4().hex[:8]}"
    yield postgres.ensure_database(own_server, name)
    with psycopg.connect(own_server.uri, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def collect(name: str, url: str, **limits: Any) -> Collected:
    with Server("main", url, limits=ServerLimits(**limits)) as server:
        return BY_NAME[f"postgres-{name}"].collect(server)


def of_kind(seen: Collected, kind: str) -> list[Resource]:
    return [r for r in seen.resources if r.kind == f"postgres:{kind}"]


def filled(table: str, text: str, rows: int = 400, column: str = "body text") -> tuple[str, ...]:
    name = column.split()[0]
    return (
        f"CREATE TABLE {table} (id int, {column})",
        f"INSERT INTO {table} (id, {name}) SELECT i, {text} FROM generate_series(1, {rows}) AS i",
        f"ANALYZE {table}",
    )


ENGLISH = f"'The parcel {SECRET} of order ' || i || ' is late and what are we to do about it?'"
FRENCH = f"'Le colis {SECRET} de la commande ' || i || ' est en retard et que faut-il faire ?'"


def test_databases_come_with_sizes_extensions_and_their_largest_tables(shop: str) -> None:
    run(shop, "CREATE EXTENSION vector", *filled("support_tickets", ENGLISH), *filled("t", "'x'"))
    seen = collect("databases", shop)
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    server = of_kind(seen, "server")[0]
    assert server.facts["version"].split(".")[0].isdecimal()
    database = next(r for r in of_kind(seen, "database") if r.name.startswith("shop"))
    assert database.size_bytes
    assert database.size_bytes > 1 << 20
    assert database.facts["extensions"]["vector"].startswith("0.")
    assert database.facts["tables"] == 2
    tables = {r.name: r for r in of_kind(seen, "table")}
    assert tables["public.support_tickets"].facts["rows"] == 400
    assert tables["public.support_tickets"].facts["meaning"] == "tickets"
    assert tables["public.t"].facts["meaning"] is None


def test_a_corpus_is_found_with_its_volume_and_languages_and_no_text_is_kept(shop: str) -> None:
    run(shop, *filled("articles", f"CASE WHEN i % 4 = 0 THEN {FRENCH} ELSE {ENGLISH} END", 2000))
    seen = collect("texts", shop)
    (corpus,) = of_kind(seen, "text")
    assert (corpus.name, corpus.facts["type"]) == ("public.articles.body", "text")
    assert corpus.facts["rows"] == 2000
    assert corpus.facts["text_bytes"] == pytest.approx(2000 * 75, rel=0.15)
    assert corpus.facts["languages"]["english"] == pytest.approx(0.75, abs=0.1)
    assert corpus.facts["languages"]["french"] == pytest.approx(0.25, abs=0.1)
    assert SECRET not in repr(seen)
    assert seen.outcome is Outcome.COMPLETE


def test_long_texts_out_of_line_count_with_their_true_length(shop: str) -> None:
    """The planner's width of such a value is that of a pointer: 18 bytes."""
    words = (
        "(SELECT string_agg('a word of ' || md5(k::text || i), ' and ') "
        "FROM generate_series(1, 200) AS k)"
    )
    run(shop, *filled("manuals", words, 100))
    with psycopg.connect(shop) as connection:
        row = connection.execute(
            "SELECT avg_width, (SELECT avg(octet_length(body)) FROM manuals) FROM pg_stats "
            "WHERE tablename = 'manuals' AND attname = 'body'"
        ).fetchone()
    assert row is not None
    assert row[0] < 100 < float(row[1])
    (corpus,) = of_kind(collect("texts", shop), "text")
    assert corpus.facts["average_bytes"] == pytest.approx(float(row[1]), rel=0.01)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("body uuid", "gen_random_uuid()"),
        ("body text", "md5(i::text)"),
        ("body text", "'https://example.org/' || i || '/a/page/of/it'"),
        ("body text", "'open'"),
        ("body varchar(40)", "'order-' || i || '-2026-11-27-0001'"),
        ("body jsonb", "jsonb_build_object('a', 1, 'type', 'x', 'of', i, 'at', 2, 'by', 3)"),
    ],
)
def test_codes_and_names_are_no_corpus(shop: str, column: str, text: str) -> None:
    run(shop, *filled("t", text, column=column))
    assert of_kind(collect("texts", shop), "text") == []


def test_json_and_arabic_are_texts_too(shop: str) -> None:
    run(
        shop,
        *filled("events", f"jsonb_build_object('message', {ENGLISH})", column="payload jsonb"),
        *filled("pages", "'تأخر الطرد رقم ' || i || ' ولا يعرف العميل لماذا تأخر'"),
    )
    found = {r.name: r.facts["languages"] for r in of_kind(collect("texts", shop), "text")}
    assert set(found) == {"public.events.payload", "public.pages.body"}
    assert found["public.pages.body"] == {"arabic": 1.0}


def test_a_partitioned_table_is_one_table(shop: str) -> None:
    run(
        shop,
        "CREATE TABLE mails (id int, body text) PARTITION BY RANGE (id)",
        "CREATE TABLE mails_a PARTITION OF mails FOR VALUES FROM (0) TO (200)",
        "CREATE TABLE mails_b PARTITION OF mails FOR VALUES FROM (200) TO (1000)",
        f"INSERT INTO mails SELECT i, {ENGLISH} FROM generate_series(1, 400) AS i",
        "ANALYZE",
    )
    (table,) = of_kind(collect("databases", shop), "table")
    assert (table.name, table.facts["rows"], table.facts["is"]) == (
        "public.mails",
        400,
        "partitioned table",
    )
    assert [r.facts["rows"] for r in of_kind(collect("texts", shop), "text")] == [400]


def test_vectors_and_search_in_words_are_seen(shop: str) -> None:
    run(
        shop,
        "CREATE EXTENSION vector",
        "CREATE TABLE items (id int, title text, embedding vector(8), other_embedding real[], "
        "words tsvector)",
        "INSERT INTO items SELECT i, 'x', array_fill(0.1, ARRAY[8])::vector, '{1}', 'a' "
        "FROM generate_series(1, 60) AS i",
        "CREATE INDEX ON items USING hnsw (embedding vector_l2_ops)",
        "CREATE INDEX ON items USING gin (to_tsvector('english', title))",
        "ANALYZE",
    )
    seen = collect("texts", shop)
    vectors = {r.facts["column"]: r.facts for r in of_kind(seen, "vectors")}
    assert vectors["embedding"]["dimensions"] == 8
    assert [i["method"] for i in vectors["embedding"]["indexes"]] == ["hnsw"]
    assert (vectors["other_embedding"]["type"], vectors["other_embedding"]["dimensions"]) == (
        "real[]",
        None,
    )
    assert {r.facts["how"] for r in of_kind(seen, "fulltext")} == {
        "tsvector column",
        "tsvector index (gin)",
    }


@pytest.fixture
def reader(own_server: postgres.Postgres) -> str:
    name = f"reader_{uuid.uuid4().hex[:8]}"
    run(own_server.uri, f"CREATE ROLE {name} LOGIN")
    return name


def test_a_database_that_is_closed_is_named_and_the_others_are_seen(
    own_server: postgres.Postgres, shop: str, reader: str
) -> None:
    run(
        shop,
        *filled("t", ENGLISH),
        "REVOKE CONNECT ON DATABASE " + shop.split("?")[0].rsplit("/", 1)[1] + " FROM public",
    )
    seen = collect("databases", make_conninfo(own_server.uri, user=reader))
    assert seen.outcome is Outcome.DENIED
    name = shop.split("?")[0].rsplit("/", 1)[1]
    assert f"database {name}: CONNECT was not granted to us" in seen.missed
    by_name = {r.name: r for r in of_kind(seen, "database")}
    assert by_name[name].size_bytes is None  # not known, never zero
    assert by_name["postgres"].size_bytes


def test_what_a_vendor_keeps_for_itself_is_no_gap(
    own_server: postgres.Postgres, reader: str
) -> None:
    run(
        own_server.uri,
        "CREATE DATABASE rdsadmin",
        "REVOKE CONNECT ON DATABASE rdsadmin FROM public",
    )
    try:
        seen = collect("databases", make_conninfo(own_server.uri, user=reader))
        assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
        theirs = next(r for r in of_kind(seen, "database") if r.name == "rdsadmin")
        assert theirs.facts["looked_into"] is False
    finally:
        run(own_server.uri, "DROP DATABASE rdsadmin")


def test_a_table_that_is_closed_is_named_and_the_others_are_seen(
    own_server: postgres.Postgres, shop: str, reader: str
) -> None:
    run(
        shop,
        *filled("open_notes", ENGLISH),
        *filled("closed_notes", ENGLISH),
        *filled("hidden_notes", ENGLISH),
        f"GRANT SELECT ON open_notes, hidden_notes TO {reader}",
        "ALTER TABLE hidden_notes ENABLE ROW LEVEL SECURITY",
    )
    seen = collect("texts", make_conninfo(shop, user=reader))
    assert seen.outcome is Outcome.DENIED
    assert "public.closed_notes: SELECT was not granted to us" in seen.missed
    assert "public.hidden_notes: row security hides its rows from us" in seen.missed
    assert [r.name for r in of_kind(seen, "text")] == ["public.open_notes.body"]
    sizes = {
        r.name: r.size_bytes
        for r in of_kind(collect("databases", make_conninfo(shop, user=reader)), "table")
    }
    assert sizes["public.closed_notes"]  # how large it is may be known to everybody


def test_a_table_that_was_never_analysed_is_named(shop: str) -> None:
    run(shop, *filled("notes", ENGLISH)[:2])
    seen = collect("texts", shop)
    assert (seen.outcome, "public.notes: never analysed" in seen.missed) == (
        Outcome.TRUNCATED,
        True,
    )
    (corpus,) = of_kind(seen, "text")
    assert (corpus.facts["rows"], corpus.size_bytes) == (None, None)  # not known, never zero


def test_the_largest_tables_alone_are_read_and_that_is_said(shop: str) -> None:
    run(shop, *filled("large", ENGLISH, 2000), *filled("small", ENGLISH, 60))
    seen = collect("databases", shop, tables=1)
    assert seen.outcome is Outcome.TRUNCATED
    assert "has more tables than the 1 largest" in seen.missed
    assert [r.name for r in of_kind(seen, "table")] == ["public.large"]


def test_nothing_can_be_written_and_no_statement_runs_for_ever(shop: str) -> None:
    run(shop, "CREATE TABLE t (id int)")
    server = Server("main", shop, limits=ServerLimits(statement_s=0.2))
    with server.database() as opened:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            opened.ask("INSERT INTO t VALUES (1) RETURNING id", {})
        with server.tolerating("a slow one"):
            opened.ask("SELECT pg_sleep(20)", {})
        assert opened.ask("SELECT current_setting('statement_timeout') AS t", {}) == [
            {"t": "200ms"}
        ]
    assert server.collected("x").outcome is Outcome.TRUNCATED
    assert "a slow one: it took longer than 0.2 s" in server.collected("x").missed


def test_a_table_that_is_locked_is_waited_for_a_moment(shop: str) -> None:
    run(shop, *filled("notes", ENGLISH))
    with psycopg.connect(shop) as holding:
        holding.execute("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
        seen = collect("texts", shop, lock_s=0.2)
    assert seen.outcome is Outcome.THROTTLED
    assert of_kind(seen, "text") == []


def test_clients_are_seen_with_what_they_are_connected_to(shop: str) -> None:
    with psycopg.connect(shop, application_name="orders backend"):
        seen = collect("clients", shop)
    (client,) = of_kind(seen, "client")
    assert client.name == "orders backend"
    (edge,) = seen.edges
    assert edge.to_id.startswith("postgres:main/shop_")
    assert edge.last_seen is not None


def test_what_the_audit_itself_has_open_is_no_client(shop: str) -> None:
    with Server("main", shop).database() as other, Server("main", shop).database():
        other.rows("server")
        seen = collect("clients", shop)
    assert (seen.outcome, seen.resources, seen.edges) == (Outcome.COMPLETE, (), ())


def test_a_load_of_ours_is_no_client_of_the_estate(shop: str) -> None:
    with working_on("load", workload="docs", generation=2), connect_postgres(shop):
        seen = collect("clients", shop)
    assert (seen.outcome, seen.resources) == (Outcome.COMPLETE, ())


def test_sessions_of_others_that_are_hidden_are_denied(shop: str, reader: str) -> None:
    seen = collect("clients", make_conninfo(shop, user=reader))
    assert (seen.outcome, seen.resources) == (Outcome.DENIED, ())
    run(shop, f"GRANT pg_read_all_stats TO {reader}")
    assert collect("clients", make_conninfo(shop, user=reader)).outcome is Outcome.COMPLETE


def test_without_a_sample_no_text_is_read(shop: str) -> None:
    run(shop, *filled("notes", ENGLISH))
    (corpus,) = of_kind(collect("texts", shop, sample_rows=0), "text")
    assert corpus.facts["languages"] == {}
    assert corpus.facts["average_is"] == "the planner's: a lower bound"


def test_growth_is_an_estimate_with_its_beginning(shop: str) -> None:
    run(shop, *filled("notes", ENGLISH))
    (table,) = of_kind(collect("databases", shop), "table")
    assert table.facts["rows_per_day"] is None  # counted for less than a day
    assert table.facts["counted_since"]


@pytest.mark.parametrize(
    ("days", "inserted", "rate"),
    [(10.0, 5000, 500.0), (0.5, 5000, None), (None, 5000, None), (10.0, None, None)],
)
def test_a_rate_needs_a_day(days: float | None, inserted: int | None, rate: float | None) -> None:
    since = None if days is None else datetime(2026, 1, 1, tzinfo=UTC)
    found = _growth({"inserted": inserted, "deleted": 0}, {"since": since, "days": days})
    assert found["rows_per_day"] == rate
