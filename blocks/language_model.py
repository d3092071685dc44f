"""A service that answers /v1/chat/completions as OpenAI's does."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr


class LanguageModelEndpoint(Block):
    """An OpenAI-compatible language model: a provider, a gateway, or a server of your own."""

    _block_type_name = "Qafila language model endpoint"
    _block_type_slug = "qafila-language-model"
    _description = "An OpenAI-compatible service that answers prompts."

    url: str = Field(description="Address up to the version: https://host/v1.")
    api_key: SecretStr | None = Field(None, description="Key, when the service asks for one.")
    timeout_seconds: int = Field(120, ge=1, le=3600, description="Longest wait for one answer.")
