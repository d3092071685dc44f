"""The demo's services over the small corpus: started once for all tests that ask them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qafila.stack import postgres
from tests.demo_services import Demo, running_demo


@pytest.fixture(scope="session")
def search_demo(pg_server: postgres.Postgres) -> Iterator[Demo]:
    """Both services up, generation 1 filled, the pointer row empty."""
    with running_demo(pg_server) as demo:
        yield demo
