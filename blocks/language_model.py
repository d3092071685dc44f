"""A service that answers /v1/chat/completions as OpenAI's does."""

from __future__ import annotations

from prefect.blocks.core import Block

from qafila.connections.settings import LanguageModelConnection


class LanguageModelEndpoint(LanguageModelConnection, Block):
    """An OpenAI-compatible language model: a provider, a gateway, or a server of your own."""

    _block_type_name = "Qafila language model endpoint"
    _block_type_slug = LanguageModelConnection.kind
    _description = "An OpenAI-compatible service that answers prompts."
