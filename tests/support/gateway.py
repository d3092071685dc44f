"""A gateway in front of two services that write a log: for routers that show nothing themselves.

It routes each request by the weights that the API server holds; the service says who answered, and
writes the log that the workload names. Loopback, free ports.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from tests.support.kubernetes_api import Cluster


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@dataclass
class Gateway:
    """``errors`` and ``empties`` are shares of the candidate's answers."""

    url: str = ""
    errors: float = 0.0
    empties: float = 0.0


@contextmanager
def running_gateway(cluster: Cluster, log: Path) -> Iterator[Gateway]:
    """Serve users by the weights of the cluster's route while the block runs."""
    gateway, chance, lock = Gateway(), random.Random(7), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            at = time.time()
            assert cluster.route is not None
            backends = cluster.route["spec"]["rules"][1]["backendRefs"]
            chosen = chance.choices([b["name"] for b in backends], [b["weight"] for b in backends])
            arm = {"old": "baseline", "new": "candidate"}[chosen[0]]
            on_trial = arm == "candidate"
            status = 500 if on_trial and chance.random() < gateway.errors else 200
            results = 0 if on_trial and chance.random() < gateway.empties else 3
            self.send_response(status)
            self.send_header("x-qafila-served", arm)
            self.send_header("content-length", "0")
            self.end_headers()
            if self.path == "/health":
                return
            row = {
                "ts": at,
                "arm": arm,
                "code": status,
                "ms": 1,
                "attempts": 1,
                "results": results,
                "key": self.headers.get("x-tenant-id"),
            }
            with lock, log.open("a") as file:
                file.write(json.dumps(row) + "\n")

        def log_message(self, *arguments: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    gateway.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def users(url: str, *, every_s: float = 0.02) -> Iterator[None]:
    """Ask again and again while the block runs, about fifty times a second."""
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, trust_env=False) as client:
            n = 0
            while not stop.wait(every_s):
                client.get("/search", headers={"x-tenant-id": f"t{n % 500}"})
                n += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
