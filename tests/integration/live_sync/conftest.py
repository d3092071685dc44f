"""A source that is followed: captured and planned, or loaded too."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from qafila.stack import postgres
from tests.support.live import Live, followed


@pytest.fixture
def source_url(pg_server: postgres.Postgres) -> str:
    return postgres.ensure_database(pg_server, f"source_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def planned(
    ledger: psycopg.Connection,
    ledger_url: str,
    source_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Live:
    """Captured and planned; nothing is loaded yet."""
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    return followed(ledger, source_url, target_url)


@pytest.fixture
def live(planned: Live) -> Live:
    """Captured and loaded."""
    planned.load()
    return planned
