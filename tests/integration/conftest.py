"""The demo's services over the small corpus: started once for all tests that ask them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from qafila.stack import postgres
from qafila.stores.pointer_row import set_trial
from tests.support.demo_services import Demo, ledger_of, running_demo


@pytest.fixture(scope="session")
def search_demo(pg_server: postgres.Postgres) -> Iterator[Demo]:
    """Both services up, generation 1 filled, the pointer row empty."""
    with running_demo(pg_server) as demo:
        yield demo


@pytest.fixture
def demo(search_demo: Demo) -> Iterator[Demo]:
    """The services with generation 1 on trial, its ledger, and a phase that may be validated."""
    name = search_demo.workload.name
    with ledger_of(search_demo.ledger_url), search_demo.target() as target:
        set_trial(target, name, 1, 0)
        time.sleep(0.25)  # what a service knows of the pointer row may be 0.2 s old
        yield search_demo
        httpx.post(f"{search_demo.candidate_url}/_demo/break", json={})
        target.execute("DELETE FROM qafila.alias")


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server for the whole session, on loopback, with a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
