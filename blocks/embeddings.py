"""A service that answers /v1/embeddings as OpenAI's does."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr


class EmbeddingEndpoint(Block):
    """An OpenAI-compatible embedding service: a provider, a gateway, or a server of your own."""

    _block_type_name = "Qafila embedding endpoint"
    _block_type_slug = "qafila-embeddings"
    _description = "An OpenAI-compatible service that turns texts into vectors."

    url: str = Field(description="Address up to the version: https://host/v1.")
    api_key: SecretStr | None = Field(None, description="Key, when the service asks for one.")
    timeout_seconds: int = Field(30, ge=1, le=600, description="Longest wait for one answer.")
