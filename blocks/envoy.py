"""An Envoy that watches a folder for its clusters and routes."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, field_validator

from qafila.core.routing import loopback_ports


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
    allowed_loopback: list[str] = Field(
        default_factory=list,
        description="Ports on loopback of Envoy's machine to which a workload may send users: "
        "8001, 8001-8010, or any. None: no workload may name loopback.",
    )

    @field_validator("allowed_loopback")
    @classmethod
    def _are_ports(cls, entries: list[str]) -> list[str]:
        for entry in entries:
            loopback_ports(entry)
        return entries
