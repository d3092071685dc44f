"""Where collectors look: regions of accounts, clusters, databases, servers of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from qafila.audit.collectors import (
    Collector,
    Limits,
    Look,
    collectors_of,
    kubernetes_cluster,
    prometheus_server,
)
from qafila.audit.collectors.kubernetes_cluster import Cluster, ClusterLimits
from qafila.audit.collectors.pace import Pacing
from qafila.audit.collectors.postgres_server import Server
from qafila.audit.collectors.prometheus_server import Metrics
from qafila.audit.collectors.read import aws_places
from qafila.audit.sources import Sources


class Place:
    """One place and how to look at it; each collector gets a look of its own.

    ``name`` is for people; ``region`` and ``account`` are what an outcome is filed under. Not a
    dataclass: Prefect would walk through its fields on the way into a task.
    """

    __slots__ = ("_open", "account", "collectors", "name", "region")

    def __init__(
        self,
        region: str,
        collectors: tuple[Collector, ...],
        open_: Callable[[], AbstractContextManager[Look]],
        account: str = "",
    ) -> None:
        self.region = region
        self.account = account
        self.name = f"{account} {region}".strip()
        self.collectors = collectors
        self._open = open_

    def look(self) -> AbstractContextManager[Look]:
        """Return a new look at this place."""
        return self._open()


def places_of(sources: Sources, regions: list[str], pages: int) -> list[Place]:
    """Return every place that is named, with the collectors that look at it.

    Of AWS, each account is asked for its number and its regions; whatever it refuses there shows
    in the outcomes of its collectors.

    Raises:
        BadInput: a role leads to the account that is read directly.
    """
    return [*_aws(sources, regions, pages), *_elsewhere(sources, pages)]


def _aws(sources: Sources, regions: list[str], pages: int) -> Iterator[Place]:
    if sources.account is None:
        return
    _, block = sources.account
    for place in aws_places(block, regions, limits=Limits(pages=pages)):
        yield Place(
            place.region, place.collectors, partial(_plain, place.look), account=place.account
        )


def _elsewhere(sources: Sources, pages: int) -> Iterator[Place]:
    """Yield places outside AWS; all looks at one of them keep one pace."""
    for name, cluster, namespaces in sources.kubernetes:
        look = partial(
            Cluster,
            cluster.client(),
            name,
            namespaces=namespaces,
            limits=ClusterLimits(pages=pages),
            pacing=Pacing(kubernetes_cluster.RATES, share=1),
        )
        yield Place(name, collectors_of("kubernetes"), partial(_plain, look))
    for name, database in sources.postgres:
        secret = None if database.password is None else database.password.get_secret_value()
        wait = database.connect_timeout_seconds
        yield Place(
            name,
            collectors_of("postgres"),
            partial(Server, name, database.url, secret, connect_timeout_seconds=wait),
        )
    for address, header_file in sources.prometheus:
        pacing = Pacing(prometheus_server.RATES, share=1)
        ask = partial(Metrics, address, header_file=header_file, pacing=pacing)
        yield Place(address, collectors_of("prometheus"), ask)


def _plain(look: Callable[[], Look]) -> AbstractContextManager[Look]:
    """Return a look that needs no closing."""
    return nullcontext(look())
