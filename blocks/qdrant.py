"""A Qdrant server, or its local mode in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from qafila.connecting import connect_qdrant

if TYPE_CHECKING:  # a second of import time that only Qdrant's users should pay
    from qdrant_client import QdrantClient


class QdrantServer(Block):
    """A Qdrant server by address, 1.16 or newer; or local mode, one process, for tests."""

    _block_type_name = "Qafila Qdrant"
    _block_type_slug = "qafila-qdrant"
    _description = "A Qdrant server (or a local folder) that Qafila writes to."

    url: str | None = Field(None, description="http(s)://host:6333; empty for local mode.")
    path: str | None = Field(None, description="Folder for local mode; ':memory:' for a test.")
    api_key: SecretStr | None = Field(None, description="API key, when the server asks for one.")
    timeout_seconds: int = Field(30, ge=1, le=600, description="Longest wait for one call.")

    def client(self) -> QdrantClient:
        """Return a client; local mode when there is no address."""
        key = None if self.api_key is None else self.api_key.get_secret_value()
        return connect_qdrant(self.url, self.path, key, self.timeout_seconds)
