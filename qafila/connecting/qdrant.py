"""Connect to Qdrant."""

from __future__ import annotations

import re
from collections.abc import Callable
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
        Unavailable: another process has the folder of local mode open.
    """
    from qdrant_client import QdrantClient

    if url is not None:  # which versions are old enough to refuse is the store's to say
        client = QdrantClient(
            url=url, api_key=api_key, timeout=timeout_seconds, check_compatibility=False
        )
        client.http.client.add_middleware(_require_qdrant)
        return client
    if path == ":memory:":
        return QdrantClient(":memory:")
    try:
        return QdrantClient(path=path)
    except RuntimeError as error:
        raise Unavailable(
            f"another process has the Qdrant folder {path} open: local mode takes one.",
            kept="nothing was touched.",
            remedy="load with one worker, or name a server by url in the connection.",
        ) from error


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
