"""Find the router of a workload from the ledger alone: no Prefect, no secret in it.

What a kind of router needs is imported where one is opened: boto3 and the Kubernetes client take
a second that an Envoy's user should not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from qafila.errors import QafilaError, Refused, Unavailable
from qafila.ledger.connections import NEEDED, Lookup, Recorded, recorded_in, secret_of
from qafila.ledger.ledger import Connection, list_workloads, read_workload
from qafila.routers.accepted_addresses import require_accepted
from qafila.routers.credential_hosts import bind_credential_hosts, require_credential_hosts
from qafila.routers.envoy.arms import arms_of
from qafila.routers.envoy.fleet import FleetRouter
from qafila.routers.envoy.router import EnvoyRouter
from qafila.routers.envoy.upstream_addresses import require_upstreams
from qafila.routers.highest_weight import read_highest_weight
from qafila.routers.port import Router, RouterState
from qafila.routers.sight import require_sight
from qafila.workload.model import Workload
from qafila.workload.router import AlbRouter, EnvoyFileRouter, GatewayApiRouter, Route53Router

__all__ = ["install_routes", "require_sight", "router_from", "router_of"]

_AWS_S = 10.0  # that one answer of AWS may take; a rollback waits for several


class _TakesOver(Router, Protocol):
    """A router whose arms exist already: it is checked and taken over, not written anew."""

    def install(self) -> RouterState: ...


def install_routes(ledger: Connection, workload: Workload) -> Router:
    """Make the workload's router ready, the candidate at weight 0; return the router.

    An Envoy gets clusters and routes; of any other router the rule, the records or the route are
    checked and taken over. Weights stay as they are. With all the same already nothing changes.

    Raises:
        Refused: the router serves another workload, or the candidate has traffic and an address
            changed, or nobody has accepted an address, or a credential file would go to a host
            that it is not for, or the account may not.
        BadInput: an address that the router cannot route to, that leads back into it or to a
            metadata service, or to loopback that the edge does not allow; or something that is
            not there.
    """
    places = workload.service.router.places
    others = [
        name
        for name in list_workloads(ledger)
        if name != workload.name and read_workload(ledger, name)[0].service.router.places & places
    ]
    if others:
        raise Refused(
            f"router {workload.service.router.block!r} serves {others[0]} already; "
            "one workload a router.",
            kept="its routes.",
            remedy="name another router in service.router.",
        )
    _require_nobody_left_behind(ledger, workload)
    router = router_of(ledger, workload)
    if not isinstance(router, EnvoyRouter | FleetRouter):
        cast(_TakesOver, router).install()
        return router
    arms = arms_of(workload.service)
    find = recorded_in(ledger)
    names = (workload.service.router.block, *getattr(workload.service.router, "members", ()))
    try:
        require_upstreams(
            {"baseline": arms[0], "candidate": arms[1]},
            {name: _recorded(workload, find, name).settings for name in names},
        )
        require_accepted(ledger, workload)
        require_credential_hosts(ledger, workload)
    except BaseException:
        router.close()
        raise
    share = router.candidate_percent_if_installed()
    if share and not router.serves(*arms):
        raise Refused(
            f"the candidate of {workload.name} has {share} % of the traffic at other addresses.",
            kept="routes and weights.",
            remedy=f"qafila rollback {workload.name}",
        )
    bind_credential_hosts(ledger, workload)
    router.install(*arms)
    return router


def _require_nobody_left_behind(ledger: Connection, workload: Workload) -> None:
    """Refuse another router while the one before sends users to the candidate.

    One that does not answer any more stands in nobody's way.
    """
    if workload.name not in list_workloads(ledger):
        return
    before, _ = read_workload(ledger, workload.name)
    if before.service.router.places <= workload.service.router.places:
        return
    try:
        router = router_of(ledger, before)
    except QafilaError:
        return
    try:
        share = read_highest_weight(router).candidate_percent
    except (Unavailable, Refused):
        return
    finally:
        router.close()
    if share:
        raise Refused(
            f"the router before, {before.service.router.block!r}, sends {share} % of the traffic "
            f"of {workload.name} to the candidate; nobody would bring that back.",
            kept="routes and weights.",
            remedy=f"qafila rollback {workload.name}, then apply the file again",
        )


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
        BadInput: a connection to Kubernetes that is not clear.
        Unavailable: its secret is not known here, or the Kubernetes client is not installed.
    """
    settings = workload.service.router
    match settings:
        case EnvoyFileRouter():
            first = _envoy(workload, find, settings.block)
            if not settings.members:
                return first
            others = [_envoy(workload, find, name) for name in settings.members]
            return FleetRouter(settings.block, [first, *others])
        case AlbRouter():
            from qafila.routers.aws.alb import AlbRouter as Alb

            return Alb(settings, _aws(_recorded(workload, find, settings.block)))
        case Route53Router():
            from qafila.routers.aws.route53 import Route53Router as Route53

            return Route53(settings, _aws(_recorded(workload, find, settings.block)))
        case GatewayApiRouter():
            return _http_route(settings, _recorded(workload, find, settings.block))


def _recorded(workload: Workload, find: Lookup, name: str) -> Recorded:
    kind = workload.service.router.kind
    slug, found = NEEDED[kind].kind, find(name)
    if found is None or found.kind != slug:
        raise Refused(
            f"there is no router {name!r} of kind {slug!r} for {workload.name}.",
            remedy=f"create a block {slug}/{name} in the Prefect UI, then: qafila apply FILE",
        )
    return found


def _envoy(workload: Workload, find: Lookup, name: str) -> EnvoyRouter:
    settings = _recorded(workload, find, name).settings
    return EnvoyRouter(
        name,
        directory=settings["directory"],
        admin_url=settings["admin_url"],
        listen_url=settings["listen_url"],
    )


def _aws(found: Recorded) -> Callable[..., Any]:
    from qafila.connections.aws import aws_session

    secret = secret_of(found) if found.has_secret else None
    return aws_session(**found.settings, secret_access_key=secret, read_timeout_s=_AWS_S)


def _http_route(settings: GatewayApiRouter, found: Recorded) -> Router:
    from qafila.connections.kubernetes import connect_kubernetes

    given = dict(found.settings)
    timeout_s = float(given.pop("timeout_seconds", 10))
    client = connect_kubernetes(**given)  # says what to install before its client is imported
    from qafila.routers.gateway_api.router import GatewayApiRouter as HttpRoute

    return HttpRoute(settings, client, timeout_s)
