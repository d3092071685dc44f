"""Look at the databases of a load: how fast they answer, how busy they are, how standbys lag."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg

from qafila.backfill.throttle import Health
from qafila.connections.postgres import connect_postgres
from qafila.errors import Unavailable
from qafila.sql import statement

_PROBES = 5


class HealthProbe:
    """Watches one PostgreSQL through a connection of its own; use it as a context manager.

    A server that is away is "not measured": a worker that cannot reach it says so itself.
    """

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self.name = name
        self._settings = settings
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> HealthProbe:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def look(self) -> Health:
        """Return the health of the server now; takes a few milliseconds of its time."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect_postgres(**self._settings)
            took = []
            for _ in range(_PROBES):
                began = time.perf_counter()
                self._connection.execute("SELECT 1")
                took.append((time.perf_counter() - began) * 1e3)
            row = self._connection.execute(statement("health", "look")).fetchone()
        except (psycopg.Error, Unavailable):
            self._connection = None
            return Health(self.name)
        assert row is not None
        return Health(self.name, max(took), int(row[0]), None if row[1] is None else float(row[1]))
