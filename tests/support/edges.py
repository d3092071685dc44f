"""A real Envoy in front of two small HTTP services, for tests and trials: loopback, free ports."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from qafila.routers.envoy.router import EnvoyRouter
from qafila.stack import envoy


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that went away


@dataclass
class Service:
    """One arm: ``errors`` and ``empties`` are shares, ``delay_s`` a pause before each answer.

    ``work_s`` is what a user's answer takes in both arms. A service that answers at once makes a
    millisecond's wait for a core a slow answer, so whoever judges latency gives it some.
    Users in ``bad_tenants`` get empty answers, always; with ``hang`` nobody gets one, health
    checks neither, until it is taken back.
    """

    name: str
    errors: float = 0.0
    empties: float = 0.0
    delay_s: float = 0.0
    work_s: float = 0.0
    bad_tenants: frozenset[str] = frozenset()
    hang: bool = False
    port: int = field(default_factory=free_port)
    served: int = 0
    copies: int = 0  # of ``served``, those that the router marked as copies
    last_headers: dict[str, str] = field(default_factory=dict)  # of the last request, lower case

    def __post_init__(self) -> None:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                while service.hang:
                    time.sleep(0.02)
                time.sleep(service.delay_s)
                if self.path.startswith("/health"):
                    return self.reply(200, 1)
                time.sleep(service.work_s)
                service.served += 1
                service.last_headers = {k.lower(): v for k, v in self.headers.items()}
                service.copies += self.headers.get("x-qafila-shadow") == "1"
                if random.random() < service.errors:
                    return self.reply(500, 0)
                empty = self.headers.get("x-tenant-id") in service.bad_tenants
                return self.reply(200, 0 if empty or random.random() < service.empties else 3)

            do_POST = do_GET

            def reply(self, status: int, results: int) -> None:
                body = json.dumps({"from": service.name}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.send_header("x-qafila-results", str(results))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Edge:
    """A running Envoy with its two arms."""

    router: EnvoyRouter
    baseline: Service
    candidate: Service
    folder: Path
    admin_url: str
    listen_url: str
    process: subprocess.Popen[bytes]

    def restart(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process = _run_envoy(self.folder)
        _await_ready(self.admin_url)

    def settings(self) -> dict[str, Any]:
        """Return what the ledger keeps of the connection."""
        return {
            "directory": str(self.folder),
            "admin_url": self.admin_url,
            "listen_url": self.listen_url,
            "allowed_loopback": ["any"],
        }


def _run_envoy(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "envoy.log").open("ab") as log:
        return subprocess.Popen(envoy.command(folder / "bootstrap.json"), stdout=log, stderr=log)


def _await_ready(admin_url: str) -> None:
    end = time.monotonic() + 15
    while time.monotonic() < end:
        if envoy.healthy(admin_url):
            return
        time.sleep(0.05)
    raise TimeoutError("Envoy did not become ready")


@contextmanager
def running_edge(
    folder: Path, *, tenant_header: str = envoy.TENANT_HEADER, admin_socket: Path | None = None
) -> Iterator[Edge]:
    """Start two services and an Envoy, the candidate at weight 0; stop them at the end.

    Envoy's admin address is a port, or ``admin_socket``.
    """
    baseline, candidate = Service("baseline"), Service("candidate")
    try:
        with _running_envoy(
            folder, "edge-1", baseline, candidate, tenant_header, admin_socket
        ) as edge:
            edge.router.acknowledged(edge.router.install(baseline.url, candidate.url).version)
            yield edge
    finally:
        baseline.stop()
        candidate.stop()


@contextmanager
def running_fleet(folder: Path) -> Iterator[list[Edge]]:
    """Start two Envoys before the same two services, in folders of their own."""
    baseline, candidate = Service("baseline"), Service("candidate")
    try:
        with (
            _running_envoy(folder / "1", "edge-1", baseline, candidate) as first,
            _running_envoy(folder / "2", "edge-2", baseline, candidate) as second,
        ):
            yield [first, second]
    finally:
        baseline.stop()
        candidate.stop()


@contextmanager
def _running_envoy(
    folder: Path,
    name: str,
    baseline: Service,
    candidate: Service,
    tenant_header: str = envoy.TENANT_HEADER,
    admin_socket: Path | None = None,
) -> Iterator[Edge]:
    folder.mkdir(parents=True, exist_ok=True)
    listen, admin = free_port(), admin_socket or free_port()
    admin_url = f"unix:{admin}" if admin_socket else f"http://127.0.0.1:{admin}"
    listen_url = f"http://127.0.0.1:{listen}"
    router = EnvoyRouter(name, directory=str(folder), admin_url=admin_url, listen_url=listen_url)
    envoy.prepare(folder, port=listen, admin=admin, tenant_header=tenant_header)
    edge = Edge(router, baseline, candidate, folder, admin_url, listen_url, _run_envoy(folder))
    try:
        _await_ready(admin_url)
        yield edge
    finally:
        edge.process.terminate()
        edge.process.wait(10)
        router.close()
