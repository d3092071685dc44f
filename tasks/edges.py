"""Find the router of a workload from the ledger alone: no Prefect, no secret in it."""

from __future__ import annotations

from qafila.core.workload import Workload
from qafila.errors import Refused
from tasks.ledger import Connection, list_workloads, read_workload
from tasks.recorded import Lookup, recorded_in
from tasks.routers.envoy import EnvoyRouter
from tasks.routers.port import Router

_SLUG = "qafila-envoy"


def install_routes(ledger: Connection, workload: Workload) -> EnvoyRouter:
    """Write the clusters and routes of a workload to its router; return the router.

    Weights stay as they are. With the same addresses installed already nothing changes.

    Raises:
        Refused: the router serves another workload, or the candidate has traffic and an address
            changed.
        BadInput: an address that the router cannot route to.
    """
    others = [
        name
        for name in list_workloads(ledger)
        if name != workload.name
        and read_workload(ledger, name)[0].service.router.places & workload.service.router.places
    ]
    if others:
        raise Refused(
            f"router {workload.service.router.block!r} serves {others[0]} already; "
            "one workload a router.",
            kept="its routes.",
            remedy="name another router in service.router.block.",
        )
    router = router_of(ledger, workload)
    assert isinstance(router, EnvoyRouter)
    service = workload.service
    share = router.candidate_percent_if_installed()
    if share and not router.serves(service.baseline.url, service.candidate.url):
        raise Refused(
            f"the candidate of {workload.name} has {share} % of the traffic at other addresses.",
            kept="routes and weights.",
            remedy=f"qafila rollback {workload.name}",
        )
    router.install(service.baseline.url, service.candidate.url)
    return router


def router_of(ledger: Connection, workload: Workload) -> Router:
    """Return the router that the workload names, by what the ledger recorded.

    Raises:
        Refused: its connection was never recorded, or is of another kind.
    """
    return router_from(workload, recorded_in(ledger))


def router_from(workload: Workload, find: Lookup) -> Router:
    """Return the router that the workload names; ``find`` knows connections, secrets apart.

    The way back without a ledger finds them on a rollback card.

    Raises:
        Refused: the connection is not known, or is of another kind.
    """
    name = workload.service.router.block
    found = find(name)
    if found is None or found.kind != _SLUG:
        raise Refused(
            f"there is no router {name!r} of kind {_SLUG!r} for {workload.name}.",
            remedy=f"create a block {_SLUG}/{name} in the Prefect UI, then: qafila apply FILE",
        )
    return EnvoyRouter(
        name,
        directory=found.settings["directory"],
        admin_url=found.settings["admin_url"],
        listen_url=found.settings["listen_url"],
    )
