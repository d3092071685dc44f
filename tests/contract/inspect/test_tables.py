"""What is wrong around the rows: indexes, keys, tracking, rights, odd names, views."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.errors import BadInput, Unavailable
from qafila.inspect.layouts import source_yaml
from qafila.inspect.model import Severity
from qafila.inspect.pgvector import PgvectorInspector
from qafila.stack import postgres
from tests.contract.inspect.indexes import (
    ROWS,
    codes,
    healthy,
    look,
    the,
    unit,
)


def test_an_index_whose_build_was_broken_off_is_found(database: psycopg.Connection[Any]) -> None:
    healthy(database, operators="")
    database.execute(
        "INSERT INTO item (id, body) SELECT n, 'x' || n FROM generate_series(1000, 40000) AS n"
    )
    database.execute("UPDATE item SET embedding = (SELECT embedding FROM item WHERE id = 1)")
    database.execute("SET statement_timeout = 30")
    with pytest.raises(psycopg.errors.QueryCanceled):
        database.execute(
            "CREATE INDEX CONCURRENTLY item_hnsw ON item USING hnsw (embedding vector_cosine_ops)"
        )
    database.execute("RESET statement_timeout")
    found = the(look(database), "invalid-index")
    assert found.severity is Severity.SERIOUS
    assert "DROP INDEX CONCURRENTLY public.item_hnsw" in found.remedy


def test_a_table_without_key_index_tracking_and_analyse_is_told_so(
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE TABLE item (body text, tenant_id int, embedding vector(2))")
    database.execute(
        "INSERT INTO item SELECT 'text ' || n, n % 3, ARRAY[cos(n), sin(n)]::vector"
        " FROM generate_series(1, 12000) AS n"
    )
    seen = look(database, sample_rows=20_000)
    assert the(seen, "no-key").severity is Severity.SERIOUS
    assert {"no-index", "never-analysed", "untracked-changes", "tenant-not-indexed"} <= set(
        codes(seen)
    )
    assert source_yaml(seen.facts, "old-index") == ""


def test_an_index_that_no_query_uses_is_found(database: psycopg.Connection[Any]) -> None:
    healthy(database)
    for _ in range(120):
        database.execute(
            "SELECT id FROM item ORDER BY embedding <#> '[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]' LIMIT 1"
        ).fetchone()
    database.execute("SELECT pg_stat_force_next_flush()")
    assert "unused-index" in codes(look(database))


def test_dead_rows_partial_index_and_wide_vectors_are_found(
    database: psycopg.Connection[Any],
) -> None:
    healthy(database, np.tile(unit(200, 20), 110)[:ROWS], kind="vector(2200)", operators="")
    database.execute(
        "CREATE INDEX item_part ON item USING hnsw ((embedding::halfvec(2200)) halfvec_cosine_ops)"
        " WHERE id > 10"
    )
    database.execute("ALTER TABLE item SET (autovacuum_enabled = off)")
    for _ in range(6):
        database.execute("UPDATE item SET body = body")
    database.execute("SELECT pg_stat_force_next_flush()")
    seen = look(database)
    assert {"dead-rows", "partial-index", "too-wide-for-an-index"} <= set(codes(seen))
    assert seen.facts.indexes[0].operators == "halfvec_cosine_ops"


def test_policies_that_hide_rows_are_told(database: psycopg.Connection[Any], url: str) -> None:
    healthy(database)
    database.execute("ALTER TABLE item ENABLE ROW LEVEL SECURITY")
    database.execute("DROP ROLE IF EXISTS looker")
    database.execute("CREATE ROLE looker LOGIN")
    database.execute("GRANT USAGE ON SCHEMA public TO looker")
    with psycopg.connect(url, autocommit=True) as reader:
        reader.execute("SET ROLE looker")
        with pytest.raises(Unavailable, match="may not be read"):
            look(reader)
        database.execute("GRANT SELECT ON item TO looker")
        assert "rows-hidden" in codes(look(reader))


def test_a_table_that_somebody_changes_is_told_to_be_locked(
    database: psycopg.Connection[Any], url: str
) -> None:
    healthy(database)
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Unavailable, match="is locked"):
            look(database)
    assert look(database).findings == ()


def test_a_database_that_goes_away_meanwhile_is_told(
    database: psycopg.Connection[Any], url: str
) -> None:
    healthy(database)
    with psycopg.connect(url, autocommit=True) as looking:
        inspector = PgvectorInspector(looking)
        database.execute("SELECT pg_terminate_backend(%s)", [looking.info.backend_pid])
        with pytest.raises(Unavailable, match="went away"):
            inspector.inspect("item")
        with pytest.raises(Unavailable, match="went away"):
            inspector.candidates()


def test_looking_writes_nothing(database: psycopg.Connection[Any]) -> None:
    healthy(database)
    inspector = PgvectorInspector(database)
    with inspector._read_only.reading("item"), pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        database.execute("DELETE FROM item")


def test_bad_names_are_refused_with_those_that_are_there(
    database: psycopg.Connection[Any],
) -> None:
    healthy(database)
    with pytest.raises(BadInput, match=r"public\.item"):
        look(database, "itme")
    with pytest.raises(BadInput, match="embedding"):
        PgvectorInspector(database).inspect("item", "vec")
    assert PgvectorInspector(database).candidates() == ["public.item"]


def test_partitions_odd_names_and_an_extension_elsewhere_are_no_hindrance(
    pg_server: postgres.Postgres,
) -> None:
    address = postgres.ensure_database(pg_server, f"odd_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(address, autocommit=True) as odd:
        odd.execute("CREATE SCHEMA extensions")
        odd.execute("CREATE EXTENSION vector SCHEMA extensions")
        odd.execute('CREATE SCHEMA "the {app} 100%"')
        odd.execute(
            'CREATE TABLE "the {app} 100%"."it\'s" (id int, "Body {x} %s" text,'
            ' "my %v" extensions.vector(2), updated_at timestamptz, PRIMARY KEY (id))'
            " PARTITION BY RANGE (id)"
        )
        for low in (0, 3000):
            odd.execute(
                f'CREATE TABLE part_{low} PARTITION OF "the {{app}} 100%"."it\'s"'
                f" FOR VALUES FROM ({low}) TO ({low + 3000})"
            )
        odd.execute(
            'INSERT INTO "the {app} 100%"."it\'s" SELECT n, \'text \' || n,'
            " ARRAY[cos(n), sin(n)]::extensions.vector FROM generate_series(0, 5999) AS n"
        )
        odd.execute(
            'CREATE INDEX ON "the {app} 100%"."it\'s"'
            ' USING hnsw ("my %v" extensions.vector_cosine_ops)'
        )
        (name,) = PgvectorInspector(odd).candidates()
        assert look(odd, name).findings == ()
        sampled = look(odd, name, sample_rows=500)
        assert sampled.findings == ()
        assert 400 < sampled.facts.look.read < 600
        assert sampled.facts.table_bytes
        assert sampled.facts.layout.text == "Body {x} %s"


def test_a_table_without_any_text_cannot_be_embedded_again(
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE TABLE item (id int PRIMARY KEY, v vector(2))")
    seen = look(database)
    assert the(seen, "no-text").severity is Severity.SERIOUS
    assert source_yaml(seen.facts, "old-index") == ""


def test_a_view_is_read_and_not_blamed_for_what_its_tables_hold(
    database: psycopg.Connection[Any],
) -> None:
    healthy(database)
    database.execute("CREATE VIEW shown AS SELECT id, body, embedding FROM item")
    seen = look(database, "shown")
    assert seen.findings == ()
    assert seen.facts.kind == "view"
    sampled = look(database, "shown", sample_rows=100)
    assert (sampled.facts.look.read, sampled.facts.look.complete) == (100, False)
