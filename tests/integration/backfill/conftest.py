"""A source of 1 500 rows and a generation with eight frozen shards, ready to be loaded."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest

from benchmarks.setting import fill_source, ready, setting
from qafila.ledger.ledger import Generation
from qafila.stack import postgres
from tasks import embedding_backfill as steps
from tests.integration.backfill import restarting
from tests.support.corpus import demo_workload, make_source, ready_generation
from tests.support.planning import plan_here

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
    _, ranges, _ = plan = plan_here(generation, 200, 2)
    assert [r.rows for r in ranges] == [200] * 7 + [100]
    steps.apply_plan.fn(generation, *plan)
    return generation


@pytest.fixture
def world() -> Iterator[restarting.World]:
    """A PostgreSQL of its own with a generation that is ready to be loaded."""
    with setting() as here:
        fill_source(here, restarting.ROWS, 200)
        _, generation = ready(here)
        world = restarting.World(here, generation)
        yield world
        for thread in world.returning:
            thread.join(60)


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], None]], Future[None]]]:
    """Do something in a thread while the flow runs in this one; its failure fails the test."""
    with ThreadPoolExecutor(1) as pool:
        begun: list[Future[None]] = []

        def begin(what: Callable[[], None]) -> Future[None]:
            begun.append(pool.submit(what))
            return begun[-1]

        yield begin
        for future in begun:
            future.result(60)
