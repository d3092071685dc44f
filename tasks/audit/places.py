"""Where collectors look: regions of an account, clusters, databases, servers of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from tasks.audit.sources import Sources
from tasks.collectors import COLLECTORS, Account, Collector, Limits, Look


class Place:
    """One place and how to look at it; each collector gets a look of its own.

    Not a dataclass: Prefect would walk through its fields on the way into a task.
    """

    __slots__ = ("_open", "collectors", "name")

    def __init__(
        self,
        name: str,
        collectors: tuple[Collector, ...],
        open_: Callable[[], AbstractContextManager[Look]],
    ) -> None:
        self.name = name
        self.collectors = collectors
        self._open = open_

    def look(self) -> AbstractContextManager[Look]:
        """Return a new look at this place."""
        return self._open()


def places_of(sources: Sources, regions: list[str], pages: int) -> Iterator[Place]:
    """Yield every place that is named, with the collectors that look at it.

    What belongs to a whole account is looked at once, in its first region.
    """
    if sources.account is not None:
        _, account = sources.account
        session = account.session()
        wanted = regions or account.regions
        for region in wanted:
            look = partial(
                Account, session, region,
                endpoint_url=account.endpoint_url, limits=Limits(pages=pages),
            )  # fmt: skip
            collectors = [c for c in COLLECTORS if c.scope == "region" or region == wanted[0]]
            yield Place(region, tuple(collectors), partial(_plain, look))


def _plain(look: Callable[[], Look]) -> AbstractContextManager[Look]:
    """Return a look that needs no closing."""
    return nullcontext(look())
