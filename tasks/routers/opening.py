"""Make the router that a workload names, from the ledger alone."""

from __future__ import annotations

from blocks import EnvoyEdge
from qafila.core.workload import Workload
from tasks.connections import connection
from tasks.ledger import Connection
from tasks.routers.envoy import EnvoyRouter


def open_router(ledger: Connection, workload: Workload) -> EnvoyRouter:
    """Return the workload's router; it needs no Prefect server.

    Raises:
        Refused: the router's connection was never recorded.
    """
    name = workload.service.router.block
    edge = connection(ledger, name, EnvoyEdge)
    return EnvoyRouter(
        name, directory=edge.directory, admin_url=edge.admin_url, listen_url=edge.listen_url
    )
