"""The demo's corpus in small, one generation of it, and both services: shared by slow tests."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from qafila.demo.corpus import CorpusCounts, Scale, load_corpus
from qafila.ledger.ledger import Generation, move_phase, open_ledger
from qafila.sql import apply_schema
from qafila.stack import postgres
from qafila.workload.model import Workload
from qafila.workload.phases import Event
from tasks import embedding_backfill as steps
from tests.support.corpus import demo_workload, ready_generation
from tests.support.edges import free_port
from tests.support.loads import load_all
from tests.support.planning import plan_here


@dataclass
class Demo:
    """Everything that a search test needs; ``corpus`` says what was loaded."""

    ledger_url: str
    source_url: str
    target_url: str
    baseline_url: str
    candidate_url: str
    corpus: CorpusCounts
    workload: Workload
    generation: Generation

    def target(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.target_url, autocommit=True)


@contextmanager
def ledger_of(url: str) -> Iterator[None]:
    """Let ``open_ledger()`` find this ledger for the block."""
    before = os.environ.get("QAFILA_LEDGER_URL")
    os.environ["QAFILA_LEDGER_URL"] = url
    try:
        yield
    finally:
        os.environ.pop("QAFILA_LEDGER_URL")
        if before is not None:
            os.environ["QAFILA_LEDGER_URL"] = before


@contextmanager
def running_demo(server: postgres.Postgres, *, scale: Scale = "small") -> Iterator[Demo]:
    """Load the corpus and its vectors, start both services, stop them at the end."""
    mark = uuid.uuid4().hex[:8]
    source, target, ledger = (
        postgres.ensure_database(server, f"{name}_{mark}") for name in ("source", "target", "led")
    )
    with psycopg.connect(ledger) as connection:
        apply_schema(connection, "ledger")
    with psycopg.connect(target) as connection:
        apply_schema(connection, "target")
    with psycopg.connect(source, autocommit=True) as connection:
        corpus = load_corpus(connection, scale=scale)
    ports = free_port(), free_port()
    urls = [f"http://127.0.0.1:{p}" for p in ports]
    workload = demo_workload()
    service = {
        **workload.service.model_dump(),
        "baseline": {"url": urls[0]},
        "candidate": {"url": urls[1]},
    }
    workload = Workload.model_validate({**workload.model_dump(), "service": service})
    with ledger_of(ledger):
        generation = _fill(workload, source, target)
        processes = [
            _start("baseline", ports[0], source),
            _start("candidate", ports[1], target, "--breakable"),
        ]
        try:
            for port in ports:
                wait_for(port)
            yield Demo(ledger, source, target, *urls, corpus, workload, generation)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(10)


def _fill(workload: Workload, source: str, target: str) -> Generation:
    with open_ledger() as ledger:
        generation = ready_generation(ledger, workload, source, target)
        steps.apply_plan.fn(generation, *plan_here(generation, 5000, 1))
        load_all(generation, 500)
        steps.build_index.fn(generation)
        return move_phase(ledger, generation, Event.ALL_LOADED)


def _start(arm: str, port: int, database: str, *more: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "qafila.demo.services",
        arm,
        "--port",
        str(port),
        "--database",
        database,
        *more,
    ]
    return subprocess.Popen(command)


def wait_for(port: int) -> None:
    """Wait until something answers HTTP, whatever it says."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return
        finally:
            connection.close()
    raise TimeoutError(f"nothing answers on port {port}")
