"""Drill and way back on a router that shows nothing itself: an HTTPRoute, a gateway, and a log.

The gateway here routes each request by the weights that the API server holds, lets the service say
who answered, and the service writes the log that the workload names.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from qafila.connecting import connect_kubernetes
from qafila.core.routing import GatewayApiRouter as Settings
from qafila.core.verdict import Verdict
from tasks.descent import descend
from tasks.drilling import fly
from tasks.routers.gateway_api import GatewayApiRouter
from tests.kubernetes_api import TOKEN, Cluster, http_route, running_cluster


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def running_gateway(cluster: Cluster, log: Path) -> Iterator[str]:
    """Serve users by the weights of the cluster's route; yield the address."""
    chance, lock = random.Random(7), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            at = time.time()
            assert cluster.route is not None
            backends = cluster.route["spec"]["rules"][1]["backendRefs"]
            chosen = chance.choices([b["name"] for b in backends], [b["weight"] for b in backends])
            arm = {"old": "baseline", "new": "candidate"}[chosen[0]]
            self.send_response(200)
            self.send_header("x-qafila-served", arm)
            self.send_header("content-length", "0")
            self.end_headers()
            row = {"ts": at, "arm": arm, "code": 200, "ms": 1, "attempts": 1, "results": 3,
                   "key": self.headers.get("x-tenant-id")}  # fmt: skip
            with lock, log.open("a") as file:
                file.write(json.dumps(row) + "\n")

        def log_message(self, *arguments: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def router(tmp_path: Path) -> Iterator[GatewayApiRouter]:
    token, log = tmp_path / "token", tmp_path / "service.jsonl"
    token.write_text(TOKEN)
    with (
        running_cluster(Cluster(http_route(old=1, new=0))) as cluster,
        running_gateway(cluster, log) as entry,
    ):
        settings: dict[str, Any] = {
            "kind": "gateway-api", "block": "cluster", "namespace": "shop", "route": "search",
            "rule": 1, "baseline_backend": "old", "candidate_backend": "new", "entry_url": entry,
            "log": str(log),
        }  # fmt: skip
        client = connect_kubernetes(api_url=cluster.url, token_file=str(token))
        opened = GatewayApiRouter(Settings.model_validate(settings), client)
        opened.install()
        yield opened
        opened.close()


@contextmanager
def users(url: str) -> Iterator[None]:
    """Ask about fifty times a second while the block runs."""
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, trust_env=False) as client:
            n = 0
            while not stop.wait(0.02):
                client.get("/search", headers={"x-tenant-id": f"t{n % 50}"})
                n += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_drill_measures_the_way_back_at_the_entry_and_in_the_named_log(
    router: GatewayApiRouter,
) -> None:
    with users(router.listen_url):
        flip = fly(router, 50, epoch=1, path="/search", rate=50, hold_s=0.5)
    assert (flip.failed, flip.canary_after, flip.log_after) == (0, 0, 0)
    assert flip.canary_before > 0
    assert flip.users > 0
    assert router.read().candidate_percent == 0


def test_the_way_back_is_proven_by_the_named_log(router: GatewayApiRouter) -> None:
    router.acknowledged(router.write(50, epoch=1, why="up"))
    with users(router.listen_url):
        back = descend(
            router, "shop-search", epoch=2, why="test", put_back=lambda: None, beside=False
        )
    assert (back.verdict, back.final_weight, back.canary_requests_after) == (Verdict.PASS, 0, 0)
    assert back.requests_after > 0
    assert any("each of its proxies" in sentence for sentence in back.not_shown)
