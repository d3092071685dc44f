"""Connect to Qdrant."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qafila.errors import Unavailable

if TYPE_CHECKING:  # a second of import time that only Qdrant's users should pay
    from httpx import Request, Response
    from qdrant_client import QdrantClient

_RESULT = re.compile(rb'"result"\s*+:\s*+(?!null\b)')  # what every answer but that of / has


class NoQdrantError(Exception):
    """What answers at an address is no Qdrant; the message names the address and the request."""


def connect_qdrant(
    url: str | None = None,
    path: str | None = None,
    api_key: str | None = None,
    timeout_seconds: int = 30,
) -> QdrantClient:
    """Return a client; local mode when there is no address. A server is not asked anything yet.

    What the client asks later raises ``NoQdrantError`` where something else answers with success.

    Raises:
        Unavailable: somebody has the folder of local mode open; says who. Nothing of it was read.
    """
    from qdrant_client import QdrantClient

    if url is not None:  # which versions are old enough to refuse is the store's to say
        client = QdrantClient(
            url=url, api_key=api_key, timeout=timeout_seconds, check_compatibility=False
        )
        client.http.client.add_middleware(_require_qdrant)
        return client
    if path is None or path == ":memory:":
        return QdrantClient(path)
    _require_free(Path(path))
    try:
        return QdrantClient(path=path)
    except RuntimeError:  # somebody was quicker
        raise _in_use(Path(path)) from None


def _require_free(folder: Path) -> None:
    """Ask for the lock that local mode takes, which does so only after it has read everything."""
    import portalocker

    with suppress(FileNotFoundError), (folder / ".lock").open("r+") as lock:
        try:
            portalocker.lock(lock, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.LockException:
            raise _in_use(folder) from None
        portalocker.unlock(lock)


def _in_use(folder: Path) -> Unavailable:
    """Return the refusal of a folder that is open; without a cause, since it is an answer.

    So no step waits for it as for a server that is away.
    """
    holder = _holder(folder / ".lock")
    who = "another process" if holder is None else f"another process ({holder})"
    stop = "end that process"
    if holder == os.getpid():
        who, stop = "this process", "give source and target folders of their own"
    return Unavailable(
        f"{who} has the Qdrant folder {folder} open already: local mode takes one.",
        kept="the folder; nothing of it was touched.",
        remedy=f"{stop}, load with one worker, or name a server by url in the connection.",
    )


def _holder(lock: Path) -> int | None:
    """Return the process that has a file locked, where Linux tells: by device and inode."""
    try:
        file, held = lock.stat(), Path("/proc/locks").read_text()
    except OSError:
        return None
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    found = re.search(rf"FLOCK .*? (\d+) {device}:{file.st_ino} ", held)
    return int(found[1]) if found else None


def _require_qdrant(request: Request, send: Callable[[Request], Response]) -> Response:
    """Name an answer that no Qdrant gives; the client itself would end in a bare assertion."""
    answer = send(request)
    known = _RESULT.search(answer.content) or b'"version"' in answer.content
    if answer.is_success and not known:
        where = f"{request.url.scheme}://{request.url.netloc.decode()}"
        raise NoQdrantError(
            f"what answers at {where} is no Qdrant: {request.method} {request.url.path} gave "
            f"{answer.status_code} and no result"
        )
    return answer
