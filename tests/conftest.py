"""One embedded PostgreSQL a session; every test that asks gets databases of its own."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")

from benchmarks.ending import ended_by_sigterm, stop_server
from qafila.sql import apply_schema
from qafila.stack import postgres


@pytest.fixture(scope="session")
def pg_server() -> Iterator[postgres.Postgres]:
    """Run until the session ends; when it is told to end (SIGTERM), the server goes with it."""
    with ended_by_sigterm(lambda: pytest.exit("told to end", 128 + signal.SIGTERM)):
        folder = Path(tempfile.mkdtemp(prefix="qafila-pg-"))
        try:
            yield postgres.start(folder / "pg")
        finally:
            stop_server(folder / "pg", keep=False)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ledger_url(pg_server: postgres.Postgres) -> str:
    """Address of a fresh ledger with its schema applied."""
    url = postgres.ensure_database(pg_server, f"ledger_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url) as connection:
        apply_schema(connection, "ledger")
    return url


@pytest.fixture
def ledger_named(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever opens a ledger find the test's own, as QAFILA_LEDGER_URL names it."""
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)


@pytest.fixture
def target_url(pg_server: postgres.Postgres) -> str:
    """Address of a fresh target database with its schema applied."""
    url = postgres.ensure_database(pg_server, f"target_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url) as connection:
        apply_schema(connection, "target")
    return url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(ledger_url, autocommit=True) as connection:
        yield connection
