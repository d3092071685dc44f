"""A Qdrant server, or its local mode in a folder."""

from __future__ import annotations

from prefect.blocks.core import Block

from qafila.connections.settings import QdrantConnection


class QdrantServer(QdrantConnection, Block):
    """A Qdrant server by address, 1.16 or newer; or local mode, one process, for tests."""

    _block_type_name = "Qafila Qdrant"
    _block_type_slug = QdrantConnection.kind
    _description = "A Qdrant server (or a local folder) that Qafila writes to."
