"""A comparison that is cancelled or cut off says what happened, what was kept, what to do next."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import psycopg
import pytest

from qafila.backfill import compare as comparing
from qafila.backfill.patience import is_away
from qafila.backfill.verify import verify_generation
from qafila.errors import Inconclusive, QafilaError, Unavailable
from qafila.ledger.ledger import Generation, read_workload
from qafila.live_sync.verify import verify_live
from qafila.validation.checks.keys import compare_keys
from qafila.validation.options import LadderOptions
from qafila.validation.suite import Climb
from tests.integration.backfill.restarting import until
from tests.integration.validation.worlds import nobody

WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
    " AND backend_type = 'client backend'"
)
Compare = Callable[[psycopg.Connection, Generation], object]


def as_the_ladder(ledger: psycopg.Connection, generation: Generation) -> object:
    workload, _ = read_workload(ledger, generation.workload)
    return compare_keys(Climb(workload, generation, LadderOptions(), [], nobody, nobody))


def as_live_sync(ledger: psycopg.Connection, generation: Generation) -> object:
    return verify_live(ledger, generation, catch_up=lambda: None)


@contextmanager
def held_up(target_url: str, then: Callable[[psycopg.Connection, int], object]) -> Iterator[None]:
    """Keep the target's rows from being read; do something once somebody waits for them."""

    def do() -> None:
        with psycopg.connect(target_url, autocommit=True) as looking:
            waiting: list[int] = []

            def someone_waits() -> bool:
                found = looking.execute(WAITING, [looking.info.dbname]).fetchall()
                waiting.extend(pid for (pid,) in found)
                return bool(waiting)

            until(someone_waits)
            then(looking, waiting[0])

    with psycopg.connect(target_url) as holding:
        # Whoever was missed waits no longer than this, and the test fails instead of hanging.
        holding.execute("SET idle_in_transaction_session_timeout = '60s'")
        holding.execute("LOCK TABLE qafila.chunk_aws_docs_search_g1 IN ACCESS EXCLUSIVE MODE")
        doing = threading.Thread(target=do)
        doing.start()
        try:
            yield
        finally:
            doing.join()
        holding.execute("SELECT 1")  # fails where the lock was taken away: somebody waited for that


@pytest.mark.parametrize(
    ("compare", "phase"),
    [
        (verify_generation, "embedding-backfill"),
        (as_live_sync, "embedding-backfill"),
        (as_the_ladder, "benchmark-validation"),
    ],
)
@pytest.mark.parametrize(
    ("stopped_by", "kind", "away"),
    [("pg_cancel_backend", Inconclusive, False), ("pg_terminate_backend", Unavailable, True)],
)
def test_what_the_server_says_is_told_as_ours(
    ledger: psycopg.Connection,
    target_url: str,
    generation: Generation,
    stopped_by: str,
    kind: type[QafilaError],
    away: bool,
    compare: Compare,
    phase: str,
) -> None:
    def stop(looking: psycopg.Connection, pid: int) -> None:
        looking.execute(f"SELECT {stopped_by}(%s)", [pid])  # type: ignore[arg-type]

    with held_up(target_url, stop), pytest.raises(kind) as raised:
        compare(ledger, generation)
    assert type(raised.value) is kind
    assert generation.workload in raised.value.what
    assert raised.value.kept
    assert raised.value.remedy.endswith(f"; then: qafila run {phase} {generation.workload}")
    assert is_away(raised.value) is away  # what is away is waited for, a cancel is not done again


def test_ctrl_c_stays_what_it_is_and_leaves_no_statement_behind(
    ledger: psycopg.Connection, target_url: str, generation: Generation
) -> None:
    with held_up(target_url, lambda *_: os.kill(os.getpid(), signal.SIGINT)):
        with pytest.raises(KeyboardInterrupt):
            verify_generation(ledger, generation)
        with psycopg.connect(target_url) as looking:
            assert looking.execute(WAITING, [looking.info.dbname]).fetchall() == []


def test_ctrl_c_while_the_second_statement_begins_leaves_none_behind(
    ledger: psycopg.Connection,
    target_url: str,
    generation: Generation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other thread may wait for the server before the first one knows that it has begun."""
    waits = Event()

    class InterruptedPool(ThreadPoolExecutor):
        def submit(self, *given: Any, **named: Any) -> Any:
            super().submit(*given, **named)
            assert waits.wait(60)
            raise KeyboardInterrupt

    monkeypatch.setattr(comparing, "ThreadPoolExecutor", InterruptedPool)
    with held_up(target_url, lambda *_: waits.set()):
        with pytest.raises(KeyboardInterrupt):
            verify_generation(ledger, generation)
        with psycopg.connect(target_url) as looking:
            assert looking.execute(WAITING, [looking.info.dbname]).fetchall() == []
