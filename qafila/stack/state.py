"""stack.json: what runs, where, since when. Written whole, by rename, under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from qafila import settings
from qafila.errors import Unavailable
from qafila.stack.processes import Recorded

PIECES = ("postgres", "prefect", "worker", "moto", "envoy", "watchdog")


@contextlib.contextmanager
def alone(doing: str) -> Iterator[None]:
    """Hold the home's lock, so that two `up` or `down` never work at once.

    Raises:
        Unavailable: another one is at work.
    """
    folder = settings.home()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".stack.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(
                f"another command is starting or stopping the stack in {folder}.",
                kept=f"everything; {doing} did nothing.",
                remedy="wait until it ends, then look: qafila doctor",
            ) from error
        yield


@contextlib.contextmanager
def _writing() -> Iterator[dict[str, Any]]:
    """Read, hand out, write back: short, and safe against other writers of stack.json."""
    file = settings.stack_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = settings.stack_state()
        yield state
        fresh = file.with_suffix(".new")
        with fresh.open("w") as output:
            json.dump(state, output, indent=2)
            output.flush()
            os.fsync(output.fileno())
        fresh.replace(file)


def mark() -> str:
    """Return the name of this stack, made once a home; its processes carry it."""
    with _writing() as state:
        return str(state.setdefault("id", uuid.uuid4().hex))


def record(piece: str, section: Mapping[str, Any]) -> None:
    """Replace one section of stack.json."""
    with _writing() as state:
        state[piece] = dict(section)


def record_service(name: str, process: Recorded, **facts: Any) -> None:
    """Add a process to what `qafila down` stops: the demo's own services, for instance."""
    with _writing() as state:
        state.setdefault("services", {})[name] = {**process.section(), **facts}


def forget_service(name: str) -> None:
    """Take a service out of what `qafila down` stops, because it was stopped already."""
    with _writing() as state:
        state.get("services", {}).pop(name, None)


def forget_running() -> None:
    """Drop every section that says something runs; keep ports and what is registered."""
    with _writing() as state:
        for piece in (*PIECES, "services"):
            state.pop(piece, None)


def recorded(piece: str) -> Recorded | None:
    """Return the process recorded for a piece, alive or not."""
    return Recorded.read(settings.stack_state().get(piece))


def services() -> dict[str, Recorded]:
    """Return the extra processes that `qafila down` has to stop."""
    entries = settings.stack_state().get("services", {})
    return {name: r for name, e in entries.items() if (r := Recorded.read(e)) is not None}
