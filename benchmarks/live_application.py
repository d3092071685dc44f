"""The application of ``qafila bench live``: writes and searches at a steady rate, and notes it all.

A process of its own. Its SQL is the same before, during and after a migration; before each call it
asks the pointer row which model's vectors it is about to meet, as our documentation advises. Calls
are due at random times (Poisson arrivals, as users come): at fixed distances, writing and searching
would meet each time in one run and never in the next. A call that is late because the one before it
was slow counts as slow itself.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, LiteralString

import numpy as np
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql

_POINTER: LiteralString = "SELECT generation FROM qafila.alias WHERE workload = %s"

Layout = Literal["table", "column"]


@dataclass(frozen=True)
class Orders:
    """What the application is told on standard input; it ends when that is closed."""

    url: str
    layout: Layout
    workload: str
    journal: str  # one JSON array a line: kind, key, text, due, begun, ended, error
    pool: str  # texts with their vectors by both models
    tables: dict[str, str]  # generation -> table that is searched; only in layout "table"
    new: int  # the generation of the new model
    rows: int
    writes_per_s: float
    reads_per_s: float
    seed: int
    cores: Sequence[int]  # that it and its sessions keep to


class Application:
    """One connection that writes, one that searches."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        pool = np.load(orders.pool)
        self._texts: list[str] = [str(t) for t in pool["texts"]]
        self._vectors = {"old": pool["old"], "new": pool["new"]}
        self._alive = list(range(1, orders.rows + 1))
        self._next_key = orders.rows + 1
        self._chance = random.Random(orders.seed)
        self._stop = threading.Event()
        self._journal = Path(orders.journal).open("w", buffering=1)  # noqa: SIM115 - closed in run
        self._lock = threading.Lock()

    def run(self) -> None:
        """Work until standard input is closed."""
        os.sched_setaffinity(0, self._orders.cores)
        threads = [
            threading.Thread(target=self._at_rate, args=(rate, what))
            for rate, what in (
                (self._orders.writes_per_s, self._write),
                (self._orders.reads_per_s, self._search),
            )
        ]
        for thread in threads:
            thread.start()
        print("begun", flush=True)
        while sys.stdin.readline():
            pass
        self._stop.set()
        for thread in threads:
            thread.join()
        self._journal.close()

    def _at_rate(self, rate: float, what: Callable[[psycopg.Connection[Any], float], None]) -> None:
        with psycopg.connect(self._orders.url, application_name="application") as connection:
            register_vector(connection)
            connection.commit()
            with suppress(PermissionError):  # the server runs as another user
                os.sched_setaffinity(connection.info.backend_pid, self._orders.cores)
            gaps = random.Random(f"{self._orders.seed} {what.__name__}")
            due = time.perf_counter()
            while not self._stop.wait(max(0.0, due - time.perf_counter())):
                what(connection, due)
                due += gaps.expovariate(rate)

    def _write(self, connection: psycopg.Connection[Any], due: float) -> None:
        drawn, text = self._chance.random(), self._chance.randrange(len(self._texts))
        if drawn < 0.45:
            kind, key = "insert", self._next_key
            self._next_key += 1
        else:
            place = self._chance.randrange(len(self._alive))
            kind, key = ("update" if drawn < 0.9 else "delete"), self._alive[place]
        body = self._texts[text]

        def write() -> None:
            if self._orders.layout == "table":
                if kind == "insert":
                    connection.execute(
                        "INSERT INTO article (id, body) VALUES (%s, %s)", [key, body]
                    )
                elif kind == "update":
                    connection.execute("UPDATE article SET body = %s WHERE id = %s", [body, key])
            else:
                vector = Vector(self._vectors[self._model(connection)][text])
                if kind == "insert":
                    connection.execute(
                        "INSERT INTO article (id, body, embedding) VALUES (%s, %s, %s)",
                        [key, body, vector],
                    )
                elif kind == "update":
                    connection.execute(
                        "UPDATE article SET body = %s, embedding = %s WHERE id = %s",
                        [body, vector, key],
                    )
            if kind == "delete":
                connection.execute("DELETE FROM article WHERE id = %s", [key])

        if self._timed(connection, kind, key, text, due, write):
            if kind == "insert":
                self._alive.append(key)
            elif kind == "delete":
                self._alive[place] = self._alive[-1]
                self._alive.pop()

    def _search(self, connection: psycopg.Connection[Any], due: float) -> None:
        text = random.randrange(len(self._texts))

        def search() -> None:
            if self._orders.layout == "table":
                serving = self._ask(connection, _POINTER)
                model = "new" if serving == self._orders.new else "old"
                query = sql.SQL(
                    "SELECT source_key FROM qafila.{} ORDER BY embedding <=> %s LIMIT 10"
                ).format(sql.Identifier(self._orders.tables[str(serving)]))
            else:
                model = self._model(connection)
                query = sql.SQL("SELECT id FROM article ORDER BY embedding <=> %s LIMIT 10")
            found = connection.execute(query, [Vector(self._vectors[model][text])]).fetchall()
            if len(found) < 10:
                raise LookupError(f"{len(found)} results")

        self._timed(connection, "search", 0, text, due, search)

    def _model(self, connection: psycopg.Connection[Any]) -> str:
        """Say whose vectors are under the name; true until the transaction ends.

        Naming the table takes its lock before the pointer row is read, so no swap comes between.
        """
        found = self._ask(connection, f"SELECT ({_POINTER}) FROM article LIMIT 1")
        return "new" if found == self._orders.new else "old"

    def _ask(self, connection: psycopg.Connection[Any], query: LiteralString) -> int | None:
        row = connection.execute(query, [self._orders.workload]).fetchone()
        return None if row is None else row[0]

    def _timed(
        self,
        connection: psycopg.Connection[Any],
        kind: str,
        key: int,
        text: int,
        due: float,
        what: Callable[[], None],
    ) -> bool:
        begun, error = time.perf_counter(), None
        try:
            what()
            connection.commit()
        except (psycopg.Error, LookupError) as raised:
            connection.rollback()
            error = f"{type(raised).__name__}: {raised}".splitlines()[0]
        line = json.dumps([kind, key, text, due, begun, time.perf_counter(), error])
        with self._lock:
            self._journal.write(line + "\n")
        return error is None


def as_json(orders: Orders) -> str:
    """Return orders as the application reads them."""
    return json.dumps(asdict(orders))


if __name__ == "__main__":
    Application(Orders(**json.loads(sys.stdin.readline()))).run()
