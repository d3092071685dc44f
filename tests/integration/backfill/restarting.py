"""A PostgreSQL that may be stopped at once and started again, and a generation to be loaded."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg

from benchmarks.setting import Setting
from flows.embedding_backfill import EmbeddingBackfill, embedding_backfill
from qafila.ledger.ledger import Generation

ROWS = 6_000
AWAY_SECONDS = 0.8


@dataclass
class World:
    """A PostgreSQL of its own that may be stopped, and a generation to be loaded."""

    here: Setting
    generation: Generation
    returning: list[threading.Thread] = field(default_factory=list)

    def rows_loaded(self) -> int:
        with self.here.ledger() as ledger:
            row = ledger.execute(
                "SELECT coalesce(sum(rows_loaded), 0) FROM qafila.shard"
            ).fetchone()
        assert row
        return int(row[0])

    def wait_for_rows(self, more_than: int = 0) -> None:
        until(lambda: self.rows_loaded() > more_than)

    def stop(self) -> None:
        """As when the power goes: no checkpoint, nobody is told."""
        stop_at_once(self.here)

    def blink(self) -> None:
        """Stop it now; it is back within a second or two."""
        self.stop()
        self.returning.append(threading.Thread(target=self._return))
        self.returning[-1].start()

    def _return(self) -> None:
        time.sleep(AWAY_SECONDS)
        self.here.restart()

    def sessions(self) -> set[tuple[str, str]]:
        """Return database and name of every session of a client but this one."""
        with psycopg.connect(self.here.ledger_url, application_name="a test") as ledger:
            return set(
                ledger.execute(
                    "SELECT datname, application_name FROM pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND application_name <> 'a test'"
                ).fetchall()
            )

    def assert_each_row_is_there_once(self) -> None:
        with self.here.target() as target:
            found = target.execute(
                "SELECT count(*), count(DISTINCT source_key) FROM qafila.chunk_aws_docs_search_g1"
            ).fetchone()
        assert found == (ROWS, ROWS)


def load(world: World, **request: Any) -> dict[str, Any]:
    given = {"workload": world.generation.workload, "batch_rows": 16, "rows_per_shard": 500}
    return embedding_backfill(EmbeddingBackfill.model_validate({**given, **request}))


def stop_at_once(here: Setting) -> None:
    """Stop a server as when the power goes."""
    os.kill(here.server.pid, signal.SIGQUIT)
    until(lambda: not _alive(here.server.pid))


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return as soon as something holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
