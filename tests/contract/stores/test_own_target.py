"""A target of the user's own: a database with pgvector in it, and nothing of ours."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from psycopg import sql

from qafila.sql import apply_schema
from qafila.stack import postgres
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.pointer_row import read_alias
from qafila.stores.port import Chunk, Place, VectorStore
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.fingerprint import text_digest
from tests.support.columns import ColumnBehindApplication, make_item_table

PLACE = Place("shop-search", 1, "f" * 16, 8)
SETTINGS = PgvectorTarget(kind="pgvector", block="shop-target")


@pytest.fixture
def target(pg_server: postgres.Postgres) -> Iterator[psycopg.Connection[object]]:
    url = postgres.ensure_database(pg_server, f"own_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        yield connection


@pytest.fixture(params=["table", "column"])
def store(request: pytest.FixtureRequest, target: psycopg.Connection[object]) -> VectorStore:
    if request.param == "table":
        return PgvectorStore(target, PLACE, SETTINGS)
    make_item_table(target)
    return ColumnBehindApplication(target, PLACE)


def test_a_generation_is_filled_where_nothing_of_ours_was(store: VectorStore) -> None:
    assert store.problems() == []
    store.prepare()
    chunk = Chunk("a", 0, 0, 4, "", "text", text_digest("text"), ("everyone",), {})
    store.write([chunk], np.eye(1, 8, dtype=np.float32), store.claim(0, 1))
    assert store.count() == 1


def test_looking_at_it_makes_nothing(
    store: VectorStore, target: psycopg.Connection[object]
) -> None:
    assert store.problems() == []
    assert read_alias(target, PLACE.workload) is None
    assert target.execute("SELECT to_regnamespace('qafila')").fetchone() == (None,)


def test_a_role_that_may_not_create_is_told_what_to_grant(
    target: psycopg.Connection[object],
) -> None:
    role = f"loader {uuid.uuid4().hex[:8]}"
    name = sql.Identifier(role)
    target.execute(sql.SQL("CREATE ROLE {}").format(name))
    try:
        target.execute(sql.SQL("SET ROLE {}").format(name))
        database = target.info.dbname
        assert PgvectorStore(target, PLACE, SETTINGS).problems() == [
            f'role "{role}" may not create a schema in the target: run '
            f'GRANT CREATE ON DATABASE {database} TO "{role}" there, as its owner'
        ]
        target.execute("RESET ROLE")
        apply_schema(target, "target")
        target.execute(sql.SQL("SET ROLE {}").format(name))
        assert PgvectorStore(target, PLACE, SETTINGS).problems() == [
            f'role "{role}" may not create tables in the target: run '
            f'GRANT CREATE ON SCHEMA qafila TO "{role}" there, as its owner'
        ]
    finally:
        target.execute("RESET ROLE")
        target.execute(sql.SQL("DROP ROLE {}").format(name))
