"""A Prometheus server's HTTP API v1: loopback, in the published shapes of its answers.

Success and error envelopes, targets and instant vectors are those of the documentation of
Prometheus ("HTTP API"); expressions are looked up, not evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from qafila.audit.collectors.prometheus_metrics import CONTAINERS, CPU, GPU, GPU_MEMORY
from tests.support.http_stub import Asked, Reply, serving

HEADER = "Bearer a-token-of-the-test"


def target(job: str, instance: str, health: str = "up", **labels: str) -> dict[str, Any]:
    """Return one active target."""
    return {
        "discoveredLabels": {"__address__": instance, "__param_token": "not-to-be-kept"},
        "labels": {"instance": instance, "job": job, **labels},
        "scrapePool": job,
        "scrapeUrl": f"http://{instance}/metrics?token=not-to-be-kept",
        "globalUrl": f"http://{instance}/metrics",
        "lastError": "" if health == "up" else f"Get http://{instance}: not-to-be-kept refused",
        "lastScrape": "2026-11-27T10:00:00Z",
        "lastScrapeDuration": 0.01,
        "health": health,
        "scrapeInterval": "15s",
        "scrapeTimeout": "10s",
    }


def series(value: str, **labels: str) -> dict[str, Any]:
    """Return one element of an instant vector."""
    return {"metric": labels, "value": [1795773600.0, value]}


@dataclass
class MetricsServer:
    """What the server holds. ``refuses`` maps a path or an expression to status codes in turn."""

    targets: list[dict[str, Any]] = field(
        default_factory=lambda: [
            target("node", "10.0.0.1:9100"),
            target("dcgm", "10.0.0.2:9400", service="assistant"),
            target("shop", "10.0.0.3:8080", "down", namespace="shop"),
        ]
    )
    results: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {
            GPU: [series("12.5", Hostname="gpu-1", gpu="0", modelName="NVIDIA A10G")],
            GPU_MEMORY: [series("20480", Hostname="gpu-1", gpu="0")],
            CPU: [
                series("37.126", instance="10.0.0.1:9100"),
                series("NaN", instance="10.0.0.9:9100"),
            ],
            CONTAINERS: [series("1", namespace="shop", pod="search-1", container="search")],
        }
    )
    retention: str = "60d"
    refuses: dict[str, list[int]] = field(default_factory=dict)
    raw: bytes | None = None
    warnings: list[str] = field(default_factory=list)
    header: str | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, expression: str) -> tuple[int, dict[str, Any]]:
        """Return status and envelope for one request."""
        for key in (path, expression):
            if statuses := self.refuses.get(key):
                status = statuses[0] if len(statuses) == 1 else statuses.pop(0)
                if status != 200:
                    kind = {400: "bad_data", 422: "execution", 503: "timeout"}.get(status, "x")
                    return status, {"status": "error", "errorType": kind, "error": "not-to-be-kept"}
        data: Any
        if path == "/api/v1/targets":
            data = {"activeTargets": self.targets, "droppedTargets": []}
        elif path == "/api/v1/query":
            data = {"resultType": "vector", "result": self.results.get(expression, [])}
        elif path == "/api/v1/status/runtimeinfo":
            data = {"startTime": "2026-01-01T00:00:00Z", "storageRetention": self.retention}
        else:
            return 404, {"status": "error", "errorType": "not_found", "error": "no"}
        warned = {"warnings": self.warnings} if self.warnings else {}
        return 200, {"status": "success", "data": data, **warned}


@contextmanager
def running_metrics(server: MetricsServer) -> Iterator[MetricsServer]:
    """Serve on a free port of loopback while the block runs."""

    def answer(asked: Asked) -> Reply:
        server.asked.append(asked.path)
        if server.header is not None and asked.headers.get("authorization") != server.header:
            return Reply(401, b"Unauthorized")
        status, body = server.answer(asked.path, asked.query.get("query", ""))
        content = json.dumps(body).encode() if server.raw is None else server.raw
        return Reply(
            status, content, {"location": "http://127.0.0.1:1/elsewhere"} if status == 302 else {}
        )

    with serving(answer) as server.url:
        yield server
