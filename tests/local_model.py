"""The small real model of the demo, served in a thread; for tests, where it is installed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from qafila.demo import language_model
from tests.edges import free_port


@contextmanager
def local_model(keep_tokens: int | None = None) -> Iterator[str]:
    """Serve the real model in a thread for the block; gives its address."""
    model = language_model.SmallModel()
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            language_model.application(model, keep_tokens), "127.0.0.1", port,
            log_level="critical", lifespan="off", ws="none",
        )
    )  # fmt: skip
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    yield f"http://127.0.0.1:{port}/v1"
    server.should_exit = True
    thread.join(30)
    model.close()
