"""Install a workload's routes as a person would who accepts the addresses that it names."""

from __future__ import annotations

from qafila.core.workload import Workload
from tasks import edges
from tasks.accepted_addresses import accept_addresses, addresses_of
from tasks.ledger import Connection
from tasks.routers.port import Router


def install_routes(ledger: Connection, workload: Workload) -> Router:
    """Accept the addresses of a workload, then write its routes."""
    accept_addresses(ledger, workload, addresses_of(workload))
    return edges.install_routes(ledger, workload)
