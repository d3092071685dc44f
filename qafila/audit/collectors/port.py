"""The port of all collectors: read one service in one place, and say what was not seen.

A collector reads through a :class:`Look`, adds what it finds to ``found`` and ``edges``, and never
catches an error itself: a refused call becomes an outcome here, and what was read before it is
kept. Absence of permission is never absence of resources.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from qafila.audit.bounds import bounded
from qafila.audit.estate import Collected, Edge, Outcome, Resource, worst_outcome

Of = Literal["aws", "kubernetes", "postgres", "prometheus"]
_NAMED = 5  # of what could not be seen for one reason; the others are counted


class Look(ABC):
    """What one collector sees in one place: a region, a cluster, a server.

    Subclasses know their system's errors; ``calls`` counts every request that leaves. ``account``
    is the AWS account's number, empty elsewhere. ``over``: nothing more can be read here, so the
    collector ends with what it has.
    """

    def __init__(self, region: str, account: str = "") -> None:
        self.region = region
        self.account = account
        self.found: list[Resource] = _Found(self._cut)
        self.edges: list[Edge] = []
        self.calls = 0
        self.over = False
        self._depth = 0
        self._gaps: dict[tuple[Outcome, str], _Gap] = {}

    @abstractmethod
    def outcome_of(self, error: Exception) -> tuple[Outcome, str] | None:
        """Return what an error of the system means and says; None: it is our own, let it rise."""

    def missed(self, outcome: Outcome, why: str, what: str = "") -> None:
        """Note what could not be seen and why; the worst note decides the outcome."""
        self._gaps.setdefault((outcome, why), _Gap()).add(what)

    @contextmanager
    def tolerating(self, what: str) -> Iterator[None]:
        """Go on with the next thing when ``what`` cannot be read; it is noted, never skipped.

        Where nothing more can be read at all (``over``), the whole collector ends instead.
        """
        self._depth += 1
        try:
            yield
        except Exception as error:
            if not self.over or not isinstance(error, _Ended):
                told = self.outcome_of(error)
                if told is None:
                    raise
                self.missed(*told, what)
            if self.over and self._depth > 1:
                raise _Ended from error
        finally:
            self._depth -= 1

    def take_in(self, look: Look) -> None:
        """Add what another look at the same place found and missed."""
        list.extend(self.found, look.found)  # within bounds already
        self.edges.extend(look.edges)
        for reason, gap in look._gaps.items():
            self._gaps.setdefault(reason, _Gap()).merge(gap)
        self.over = self.over or look.over

    def collected(self, name: str) -> Collected:
        """Return what was seen and how far that reaches."""
        return Collected(
            collector=name,
            region=self.region,
            outcome=worst_outcome(outcome for outcome, _ in self._gaps),
            resources=tuple({r.id: replace(r, account=self.account) for r in self.found}.values()),
            edges=tuple(dict.fromkeys(self.edges)),
            calls=self.calls,
            missed="; ".join(gap.says(why) for (_, why), gap in self._gaps.items()),
            account=self.account,
        )

    def _cut(self, resource: Resource, cuts: Iterable[str]) -> None:
        for what in cuts:
            self.missed(
                Outcome.COMPLETE,
                "longer than is kept; cut, with a mark",
                f"{what} of {resource.id}",
            )


class _Ended(Exception):
    """Nothing more can be read; what there is to say is noted already."""


class _Gap:
    """What was missed for one reason: the first few by name, the others counted."""

    def __init__(self) -> None:
        self.count = 0
        self.names: dict[str, None] = {}

    def add(self, name: str) -> None:
        if name in self.names:
            return
        self.count += 1
        if name and len(self.names) < _NAMED:
            self.names[name] = None

    def merge(self, other: _Gap) -> None:
        for name in other.names:
            self.add(name)
        self.count += other.count - len(other.names)

    def says(self, why: str) -> str:
        if not self.names:
            return why
        more = self.count - len(self.names)
        return ", ".join(self.names) + (f" and {more} more" if more > 0 else "") + f": {why}"


class _Found(list[Resource]):
    """A list that keeps each resource within bounds as it comes."""

    def __init__(self, cut: Callable[[Resource, Iterable[str]], None]) -> None:
        super().__init__()
        self._tell = cut

    def append(self, resource: Resource) -> None:
        kept, cuts = bounded(resource)
        self._tell(kept, cuts)
        super().append(kept)

    def extend(self, resources: Iterable[Resource]) -> None:
        for resource in resources:
            self.append(resource)

    def __iadd__(self, resources: Iterable[Resource]) -> _Found:  # type: ignore[override, misc]
        self.extend(resources)
        return self


@dataclass(frozen=True)
class Collector:
    """One registered collector. ``actions`` is what its read-only policy must allow (AWS alone).

    ``read`` takes the kind of :class:`Look` that belongs to ``of``. ``scope``: read in every
    region, or once for the whole account. ``each``: it asks again for each of the many things that
    it lists, so its permitted rate decides how long an audit takes, and it is begun first.
    """

    name: str
    of: Of
    scope: Literal["region", "account"]
    actions: tuple[str, ...]
    read: Callable[[Any], None]
    each: bool = False

    def collect(self, look: Look) -> Collected:
        """Return what this collector sees. Raises nothing that a service causes."""
        with look.tolerating(self.name):
            self.read(look)
        collected = look.collected(self.name)
        return replace(collected, region="") if self.scope == "account" else collected
