"""A source of 1 500 rows and a generation with eight frozen shards, ready to be loaded."""

from __future__ import annotations

import uuid

import psycopg
import pytest

from qafila.stack import postgres
from tasks import backfill
from tasks.ledger import Generation
from tests.corpus import demo_workload, make_source, ready_generation

ROWS = 1500


@pytest.fixture
def source_url(pg_server: postgres.Postgres) -> str:
    url = postgres.ensure_database(pg_server, f"source_{uuid.uuid4().hex[:8]}")
    make_source(url, ROWS)
    return url


@pytest.fixture
def generation(
    ledger: psycopg.Connection,
    ledger_url: str,
    source_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Generation:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    generation = ready_generation(ledger, demo_workload(), source_url, target_url)
    _, ranges, _ = plan = backfill.plan_load.fn(generation.workload, generation, 200, 2)
    assert [r.rows for r in ranges] == [200] * 7 + [100]
    backfill.apply_plan.fn(generation, *plan)
    return generation
