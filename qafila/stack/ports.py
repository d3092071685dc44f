"""Loopback ports: chosen once, remembered, and never taken from somebody else."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

# Below the range that Linux hands out for outgoing connections (32768 and up), so that a
# remembered port is not taken by a chance connection before the next start.
_RANGE = range(18_000, 32_000)

VARIABLES = {
    "prefect": "QAFILA_PORT_PREFECT",
    "moto": "QAFILA_PORT_MOTO",
    "edge": "QAFILA_PORT_EDGE",
}


@dataclass(frozen=True)
class Choice:
    """Ports by piece, and one sentence for each that was asked for and cannot be had."""

    ports: dict[str, int]
    problems: tuple[str, ...]


def is_free(port: int) -> bool:
    """Say whether a server could bind this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Name the process that listens on a port, as far as we may see it."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or tuple(connection.laddr)[1:] != (port,):
                continue
            if connection.pid is None:
                break
            return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "a process of another user"


def choose(remembered: Mapping[str, int], running: Mapping[str, int]) -> Choice:
    """Choose a port for every piece.

    A running piece keeps its own. Else the user's variable decides, and must be free; else the
    remembered port, when it is still free; else another one.
    """
    chosen: dict[str, int] = dict(running)
    problems = []
    for piece, variable in VARIABLES.items():
        text = os.environ.get(variable, "").strip()
        wanted = _as_port(text)
        if text and wanted is None:
            problems.append(f"{variable}={text!r} is not a port; use a number from 1024 to 65535.")
        elif piece in running:
            if wanted not in (None, running[piece]):
                problems.append(
                    f"{variable}={wanted}, but {piece} runs on port {running[piece]}. "
                    f"Stop it first: qafila down"
                )
        elif wanted is not None and wanted in chosen.values():
            problems.append(f"{variable}={wanted} is already meant for another piece; change one.")
        elif wanted is not None and not is_free(wanted):
            problems.append(
                f"port {wanted}, asked for with {variable}, is in use by {holder(wanted)}. "
                f"Stop that, or unset {variable} to let a free port be chosen."
            )
        else:
            old = remembered.get(piece)
            keep = old is not None and old not in chosen.values() and is_free(old)
            chosen[piece] = wanted or (old if keep and old else another(chosen))
    return Choice(chosen, tuple(problems))


def _as_port(text: str) -> int | None:
    return int(text) if text.isdecimal() and 1024 <= int(text) <= 65535 else None


def another(taken: Mapping[str, int]) -> int:
    """Return a free loopback port that is none of those taken."""
    while True:
        port = random.choice(_RANGE)
        if port not in taken.values() and is_free(port):
            return port
