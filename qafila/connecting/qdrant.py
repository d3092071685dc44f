"""Connect to Qdrant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qafila.errors import Unavailable

if TYPE_CHECKING:  # a second of import time that only Qdrant's users should pay
    from qdrant_client import QdrantClient


def connect_qdrant(
    url: str | None = None,
    path: str | None = None,
    api_key: str | None = None,
    timeout_seconds: int = 30,
) -> QdrantClient:
    """Return a client; local mode when there is no address. A server is not asked anything yet.

    Raises:
        Unavailable: another process has the folder of local mode open.
    """
    from qdrant_client import QdrantClient

    if url is not None:  # which versions are old enough to refuse is the store's to say
        return QdrantClient(
            url=url, api_key=api_key, timeout=timeout_seconds, check_compatibility=False
        )
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
