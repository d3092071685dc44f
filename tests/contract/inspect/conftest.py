"""An emptied database for every test that inspects one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from qafila.stack import postgres


@pytest.fixture(scope="module")
def url(pg_server: postgres.Postgres) -> str:
    address = postgres.ensure_database(pg_server, f"inspected_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    return address


@pytest.fixture
def database(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        yield connection
