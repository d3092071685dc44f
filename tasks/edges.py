"""Find the router of a workload from the ledger alone: no Prefect, no secret in it."""

from __future__ import annotations

from qafila.core.workload import Workload
from qafila.errors import Refused
from qafila.sql import statement
from tasks.ledger import Connection
from tasks.routers.envoy import EnvoyRouter

_SLUG = "qafila-envoy"


def router_of(ledger: Connection, workload: Workload) -> EnvoyRouter:
    """Return the router that the workload names.

    Raises:
        Refused: its connection was never recorded, or is of another kind.
    """
    name = workload.service.router.block
    row = ledger.execute(statement("ledger", "get_connection"), {"name": name}).fetchone()
    if row is None or row[0] != _SLUG:
        raise Refused(
            f"there is no router {name!r} of kind {_SLUG!r} for {workload.name}.",
            remedy=f"create a block {_SLUG}/{name} in the Prefect UI, then: qafila apply FILE",
        )
    settings = row[1]
    return EnvoyRouter(
        name,
        directory=settings["directory"],
        admin_url=settings["admin_url"],
        listen_url=settings["listen_url"],
    )
