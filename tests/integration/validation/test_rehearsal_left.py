"""A rehearsal is killed: its copy is no generation, and the next validation drops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from qafila.endpoints import open_store, reach_of
from qafila.errors import Refused
from qafila.ledger.ledger import generation_of, newest_generation, open_ledger
from qafila.rollout.clean_up import plan_clean_up
from qafila.stack import postgres
from qafila.stores.pointer_row import read_alias
from qafila.stores.port import VectorStore
from qafila.validation.options import LadderOptions
from qafila.validation.rehearsal.scratch import BEYOND, drop_leftovers, scratch_copy
from qafila.validation.suite import Climb
from tasks import benchmark_validation as steps
from tests.integration.validation.filled import Filled, new_filled
from tests.integration.validation.worlds import nobody
from tests.support.demo_services import ledger_of

ROOT = Path(__file__).parents[3]
REHEARSING = """
import sys, time
from qafila.ledger.ledger import newest_generation, open_ledger, read_workload
from qafila.endpoints import reach_of
from qafila.validation.rehearsal.scratch import scratch_copy
with open_ledger() as ledger:
    workload, _ = read_workload(ledger, sys.argv[1])
    generation = newest_generation(ledger, workload.name)
    with scratch_copy(ledger, workload, generation, reach_of(ledger, workload), 1):
        print("stands", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def filled(pg_server: postgres.Postgres) -> Filled:
    return new_filled(pg_server)


@contextmanager
def rehearsing(filled: Filled) -> Iterator[subprocess.Popen[str]]:
    """A process whose copy stands; it is killed at the end at the latest."""
    with subprocess.Popen(
        [sys.executable, "-c", REHEARSING, filled.workload.name],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "QAFILA_LEDGER_URL": filled.ledger_url},
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "stands\n"
            yield child
        finally:
            kill(child)


def kill(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait(20)


@contextmanager
def copy_of(filled: Filled) -> Iterator[VectorStore]:
    number = filled.generation.number + BEYOND
    with (
        ledger_of(filled.ledger_url),
        open_ledger() as ledger,
        open_store(ledger, filled.workload, replace(filled.generation, number=number)) as store,
    ):
        yield store


def dropped(filled: Filled) -> list[int]:
    """Do what every validation begins with, as soon as the ledger knows that the killed is gone."""
    deadline = time.monotonic() + 10
    with ledger_of(filled.ledger_url), open_ledger() as ledger:
        reach = reach_of(ledger, filled.workload)
        while not (found := drop_leftovers(ledger, filled.workload, reach)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
    return found


def test_a_copy_that_was_left_is_no_generation_and_is_dropped(filled: Filled) -> None:
    with rehearsing(filled) as child:
        kill(child)
    name = filled.workload.name
    with copy_of(filled) as copy:
        assert copy.removal() != []
        assert copy.count() > 0
    with ledger_of(filled.ledger_url), open_ledger() as ledger:
        newest = newest_generation(ledger, name)
        assert newest is not None
        assert newest.number == filled.generation.number
        with pytest.raises(Refused, match=f"no generation {BEYOND + 1}"):
            generation_of(ledger, name, BEYOND + 1)
        planned = plan_clean_up(ledger, name)
        assert BEYOND + 1 not in [one.generation for one in planned.leftovers]
    with filled.target() as target:
        assert read_alias(target, name) is None
    with filled.store() as store:
        before = store.count()
    assert dropped(filled) == [1]
    assert_gone(filled)
    with filled.store() as store:
        assert store.count() == before


def test_in_qdrant_it_is_dropped_as_well(pg_server: postgres.Postgres, tmp_path: Path) -> None:
    """Its local mode takes one process, so nobody is killed here: the copy is made, and left."""
    filled = new_filled(pg_server, tmp_path / "points")
    with copy_of(filled) as copy:
        copy.prepare()
        assert len(copy.removal()) == 2
    assert dropped(filled) == [1]
    with copy_of(filled) as copy:
        assert copy.removal() == []


def test_a_rehearsal_of_another_generation_drops_it_too(filled: Filled) -> None:
    with rehearsing(filled) as child:
        kill(child)
    with ledger_of(filled.ledger_url), open_ledger() as ledger:
        ledger.execute(  # the first one failed; the second is rehearsed on
            "INSERT INTO qafila.generation (workload, number, revision, fingerprint,"
            " fingerprint_body, phase) SELECT workload, 2, revision, fingerprint,"
            " fingerprint_body, 'backfilled' FROM qafila.generation"
        )
        second = generation_of(ledger, filled.workload.name, 2)
        reach = reach_of(ledger, filled.workload)
        with open_store(ledger, filled.workload, second) as store:
            store.prepare()
        with scratch_copy(ledger, filled.workload, second, reach, 1) as scratch:
            assert scratch.generation.number == BEYOND + 2
            with copy_of(filled) as left:
                assert left.removal() == []


def test_a_copy_that_is_in_use_is_left_alone(filled: Filled) -> None:
    with rehearsing(filled):
        with ledger_of(filled.ledger_url), open_ledger() as ledger:
            reach = reach_of(ledger, filled.workload)
            assert drop_leftovers(ledger, filled.workload, reach) == []
        with copy_of(filled) as copy:
            assert copy.count() > 0
    assert dropped(filled) == [1]


def test_the_operator_hears_of_it(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    class Log:
        def warning(self, text: str, *values: object) -> None:
            heard.append(text % values)

    monkeypatch.setattr(steps, "get_run_logger", Log)
    climb = Climb(filled.workload, filled.generation, LadderOptions(), [], nobody, nobody)
    with ledger_of(filled.ledger_url):
        assert steps.clear_leftovers.fn(climb) == []
        with rehearsing(filled) as child:
            kill(child)
        deadline = time.monotonic() + 10
        while not steps.clear_leftovers.fn(climb):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert heard == [
        "a rehearsal of generation 1 was killed and left its copy behind; it is dropped now"
    ]
    assert_gone(filled)


def assert_gone(filled: Filled) -> None:
    with copy_of(filled) as copy:
        assert copy.removal() == []
    with filled.target() as target:
        marks = [
            target.execute(
                f"SELECT count(*) FROM qafila.{table} WHERE generation > %s", [BEYOND]
            ).fetchone()
            for table in ("checkpoint", "sync_mark")
        ]
    assert marks == [(0,), (0,)]
