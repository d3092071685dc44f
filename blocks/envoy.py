"""An Envoy that watches a folder for its clusters and routes."""

from __future__ import annotations

from prefect.blocks.core import Block

from qafila.connections.settings import EnvoyConnection


class EnvoyEdge(EnvoyConnection, Block):
    """One Envoy, configured through files; no secret in it."""

    _block_type_name = "Qafila Envoy edge"
    _block_type_slug = EnvoyConnection.kind
    _description = "An Envoy whose route weights Qafila moves through a watched folder."
