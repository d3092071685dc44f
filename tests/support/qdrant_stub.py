"""A stub of Qdrant's REST interface, for injecting faults between us and the engine.

It is not a Qdrant server: requests and replies have the shapes of qdrant-client's published models,
behind them works qdrant-edge or local mode. Faults happen where the network and the server have
theirs: no answer, late, cut short, an error, or a confirmation of something that is then not there.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from qdrant_client import models


@dataclass
class Fault:
    """What befalls requests whose method and path match, ``times`` of them, after ``after``."""

    match: str  # regular expression over "PUT /collections/name/points"
    status: int | None = None  # answer with this and do nothing
    delay_seconds: float = 0.0  # answer late
    truncated: bool = False  # do it, and cut the answer in half
    hang_up: bool = False  # do it, and close the connection without an answer
    forget: bool = False  # confirm it, and do nothing
    confirm_as: str | None = None  # do it, and answer with another update status
    after: int = 0
    times: int = 1


@dataclass
class QdrantStub:
    """The address, the faults still to come, and what was asked."""

    url: str = ""
    version: str = "1.20.0"
    info: dict[str, Any] = field(default_factory=dict)  # laid over every collection's info
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def fail(self, match: str, **how: Any) -> None:
        """Let a request fail; see ``Fault``."""
        self.faults.append(Fault(match, **how))

    def due(self, request: str) -> Fault | None:
        """Note a request and return the fault that befalls it."""
        self.asked.append(request)
        for fault in self.faults:
            if re.search(fault.match, request):
                if fault.after > 0:
                    fault.after -= 1
                elif fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


@contextmanager
def running_stub(engine: Any) -> Iterator[QdrantStub]:
    """Serve ``engine`` (a client in process) on a free loopback port."""
    stub, lock = QdrantStub(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # headers and body are two writes: without this, each answer waits for an acknowledgement
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            path = urlsplit(self.path).path
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            request = f"{self.command} {path}"
            with lock:
                fault = stub.due(request) or Fault("")
                if fault.status is not None:
                    return self._answer(fault.status, {"status": {"error": "as the test wished"}})
                result: Any = {"operation_id": 0, "status": "completed"}
                if not fault.forget:
                    result = _carry_out(engine, stub, self.command, path, body)
            if fault.confirm_as:
                result = {"operation_id": 0, "status": fault.confirm_as}
            time.sleep(fault.delay_seconds)
            if fault.hang_up:
                self.close_connection = True
                return None
            root = path == "/"
            reply = result if root else {"result": result, "status": "ok", "time": 0.0}
            return self._answer(200, reply, truncated=fault.truncated)

        def _answer(self, status: int, reply: Any, *, truncated: bool = False) -> None:
            content = json.dumps(reply).encode()
            if truncated:
                content = content[: len(content) // 2]
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:  # the client had waited long enough
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _carry_out(engine: Any, stub: QdrantStub, method: str, path: str, body: bytes) -> Any:
    if path == "/":
        return {**_plain(engine.info()), "version": stub.version}
    if path == "/aliases":
        return _plain(engine.get_aliases())
    if path == "/collections/aliases":
        wanted = models.ChangeAliasesOperation.model_validate_json(body)
        return engine.update_collection_aliases(wanted.actions)
    if path == "/collections":
        return _plain(engine.get_collections())
    found = re.fullmatch(r"/collections/([^/]+)(.*)", path)
    assert found is not None, path
    collection, what = found[1], f"{method} {found[2]}".strip()
    if what == "GET":
        return {**_plain(engine.get_collection(collection)), **stub.info}
    if what == "GET /aliases":
        return _plain(engine.get_collection_aliases(collection))
    if what == "GET /exists":
        return {"exists": engine.collection_exists(collection)}
    if what == "DELETE":
        return engine.delete_collection(collection)
    return _ROUTES[what](engine, collection, body)


def _create(engine: Any, collection: str, body: bytes) -> bool:
    asked = models.CreateCollection.model_validate_json(body)
    return bool(
        engine.create_collection(
            collection, vectors_config=asked.vectors, hnsw_config=asked.hnsw_config
        )
    )


def _change(engine: Any, collection: str, body: bytes) -> bool:
    asked = models.UpdateCollection.model_validate_json(body)
    engine.update_collection(collection, hnsw_config=asked.hnsw_config)
    return True


def _index(engine: Any, collection: str, body: bytes) -> Any:
    asked = models.CreateFieldIndex.model_validate_json(body)
    return _plain(engine.create_payload_index(collection, asked.field_name, asked.field_schema))


def _upsert(engine: Any, collection: str, body: bytes) -> Any:
    asked: Any = TypeAdapter(models.PointInsertOperations).validate_json(body)
    points = asked.batch if isinstance(asked, models.PointsBatch) else asked.points
    return _plain(engine.upsert(collection, points, update_filter=asked.update_filter))


def _set_payload(engine: Any, collection: str, body: bytes) -> Any:
    asked = models.SetPayload.model_validate_json(body)
    return _plain(engine.set_payload(collection, asked.payload, asked.filter))


def _delete(engine: Any, collection: str, body: bytes) -> Any:
    asked = models.FilterSelector.model_validate_json(body)
    return _plain(engine.delete(collection, points_selector=asked))


def _retrieve(engine: Any, collection: str, body: bytes) -> Any:
    asked = models.PointRequest.model_validate_json(body)
    found = engine.retrieve(collection, asked.ids, with_payload=asked.with_payload)
    return [_plain(p) for p in found]


def _scroll(engine: Any, collection: str, body: bytes) -> Any:
    asked = models.ScrollRequest.model_validate_json(body)
    points, after = engine.scroll(
        collection,
        asked.filter,
        limit=asked.limit or 10,
        offset=asked.offset,
        with_payload=asked.with_payload,
        with_vectors=asked.with_vector,
    )
    return {"points": [_plain(p) for p in points], "next_page_offset": after}


def _count(engine: Any, collection: str, body: bytes) -> Any:
    asked = models.CountRequest.model_validate_json(body)
    return _plain(engine.count(collection, asked.filter, exact=True))


def _query(engine: Any, collection: str, body: bytes) -> Any:
    asked: Any = json.loads(body)
    query = asked["query"]
    return _plain(
        engine.query_points(
            collection,
            query=query if isinstance(query, list) else query["nearest"],
            limit=asked["limit"],
            query_filter=models.Filter.model_validate(asked.get("filter") or {}),
            search_params=models.SearchParams.model_validate(asked.get("params") or {}),
            with_payload=asked["with_payload"],
        )
    )


_ROUTES: dict[str, Callable[[Any, str, bytes], Any]] = {
    "PUT": _create,
    "PATCH": _change,
    "PUT /index": _index,
    "PUT /points": _upsert,
    "POST /points": _retrieve,
    "POST /points/payload": _set_payload,
    "POST /points/delete": _delete,
    "POST /points/scroll": _scroll,
    "POST /points/count": _count,
    "POST /points/query": _query,
}


def _plain(model: Any) -> Any:
    return json.loads(model.model_dump_json(exclude_none=True))
