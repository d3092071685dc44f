"""What every stand-in of an OpenAI-shaped service on loopback has: a key, faults, an address."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.support.edges import free_port

KEY = "sk-very-secret-0123456789"


class OpenAiService:
    """A key that requests must carry, and faults that are used up one a request.

    Faults that every service has: a status (``"500"``, ``"429"``, ``"429 2"`` with Retry-After,
    ``"429 quota"``).
    """

    def __init__(self) -> None:
        self.faults: deque[str] = deque()
        self.key: str | None = KEY
        self.url = ""

    def next_fault(self) -> str:
        """Return the fault of this request, which is then used up; empty for none."""
        return self.faults.popleft() if self.faults else ""

    def refusal(
        self, request: Request, body: dict[str, Any], fault: str, model: str, said: str = ""
    ) -> Response | None:
        """Return why this request is not answered: its key, its fault or the model it names.

        ``said`` stands behind the status in the message of a fault.
        """
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return error(401, "Incorrect API key provided: sk-ve***6789.", "invalid_api_key")
        if fault[:3].isdigit():
            status, _, hint = fault.partition(" ")
            headers = {"Retry-After": hint} if hint and hint != "quota" else {}
            code = "insufficient_quota" if hint == "quota" else "some_code"
            return error(int(status), f"fault {status}{said}", code, headers)
        if body["model"] != model:
            return error(404, f"The model {body['model']} does not exist", "model_not_found")
        return None


def error(status: int, message: str, code: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error in OpenAI's shape."""
    told = {"message": message, "type": "error", "param": None, "code": code}
    return JSONResponse({"error": told}, status, headers)


def server_of(app: Any, port: int, *, log_level: str = "critical") -> uvicorn.Server:
    """Return a server of this application on loopback that is not running yet."""
    return uvicorn.Server(
        uvicorn.Config(app, "127.0.0.1", port, log_level=log_level, lifespan="off", ws="none")
    )


@contextmanager
def in_a_thread(app: Any, *, log_level: str = "critical") -> Iterator[str]:
    """Serve while the block runs; yield the address, ``/v1`` included."""
    port = free_port()
    server = server_of(app, port, log_level=log_level)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join(30)
