"""An edge of a benchmark's own: a real Envoy and two arms, each a process that can be killed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.arm import Faults
from benchmarks.machine import NotMeasured
from qafila.routers.envoy.router import EnvoyRouter
from qafila.stack import envoy

ROOT = Path(__file__).parents[1]
Child = subprocess.Popen[bytes]


class ArmProcess:
    """A service in a process; its port stays the same when it is started again."""

    def __init__(self, name: str, work_ms: float = 0.0) -> None:
        self.name = name
        self.port = 0
        self.work_ms = work_ms
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it again after a kill."""
        self.process: Child = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "benchmarks.arm",
                "--name",
                self.name,
                "--port",
                str(self.port),
                "--work-ms",
                str(self.work_ms),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout
        self.port = json.loads(self.process.stdout.readline())["port"]

    def kill(self) -> None:
        """SIGKILL: open connections break, new ones are refused."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def go_wrong(self, **faults: object) -> None:
        """Set what goes wrong from now on; without arguments nothing does."""
        told = asdict(Faults(**faults))  # type: ignore[arg-type]
        httpx.post(f"{self.url}/faults", json=told, trust_env=False).raise_for_status()

    def stop(self) -> None:
        """Close its standard input and wait; harmless when it was killed."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@dataclass
class BenchEdge:
    """A running Envoy with its two arms and the router port that moves its weights."""

    router: EnvoyRouter
    baseline: ArmProcess
    candidate: ArmProcess
    folder: Path
    admin_url: str
    listen_url: str
    process: Child

    def kill(self) -> None:
        """SIGKILL Envoy."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def start(self) -> None:
        """Start Envoy again from its folder and wait until it is ready."""
        self.process = _run_envoy(self.folder)
        _await_ready(self.admin_url)


@contextmanager
def bench_edge(folder: Path, *, work_ms: float = 0.0) -> Iterator[BenchEdge]:
    """Start two arms and an Envoy, the candidate at weight 0; stop them at the end.

    ``work_ms`` is what each answer of an arm takes at least.
    """
    folder.mkdir(parents=True, exist_ok=True)
    baseline, candidate = ArmProcess("baseline", work_ms), ArmProcess("candidate", work_ms)
    listen, admin = _free_port(), _free_port()
    admin_url, listen_url = f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{listen}"
    router = EnvoyRouter(
        "demo-edge", directory=str(folder), admin_url=admin_url, listen_url=listen_url
    )
    envoy.prepare(folder, port=listen, admin=admin)
    edge = BenchEdge(router, baseline, candidate, folder, admin_url, listen_url, _run_envoy(folder))
    try:
        _await_ready(admin_url)
        router.acknowledged(router.install(baseline.url, candidate.url).version)
        yield edge
    finally:
        if edge.process.poll() is None:
            edge.process.terminate()
            edge.process.wait(10)
        router.close()
        baseline.stop()
        candidate.stop()


def _run_envoy(folder: Path) -> Child:
    with (folder / "envoy.log").open("ab") as log:
        return subprocess.Popen(envoy.command(folder / "bootstrap.json"), stdout=log, stderr=log)


def _await_ready(admin_url: str) -> None:
    end = time.monotonic() + 15
    while not envoy.healthy(admin_url):
        if time.monotonic() > end:
            raise NotMeasured("Envoy did not become ready in 15 s")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
