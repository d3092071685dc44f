"""Install a workload's routes as a person would who accepts the addresses that it names."""

from __future__ import annotations

from qafila.ledger.ledger import Connection
from qafila.routers import lookup as edges
from qafila.routers.accepted_addresses import accept_addresses, addresses_of
from qafila.routers.port import Router
from qafila.workload.model import Workload


def install_routes(ledger: Connection, workload: Workload) -> Router:
    """Accept the addresses of a workload, then write its routes."""
    accept_addresses(ledger, workload, addresses_of(workload))
    return edges.install_routes(ledger, workload)
