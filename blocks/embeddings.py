"""A service that answers /v1/embeddings as OpenAI's does."""

from __future__ import annotations

from prefect.blocks.core import Block

from qafila.connections.settings import EmbeddingConnection


class EmbeddingEndpoint(EmbeddingConnection, Block):
    """An OpenAI-compatible embedding service: a provider, a gateway, or a server of your own."""

    _block_type_name = "Qafila embedding endpoint"
    _block_type_slug = EmbeddingConnection.kind
    _description = "An OpenAI-compatible service that turns texts into vectors."
