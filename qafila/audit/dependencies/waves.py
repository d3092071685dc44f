"""Migration waves: what moves when, why there, and which edges cross the border meanwhile.

A wave's members need only things of their own wave and of earlier ones: no binding edge leads
from an earlier wave to a later one. What crosses the border are the edges of those who stayed
behind to what has moved, until they follow; and for good those between what moved and a host that
is not ours. What leads to or from the internet at large, or a service of the cloud's that is made
anew in the target, pays before and after alike and is not listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qafila.audit.dependencies.criticality import Criticality
from qafila.audit.dependencies.graph import Graph, graph_of, inseparable
from qafila.audit.dependencies.kinds import HOST
from qafila.audit.dependencies.move_order import Group, order_groups
from qafila.audit.dependencies.reasons import Place, Reasons
from qafila.audit.estate import Edge, Resource

THRESHOLD = 0.5
LARGEST = 25


@dataclass(frozen=True)
class Position:
    """One thing's place in the plan, with its reason in one sentence."""

    id: str
    name: str
    reason: str


@dataclass(frozen=True)
class Crossing:
    """An edge that pays for the network from one wave on, until wave ``until``; None: for good."""

    edge: Edge
    until: int | None


@dataclass(frozen=True)
class Wave:
    """What moves in one go. ``crossing``: the edges that begin to cross the border with it."""

    number: int
    criticality: Criticality
    positions: tuple[Position, ...]
    crossing: tuple[Crossing, ...]
    reason: str

    @property
    def members(self) -> tuple[str, ...]:
        """Return the ids of what moves."""
        return tuple(p.id for p in self.positions)


@dataclass(frozen=True)
class WavePlan:
    """All waves in order, and in ``staying`` what is in none of them, with the reason."""

    waves: tuple[Wave, ...]
    staying: tuple[Position, ...]
    threshold: float

    def number_of(self, node: str) -> int | None:
        """Return the wave that a thing is in; None: it stays, or is not known."""
        return next((w.number for w in self.waves if node in w.members), None)

    def crossing_after(self, number: int) -> tuple[Crossing, ...]:
        """Return the edges across the border once this wave has moved, for good or for a time."""
        return tuple(
            crossing
            for wave in self.waves
            if wave.number <= number
            for crossing in wave.crossing
            if crossing.until is None or crossing.until > number
        )

    def as_rows(self) -> list[dict[str, Any]]:
        """Return one row for each thing that moves: wave, criticality, name, reason, id."""
        return [
            {
                "wave": w.number,
                "criticality": w.criticality.word,
                "name": p.name,
                "reason": p.reason,
                "id": p.id,
            }
            for w in self.waves
            for p in w.positions
        ]


def plan_waves(
    resources: Sequence[Resource],
    edges: Sequence[Edge],
    *,
    criticality_of: Mapping[str, str] | None = None,
    threshold: float = THRESHOLD,
    group_by_app: bool = False,
    largest: int = LARGEST,
) -> WavePlan:
    """Put everything that moves into exactly one wave, the least critical self-contained first.

    ``criticality_of``: low, medium or high by application or name, as workload files say it.
    ``threshold``: edges below this confidence inform and do not bind. ``largest``: members of a
    wave, where nothing inseparable is larger. The order of the input makes no difference.

    Raises:
        ValueError: ``threshold`` is not in (0, 1], or ``largest`` is below 1.
    """
    if not 0 < threshold <= 1 or largest < 1:
        raise ValueError("threshold must be in (0, 1], largest at least 1")
    graph = graph_of(resources, edges, threshold)
    parts = inseparable(graph, group_by_app)
    ordered = order_groups(graph, parts, criticality_of or {}, largest)
    places = {
        member: Place(number, group.members)
        for number, wave in enumerate(ordered, 1)
        for group in wave
        for member in group.members
    }
    reasons = Reasons(graph, places, threshold, group_by_app)
    crossing = _crossing(graph, places)
    return WavePlan(
        waves=tuple(
            _wave(number, groups, graph, reasons, crossing[number])
            for number, groups in enumerate(ordered, 1)
        ),
        staying=tuple(Position(node, graph.name(node), why) for node, why in graph.staying.items()),
        threshold=threshold,
    )


def _wave(
    number: int,
    groups: Sequence[Group],
    graph: Graph,
    reasons: Reasons,
    crossing: Sequence[Crossing],
) -> Wave:
    members = [m for group in groups for m in group.members]
    return Wave(
        number=number,
        criticality=groups[0].whole.criticality,
        positions=tuple(Position(m, graph.name(m), reasons.of(m)) for m in members),
        crossing=tuple(crossing),
        reason=reasons.of_wave(number, groups, [c.until for c in crossing]),
    )


def _crossing(graph: Graph, places: Mapping[str, Place]) -> Mapping[int, list[Crossing]]:
    found: defaultdict[int, list[Crossing]] = defaultdict(list)
    for edge in graph.binding:
        first, last = sorted((places[edge.from_id].wave, places[edge.to_id].wave))
        if first != last:
            found[first].append(Crossing(edge, last))
    for edge in graph.outward:
        mover, stays = edge.from_id, edge.to_id
        if mover not in places:
            mover, stays = stays, mover
        if stays.startswith(HOST):
            found[places[mover].wave].append(Crossing(edge, None))
    return found
