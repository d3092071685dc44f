"""Which answer of a candidate shows that it is there to be tried."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast

import pytest

from qafila.errors import Unavailable
from qafila.rollout import preconditions


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def try_it(url: str, alias: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(
        preconditions, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None)
    )
    candidate = SimpleNamespace(url=url)
    spec = SimpleNamespace(
        name="docs",
        corpus=SimpleNamespace(target=None),
        service=SimpleNamespace(candidate=candidate, alias=alias),
    )
    preconditions.put_on_trial(cast("Any", None), cast("Any", spec), cast("Any", None), 1)


@pytest.mark.parametrize(("status", "alias"), [(200, None), (200, "m"), (404, "m"), (401, "m")])
def test_a_provider_behind_an_alias_need_not_know_the_health_page(
    status: int, alias: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status) as url:
        try_it(url, alias, monkeypatch)


@pytest.mark.parametrize(("status", "alias"), [(404, None), (503, None), (503, "m"), (500, "m")])
def test_a_service_that_is_not_well_is_not_tried(
    status: int, alias: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        answering(status) as url,
        pytest.raises(Unavailable, match=f"not healthy: status {status}"),
    ):
        try_it(url, alias, monkeypatch)
