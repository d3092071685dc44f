"""A Kubernetes API server for one HTTPRoute: loopback, in the shapes that the real one answers.

It keeps ``resourceVersion`` and ``generation`` as the API conventions say, answers errors with
Status objects, refuses what the schema of Gateway API v1 does not allow, and lets a gateway accept
a route when the test says so.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema

TOKEN = "a-token-of-the-test"
_NAME = {"type": "string", "minLength": 1, "maxLength": 253}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}

# Reduced from the markers of apis/v1/httproute_types.go and apis/v1/shared_types.go in
# kubernetes-sigs/gateway-api (v1, as stored on 2026-11-27): what Qafila writes and what stands
# beside it. Matches, filters and timeouts only have their bounds here; nothing changes them.
HTTP_ROUTE_V1: dict[str, Any] = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "gateway.networking.k8s.io/v1"},
        "kind": {"const": "HTTPRoute"},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": _NAME,
                "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "parentRefs": {
                    "type": "array",
                    "maxItems": 32,
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "additionalProperties": False,
                        "properties": {
                            "group": {"type": "string", "maxLength": 253},
                            "kind": {"type": "string", "minLength": 1, "maxLength": 63},
                            "namespace": {"type": "string", "minLength": 1, "maxLength": 63},
                            "name": _NAME,
                            "sectionName": _NAME,
                            "port": _PORT,
                        },
                    },
                },
                "hostnames": {"type": "array", "maxItems": 16, "items": _NAME},
                "rules": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 16,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "name": _NAME,
                            "matches": {"type": "array", "maxItems": 64},
                            "filters": {"type": "array", "maxItems": 16},
                            "timeouts": {"type": "object"},
                            "retry": {"type": "object"},
                            "sessionPersistence": {"type": "object"},
                            "backendRefs": {
                                "type": "array",
                                "maxItems": 16,
                                "items": {
                                    "type": "object",
                                    "required": ["name"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "group": {"type": "string", "maxLength": 253},
                                        "kind": {"type": "string", "minLength": 1, "maxLength": 63},
                                        "name": _NAME,
                                        "namespace": {"type": "string", "maxLength": 63},
                                        "port": _PORT,
                                        "weight": {
                                            "type": "integer",
                                            "minimum": 0,
                                            "maximum": 1_000_000,
                                        },
                                        "filters": {"type": "array", "maxItems": 16},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
        "status": {"type": "object"},
    },
}


def http_route(**backends: int | None) -> dict[str, Any]:
    """Return a route with a rule before it, filters and names: things that must stay."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": "search",
            "namespace": "shop",
            "labels": {"app": "search"},
            "annotations": {"example.org/owner": "search team"},
        },
        "spec": {
            "parentRefs": [{"name": "public", "sectionName": "https"}],
            "hostnames": ["search.example.org"],
            "rules": [
                {
                    "matches": [{"path": {"type": "Exact", "value": "/health"}}],
                    "backendRefs": [{"name": "health", "port": 80}],
                },
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "timeouts": {"request": "10s"},
                    "filters": [
                        {
                            "type": "RequestHeaderModifier",
                            "requestHeaderModifier": {"set": [{"name": "x-a", "value": "b"}]},
                        }
                    ],
                    "backendRefs": [
                        {
                            "name": name.replace("_", "-"),
                            "port": 8080,
                            **({} if weight is None else {"weight": weight}),
                        }
                        for name, weight in backends.items()
                    ],
                },
            ],
        },
    }


@dataclass
class Cluster:
    """What the API server holds; ``before_update`` runs once, before the next update is taken."""

    route: dict[str, Any] | None
    accepts: bool = True  # a gateway writes its status as soon as a route changed
    forbidden: bool = False
    before_update: Callable[[], None] | None = None
    updates: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        if self.route is not None:
            self.route["metadata"] |= {"resourceVersion": "1", "generation": 1, "uid": "u-1"}
            if self.accepts:
                self.accept()

    def accept(self, status: str = "True", reason: str = "", *, kind: str = "ResolvedRefs") -> None:
        """Let the gateway of the route write what it thinks of the present generation."""
        with self._lock:
            assert self.route is not None
            conditions = [
                {
                    "type": name,
                    "status": status if name == kind else "True",
                    "reason": "Any",
                    "message": reason,
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                    "observedGeneration": self.route["metadata"]["generation"],
                }
                for name in ("Accepted", "ResolvedRefs")
            ]
            self.route["status"] = {
                "parents": [
                    {
                        "controllerName": "example.org/gateway",
                        "conditions": conditions,
                        "parentRef": {
                            "group": "gateway.networking.k8s.io",
                            "kind": "Gateway",
                            "name": "public",
                            "sectionName": "https",
                        },
                    }
                ]
            }
            self._count("resourceVersion")

    def change(self, mutate: Callable[[dict[str, Any]], None]) -> None:
        """Change the route as somebody else would."""
        with self._lock:
            assert self.route is not None
            mutate(self.route)
            self._count("resourceVersion")

    def _count(self, name: str) -> None:
        assert self.route is not None
        metadata = self.route["metadata"]
        metadata[name] = type(metadata[name])(int(metadata[name]) + 1)

    def update(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Take an update as the API server does; return status and body of the answer."""
        hook, self.before_update = self.before_update, None
        if hook is not None:
            hook()
        with self._lock:
            assert self.route is not None
            now = self.route["metadata"]
            if body["metadata"].get("resourceVersion") != now["resourceVersion"]:
                return 409, failure(409, "Conflict", "the object has been modified")
            try:
                jsonschema.validate(body, HTTP_ROUTE_V1)
            except jsonschema.ValidationError as error:
                return 422, failure(422, "Invalid", error.message)
            if body["spec"] != self.route["spec"]:
                self._count("generation")
            self._count("resourceVersion")
            kept = {k: now[k] for k in ("resourceVersion", "generation", "uid")}
            status = self.route.get("status")
            self.route = {**copy.deepcopy(body), "metadata": {**body["metadata"], **kept}}
            self.route.pop("status", None)
            if status is not None:  # a subresource of its own: an update leaves it alone
                self.route["status"] = status
            self.updates.append(copy.deepcopy(self.route))
            if self.accepts:
                self.accept()
            return 200, self.route


def failure(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


@contextmanager
def running_cluster(cluster: Cluster) -> Iterator[Cluster]:
    """Serve a cluster on a free port of loopback while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/version/":
                names = (
                    "major",
                    "minor",
                    "gitCommit",
                    "gitTreeState",
                    "buildDate",
                    "goVersion",
                    "compiler",
                    "platform",
                )
                version = dict.fromkeys(names, "1")
                return self.reply(200, version | {"gitVersion": "v1.34.1"})
            refused = self.refused()
            return self.reply(*(refused or (200, cluster.route)))

        def do_PUT(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            return self.reply(*(self.refused() or cluster.update(body)))

        def refused(self) -> tuple[int, dict[str, Any]] | None:
            if self.headers.get("authorization") != f"Bearer {TOKEN}":
                return 401, failure(401, "Unauthorized", "Unauthorized")
            if cluster.forbidden:
                return 403, failure(403, "Forbidden", "cannot get resource httproutes")
            path = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/search"
            if cluster.route is None or self.path.split("?")[0] != path:
                return 404, failure(404, "NotFound", "httproutes not found")
            return None

        def reply(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cluster.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
