"""Coordinate a load: watch its workers, its databases and its rows until all of it is loaded."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import psycopg

from qafila.backfill.control import FULL, Load, beat_load, read_load
from qafila.backfill.patience import PatientLedger
from qafila.backfill.progress import Progress, read_progress, tell
from qafila.backfill.throttle import Health, Speed, decide_speed
from qafila.connections.postgres import connect_postgres
from qafila.endpoints import Reach
from qafila.errors import StaleEpoch, Unavailable
from qafila.ledger.ledger import Connection, Generation
from qafila.sql import statement
from qafila.workload.model import Workload

_LOOK_SECONDS = 0.5
_HEALTH_SECONDS = 2.0
_SHOW_SECONDS = 3.0
_LINE_SECONDS = 10.0
_RATE_WINDOW_SECONDS = 15.0
_PROBE_QUERIES = 5


class Worker(Protocol):
    """Something that loads and will end: a task run, or a flow run elsewhere."""

    def ended(self) -> bool:
        """Say whether it is over, well or not."""


@dataclass
class Rate:
    """Rows a second over the last fifteen seconds."""

    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, rows: int, now: float) -> float | None:
        """Add what is loaded by now; return the rate, None until it is known."""
        self.seen.append((now, rows))
        while self.seen[0][0] < now - _RATE_WINDOW_SECONDS:
            self.seen.popleft()
        began, before = self.seen[0]
        return (rows - before) / (now - began) if rows > before else None


def coordinate(
    ledger: PatientLedger,
    workload: Workload,
    generation: Generation,
    epoch: int,
    reach: Reach,
    workers: Sequence[Worker],
    *,
    note: Callable[[str], None],
    show: Callable[[float], None],
) -> Progress:
    """Watch until every worker has ended: give the sign of life, set the speed, tell the progress.

    Return the progress at the end. ``note`` gets one line every few seconds, ``show`` the
    percentage that is loaded.

    A ledger that goes away is waited for, as workers do. Nothing is lost by that: what was asked
    of the load stands in its row.

    Raises:
        StaleEpoch: another run coordinates this load by now.
        Unavailable: the ledger was away for longer than two minutes.
    """
    currency = workload.budget.currency
    rate, speed = Rate(), FULL
    next_health = next_show = 0.0
    next_line = time.monotonic() + _LINE_SECONDS
    before = ("", "")
    with _probes(workload, reach) as look:
        while True:
            over = all(w.ended() for w in workers)
            now = time.monotonic()
            if now >= next_health:
                speed = decide_speed(look(), workload.corpus.limits, speed)
                next_health = now + _HEALTH_SECONDS
            load, progress = ledger.ask(
                partial(_beat_and_look, generation=generation, epoch=epoch, speed=speed)
            )
            state = load.sentence() if load else ""
            held_by = (state, progress.waits_for)
            current = rate.note(progress.rows_loaded, time.monotonic())
            if now >= next_show or over:
                show(progress.percent)
                next_show = now + _SHOW_SECONDS
            if now >= next_line or held_by != before or over:
                note(tell(progress, current, state, currency))
                next_line, before = now + _LINE_SECONDS, held_by
            if over:
                return progress
            _wait_for_an_end(workers, _LOOK_SECONDS)


def _beat_and_look(
    ledger: Connection, generation: Generation, epoch: int, speed: Speed
) -> tuple[Load | None, Progress]:
    if not beat_load(ledger, generation, epoch, speed):
        raise StaleEpoch(
            f"the load of generation {generation.number} was taken over by another run.",
            kept="everything that is loaded; the other run goes on.",
            remedy=f"watch it: qafila load show {generation.workload}",
        )
    return read_load(ledger, generation), read_progress(ledger, generation)


def _wait_for_an_end(workers: Sequence[Worker], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not all(w.ended() for w in workers):
        time.sleep(0.05)


@contextmanager
def _probes(workload: Workload, reach: Reach) -> Iterator[Callable[[], list[Any]]]:
    """Open a probe for each PostgreSQL of the load; what it yields looks at all of them."""
    ends = (
        ("source", workload.corpus.source, reach.source),
        ("target", workload.corpus.target, reach.target),
    )
    with ExitStack() as opened:
        probes = [
            opened.enter_context(HealthProbe(name, settings))
            for name, part, settings in ends
            if settings is not None and part.kind in ("postgres", "pgvector")
        ]
        yield lambda: [probe.look() for probe in probes]


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
            for _ in range(_PROBE_QUERIES):
                began = time.perf_counter()
                self._connection.execute("SELECT 1")
                took.append((time.perf_counter() - began) * 1e3)
            row = self._connection.execute(statement("health", "look")).fetchone()
        except (psycopg.Error, Unavailable):
            self._connection = None
            return Health(self.name)
        assert row is not None
        return Health(self.name, max(took), int(row[0]), None if row[1] is None else float(row[1]))
