"""What tests of routers, canaries and rollbacks share: an edge, a workload behind it, users."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from qafila.ledger.ledger import apply_workload, open_generation
from qafila.sql import statement
from qafila.workload.fingerprint import Fingerprint
from qafila.workload.model import Service, Workload
from qafila.workload_file import read_file
from tests.support.edges import Edge, running_edge

FILE = Path(__file__).parents[2] / "workloads" / "aws-docs-search.yaml"
# Slow is half as long again as the baseline's p95, so another test's work of some milliseconds is
# no slow answer. Each sender waits as long as an answer takes: a hundred requests a second in all.
_WORK_S = 0.02
_SENDERS = 4
FINGERPRINT = Fingerprint("t", "whole", 1, "wordllama", "l2", 256, "cosine", True)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running_edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture
def workload(edge: Edge, ledger: psycopg.Connection, target_url: str) -> Workload:
    """Apply the demo's workload with its two connections, generation 1 open."""
    spec = read_file(FILE).model_copy(
        update={
            "service": Service.model_validate(
                {
                    "baseline": {"url": edge.baseline.url},
                    "candidate": {"url": edge.candidate.url},
                    "router": {"kind": "envoy-file", "block": "edge-1"},
                }
            )
        }
    )
    for name, kind, settings in (
        (spec.service.router.block, "qafila-envoy", edge.settings()),
        (spec.corpus.target.block, "qafila-postgres", {"url": target_url}),
    ):
        ledger.execute(
            statement("ledger", "put_connection"),
            {"name": name, "kind": kind, "settings": Jsonb(settings), "has_secret": False},
        )
    apply_workload(ledger, spec)
    open_generation(ledger, spec, FINGERPRINT)
    edge.router.write(0, epoch=edge.router.read().epoch, why="next test")
    return spec


@pytest.fixture
def traffic(edge: Edge) -> Iterator[None]:
    """Send about a hundred user requests a second while the test runs."""
    stop = threading.Event()
    edge.baseline.work_s = edge.candidate.work_s = _WORK_S

    def send(first: int) -> None:
        with httpx.Client(base_url=edge.listen_url) as client:
            n = first
            while not stop.wait(_WORK_S):
                client.get("/search", headers={"x-tenant-id": f"t{n % 500}"})
                n += _SENDERS

    threads = [threading.Thread(target=send, args=(n,)) for n in range(_SENDERS)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()
    edge.baseline.work_s = edge.candidate.work_s = 0.0
