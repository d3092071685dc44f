"""A Prefect server of a test's own: loopback, a free port, a folder that goes with the test."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from qafila.stack import prefect
from qafila.stack.prefect_access import VARIABLE, Login, ask, client_variables, server_variables
from tests.support.edges import free_port

ROOT = Path(__file__).parents[2]
LOGIN = Login("tests:and their password", VARIABLE)


def environment(folder: Path, api: str) -> dict[str, str]:
    """Return the environment of a process that speaks to this server and no other."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")},
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": api,
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **client_variables(LOGIN),
    }


@contextmanager
def running_prefect(folder: Path) -> Iterator[str]:
    """Start a server that asks for a password, and yield the address of its API.

    Meanwhile ``folder`` is the home of this process, so that whatever asks the server is let in.
    """
    port = free_port()
    api = prefect.api_url(port)
    section = {"api_url": api, "ui_url": api.removesuffix("/api"), "auth": LOGIN.origin}
    (folder / "stack.json").write_text(json.dumps({"prefect": section}))
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            prefect.server_command(port),
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**environment(folder, api), **server_variables(api, LOGIN)},
        )
    try:
        deadline = time.monotonic() + 120
        while not prefect.healthy(api):
            assert server.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        with patch.dict(os.environ, {"QAFILA_HOME": str(folder), VARIABLE: LOGIN.text}):
            yield api
    finally:
        server.terminate()
        server.wait(30)


def asked(api: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the API; return its JSON."""
    for _ in range(20):
        reply = ask(api, method, path, body, timeout_s=30)
        if reply.status_code != 503:  # its SQLite was locked for longer than it waits
            break
        time.sleep(0.5)
    assert reply.status_code < 300, reply.text
    return reply.json() if reply.content else None
