"""The port of all collectors: read one service in one place, and say what was not seen.

A collector reads through a :class:`Look`, adds what it finds to ``found`` and ``edges``, and never
catches an error itself: a refused call becomes an outcome here, and what was read before it is
kept. Absence of permission is never absence of resources.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from qafila.core.estate import Collected, Edge, Outcome, Resource, worst_outcome

Of = Literal["aws", "kubernetes", "postgres", "prometheus"]


class Look(ABC):
    """What one collector sees in one place: a region, a cluster, a server.

    Subclasses know their system's errors; ``calls`` counts every request that leaves.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        self.found: list[Resource] = []
        self.edges: list[Edge] = []
        self.calls = 0
        self._gaps: list[tuple[Outcome, str]] = []

    @abstractmethod
    def outcome_of(self, error: Exception) -> tuple[Outcome, str] | None:
        """Return what an error of the system means and says; None: it is our own, let it rise."""

    def missed(self, outcome: Outcome, what: str) -> None:
        """Note what could not be seen; the worst note decides the outcome."""
        self._gaps.append((outcome, what))

    @contextmanager
    def tolerating(self, what: str) -> Iterator[None]:
        """Go on with the next thing when ``what`` cannot be read; it is noted, never skipped."""
        try:
            yield
        except Exception as error:
            told = self.outcome_of(error)
            if told is None:
                raise
            outcome, said = told
            self.missed(outcome, f"{what}: {said}")

    def collected(self, name: str) -> Collected:
        """Return what was seen and how far that reaches."""
        return Collected(
            collector=name,
            region=self.region,
            outcome=worst_outcome(outcome for outcome, _ in self._gaps),
            resources=tuple({r.id: r for r in self.found}.values()),
            edges=tuple(dict.fromkeys(self.edges)),
            calls=self.calls,
            missed="; ".join(what for _, what in self._gaps),
        )


@dataclass(frozen=True)
class Collector:
    """One registered collector. ``actions`` is what its read-only policy must allow (AWS alone).

    ``read`` takes the kind of :class:`Look` that belongs to ``of``. ``scope``: read in every
    region, or once for the whole account.
    """

    name: str
    of: Of
    scope: Literal["region", "account"]
    actions: tuple[str, ...]
    read: Callable[[Any], None]

    def collect(self, look: Look) -> Collected:
        """Return what this collector sees. Raises nothing that a service causes."""
        with look.tolerating(self.name):
            self.read(look)
        collected = look.collected(self.name)
        return replace(collected, region="") if self.scope == "account" else collected
