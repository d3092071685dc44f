"""Connect to Qdrant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a second of import time that only Qdrant's users should pay
    from qdrant_client import QdrantClient


def connect_qdrant(
    url: str | None = None,
    path: str | None = None,
    api_key: str | None = None,
    timeout_seconds: int = 30,
) -> QdrantClient:
    """Return a client; local mode when there is no address."""
    from qdrant_client import QdrantClient

    if url is None:
        return QdrantClient(":memory:") if path == ":memory:" else QdrantClient(path=path)
    return QdrantClient(url=url, api_key=api_key, timeout=timeout_seconds)
