"""What chaos happens to: real processes on loopback, and the workload that they serve.

An Envoy, two services, users, a PostgreSQL with ledger and target, controllers and a watchdog, each
a process of its own that a scenario may kill.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.chaos_controller import Orders
from benchmarks.edge import BenchEdge, bench_edge
from benchmarks.open_load import Load
from benchmarks.setting import ROOT, WORKLOAD, Setting, setting
from blocks import EnvoyEdge, PostgresDatabase
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import apply_workload, newest_generation, open_generation
from qafila.stores.pointer_row import Alias, read_alias
from qafila.workload.fingerprint import Fingerprint
from qafila.workload.model import Objectives, Rollout, Service, Workload
from qafila.workload_file import read_file

BLOCK = "demo-edge"
USERS = 100
_FINGERPRINT = Fingerprint("t", "whole", 1, "wordllama", "l2", 256, "cosine", True)
_ROLLOUT = {
    "weights": [5, 25, 50, 100],
    "approve_above": 25,
    "minimum_requests": 60,
    "bake_seconds": 2,
    "deadline_minutes": 4,
    "shadow_seconds": 2,
}
# A busy machine is not taken for a bad candidate: slow is what takes longer than five times these.
_WORK_MS = 20.0
_OBJECTIVES = {"latency_p95": {"at_most_ratio": 5}}


class NotReached(AssertionError):
    """The rollout ended before the moment at which something was to break."""


class Controller:
    """A rollout in a process of its own; ``lines`` is what it told so far."""

    def __init__(self, orders: Orders, env: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._new: queue.Queue[str] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.chaos_controller"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self.tell(json.dumps(asdict(orders)))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            self._new.put(line.rstrip())
        self._new.put("ended {}")

    def wait_for(self, start: str, timeout_s: float = 90.0) -> str:
        """Return the next line that starts so; an end before it is ``NotReached``."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                line = self._new.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(
                    f"no {start!r} in {timeout_s:g} s: {self.lines[-3:]}"
                ) from None
            if line.startswith(start):
                return line
            if line.startswith("ended"):
                raise NotReached(f"ended before {start!r}: {line}")

    def result(self, timeout_s: float = 120.0) -> dict[str, Any]:
        """Return how it ended."""
        found: dict[str, Any] = json.loads(self.wait_for("ended", timeout_s).removeprefix("ended "))
        return found

    def kill(self) -> float:
        """SIGKILL it; return the Unix time."""
        self.process.send_signal(signal.SIGKILL)
        at = time.time()
        self.stop()
        return at

    def stop(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


@dataclass
class World:
    """Everything a scenario may break; ``chance`` decides when."""

    here: Setting
    edge: BenchEdge
    spec: Workload
    env: dict[str, str]
    chance: random.Random

    @property
    def name(self) -> str:
        return self.spec.name

    def users(self, rps: float = 150.0) -> Load:
        """Return users that send while the block runs; ``stop`` of it returns their requests."""
        return Load(self.edge.listen_url, rps, tenants=USERS)

    @contextmanager
    def controller(self, **orders: Any) -> Iterator[Controller]:
        """Start a rollout; make sure that it is gone at the end."""
        started = Controller(Orders(self.name, **orders), self.env)
        try:
            yield started
        finally:
            started.stop()

    @contextmanager
    def watchdog(self) -> Iterator[None]:
        """Run ``qafila watchdog`` in a process of its own, as an operator does."""
        dog = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "qafila.cli", "watchdog"],
            cwd=ROOT,
            env={**self.env, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert dog.stdout
        dog.stdout.readline()  # it says that it is watching
        drain = threading.Thread(target=dog.stdout.read, daemon=True)
        drain.start()
        try:
            yield
        finally:
            dog.kill()
            dog.wait()
            drain.join(5)
            dog.stdout.close()

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ``qafila`` in a fresh process."""
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "qafila.cli", *arguments],
            cwd=ROOT,
            env=self.env,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )

    def reset(self) -> None:
        """Make everything well again: both arms, no weight, no lease, a drilled generation."""
        for arm in (self.edge.baseline, self.edge.candidate):
            if arm.process.poll() is not None:
                arm.start()
            arm.go_wrong()
        if self.edge.process.poll() is not None:
            self.edge.start()
        router = self.edge.router
        with self.here.ledger() as ledger, self.here.target() as target:
            ledger.execute("UPDATE qafila.generation SET phase = 'drilled'")
            # A rollback by card counts on from far above; the ledger goes on from there.
            ledger.execute(
                "INSERT INTO qafila.lease (workload, epoch, ttl_seconds) VALUES (%s, %s, 5)"
                " ON CONFLICT (workload) DO UPDATE SET epoch = greatest(lease.epoch,"
                " excluded.epoch), holder = NULL",
                [self.name, router.read().epoch],
            )
            target.execute("DELETE FROM qafila.alias")
        router.acknowledged(router.write(0, epoch=router.read().epoch, why="chaos: next scenario"))
        end = time.monotonic() + 10  # Envoy takes up a service that was away
        while not self._well() and time.monotonic() < end:
            time.sleep(0.05)

    def _well(self) -> bool:
        addresses = self.edge.listen_url, self.edge.baseline.url, self.edge.candidate.url
        with httpx.Client(trust_env=False) as client:
            return all(client.get(f"{url}/health").status_code == 200 for url in addresses)

    def tenant_on_the_canary(self) -> str:
        """Return a user whom 5 per cent sends to the candidate already."""
        router = self.edge.router
        router.acknowledged(router.write(5, epoch=router.read().epoch, why="chaos: who"))
        with httpx.Client(base_url=self.edge.listen_url, trust_env=False) as client:
            found = [
                key
                for key in (f"t{n}" for n in range(USERS))
                if client.get("/health", headers={"x-tenant-id": key}).headers.get(
                    "x-qafila-served"
                )
                == "candidate"
            ]
        router.acknowledged(router.write(0, epoch=router.read().epoch, why="chaos: back"))
        return self.chance.choice(found)

    def alias(self) -> Alias | None:
        with self.here.target() as target:
            return read_alias(target, self.name)

    def phase(self) -> str:
        with self.here.ledger() as ledger:
            generation = newest_generation(ledger, self.name)
        assert generation is not None
        return str(generation.phase)

    def on_baseline(self) -> bool:
        """Say whether the router itself gives nobody but the baseline anything."""
        now = self.edge.router.reported()
        return now is not None and not (
            now.candidate_percent or now.twin_percent or now.mirror_percent
        )

    def wait_until(self, true: Callable[[], bool], timeout_s: float) -> float:
        """Wait on a condition; return the seconds it took, infinite when it did not come true."""
        begun = time.monotonic()
        while time.monotonic() - begun < timeout_s:
            if true():
                return time.monotonic() - begun
            time.sleep(0.02)
        return float("inf")


@contextmanager
def chaos_world(seed: int) -> Iterator[World]:
    """Start everything, the demo's workload applied and drilled; stop everything at the end."""
    with setting() as here, bench_edge(here.folder / "edge", work_ms=_WORK_MS) as edge:
        home = here.folder / "home"
        home.mkdir()
        with _environment(
            QAFILA_HOME=str(home), QAFILA_LEDGER_URL=here.ledger_url, OMP_NUM_THREADS="1"
        ):
            world = World(here, edge, _apply(here, edge), dict(os.environ), random.Random(seed))
            world.reset()
            yield world


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _apply(here: Setting, edge: BenchEdge) -> Workload:
    service = {
        "baseline": {"url": edge.baseline.url},
        "candidate": {"url": edge.candidate.url},
        "router": {"kind": "envoy-file", "block": BLOCK},
    }
    spec = read_file(WORKLOAD)
    spec = spec.model_copy(
        update={
            "service": Service.model_validate(service),
            "rollout": Rollout.model_validate(_ROLLOUT),
            "objectives": Objectives.model_validate(_OBJECTIVES),
        }
    )
    with here.ledger() as ledger:
        record_connection(ledger, "demo-source", PostgresDatabase(url=here.source_url))
        record_connection(ledger, "demo-target", PostgresDatabase(url=here.target_url))
        record_connection(
            ledger,
            BLOCK,
            EnvoyEdge(
                directory=str(edge.folder),
                admin_url=edge.admin_url,
                listen_url=edge.listen_url,
                allowed_loopback=["any"],
            ),
        )
        apply_workload(ledger, spec)
        open_generation(ledger, spec, _FINGERPRINT)
    return spec
