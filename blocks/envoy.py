"""An Envoy that watches a folder for its clusters and routes."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field


class EnvoyEdge(Block):
    """One Envoy, configured through files; no secret in it."""

    _block_type_name = "Qafila Envoy edge"
    _block_type_slug = "qafila-envoy"
    _description = "An Envoy whose route weights Qafila moves through a watched folder."

    directory: str = Field(description="Folder that holds cds.json, rds.json and access.jsonl.")
    admin_url: str = Field(
        description="Envoy's admin address: unix:/path of its socket, or http:// on loopback."
    )
    listen_url: str = Field(description="Where users reach the service through this Envoy.")
