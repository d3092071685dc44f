"""Why a thing stands where it stands in the plan, in one sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qafila.audit.dependencies.derived_edges import app_of
from qafila.audit.dependencies.graph import Graph, components
from qafila.audit.dependencies.kinds import VERBS, EdgeKind
from qafila.audit.dependencies.move_order import Group
from qafila.audit.estate import Edge

_NAMED = 3
_WEAK_NAMED = 2


@dataclass(frozen=True)
class Place:
    """The wave that a thing is in, and what it cannot be parted from, itself among it."""

    wave: int
    group: tuple[str, ...]


class Reasons:
    """Says why, from the finished order; one sentence for each thing and each wave."""

    def __init__(
        self, graph: Graph, places: Mapping[str, Place], threshold: float, group_by_app: bool
    ) -> None:
        self._graph = graph
        self._group_by_app = group_by_app
        self._places = places
        self._threshold = threshold
        self._needs: defaultdict[str, list[Edge]] = defaultdict(list)
        self._needed: defaultdict[str, list[Edge]] = defaultdict(list)
        self._weak: defaultdict[str, list[Edge]] = defaultdict(list)
        self._outward: defaultdict[str, list[Edge]] = defaultdict(list)
        for edge in graph.outward:
            self._outward[edge.from_id].append(edge)
            self._outward[edge.to_id].append(edge)
        for edge in graph.binding:
            self._needs[edge.from_id].append(edge)
            self._needed[edge.to_id].append(edge)
        bound = {(e.from_id, e.to_id) for e in graph.binding}
        for edge in graph.weak:
            if (edge.from_id, edge.to_id) in bound or edge.from_id == edge.to_id:
                continue
            self._weak[edge.from_id].append(edge)
            self._weak[edge.to_id].append(edge)
        arrows = [(e.from_id, e.to_id) for e in graph.binding]
        circles = [c for c in components(graph.moving, arrows) if len(c) > 1]
        self._circle = {member: (n, c) for n, c in enumerate(circles) for member in c}
        self._kinds: defaultdict[int, set[str]] = defaultdict(set)
        for edge in graph.binding:
            start, end = self._circle.get(edge.from_id), self._circle.get(edge.to_id)
            if start is not None and end is not None and start[0] == end[0]:
                self._kinds[start[0]].add(edge.kind)

    def of(self, node: str) -> str:
        """Return why a thing is in its wave."""
        place = self._places[node]
        said = [self._inseparable(node, place.group)] if len(place.group) > 1 else []
        outside = [e for e in self._needs[node] if not self._inside(e.to_id, place)]
        earlier = [e for e in outside if self._places[e.to_id].wave < place.wave]
        beside = [e for e in outside if self._places[e.to_id].wave == place.wave]
        asked = [e for e in self._needed[node] if not self._inside(e.from_id, place)]
        if earlier:
            said.append(self._after(earlier))
        elif beside:
            said.append(f"with {self._names(beside, 'to_id')}: {self._tell(beside[0])}")
        if not outside and asked:
            said.append(self._before(place.wave, asked))
        if not said:
            said.append(self._alone(node))
        return "; ".join([*said, *self._weak_signs(node)])

    def of_wave(self, number: int, groups: Sequence[Group], until: Sequence[int | None]) -> str:
        """Return why a wave is where it is, what it needs, and what it makes cross the border."""
        whole = groups[0].whole
        members = [m for g in groups for m in g.members]
        things = "1 thing" if len(members) == 1 else f"{len(members)} things"
        before = "" if whole.production else ", before production"
        whose = self._graph.name(whole.whose)
        of = whose if whole.whose in members else f"it cannot go before {whose}"
        return (
            f"{whole.criticality.word} criticality{before} ({of}: {whole.why}); "
            f"{things}, {self._needed_by(number, members)}; {_crossing(until)}"
        )

    def _needed_by(self, number: int, members: Sequence[str]) -> str:
        """Say what a wave needs: earlier waves, and what stays where it is."""
        waves = sorted(
            {
                wave
                for m in members
                for e in self._needs[m]
                if (wave := self._places[e.to_id].wave) != number
            }
        )
        stays = sorted({e.to_id for m in members for e in self._outward[m] if e.from_id == m})
        named = f"what stays ({self._listed(stays)})" if stays else ""
        if waves:
            return f"needs only {_waves(waves)}" + (f" and {named}" if named else "")
        return "needs nothing outside itself" + (f" but {named}" if named else "")

    def _alone(self, node: str) -> str:
        """Say that nothing that moves hangs on it; name what stays and does, or is needed."""
        outward = self._outward[node]
        if not outward:
            return "alone: nothing depends on it"
        more = len(outward) - _WEAK_NAMED
        told = ", ".join(self._tell(e) for e in outward[:_WEAK_NAMED])
        also = f" and {more} more" if more > 0 else ""
        return f"alone: nothing that moves depends on it ({told}{also})"

    def _inside(self, node: str, place: Place) -> bool:
        return self._places[node].group[0] == place.group[0]

    def _inseparable(self, node: str, group: Sequence[str]) -> str:
        number, circle = self._circle.get(node, (-1, ()))
        if circle:
            kinds = self._kinds[number]
            how = "they call each other"
            if kinds != {EdgeKind.CALLS}:
                how = f"they need each other ({', '.join(sorted(kinds))})"
            if len(circle) > 2:
                how += ", directly or around a circle"
            return f"goes with {self._listed(circle, without=node)}: {how}"
        attached = [
            e.to_id if e.from_id == node else e.from_id
            for e in (*self._needs[node], *self._needed[node])
            if e.kind == EdgeKind.ATTACHES
        ]
        if attached:
            return f"goes with {self._listed(attached)}: one is attached to the other"
        resource = self._graph.resources.get(node)
        app = app_of(resource) if resource is not None and self._group_by_app else ""
        return f"goes with {self._listed(group, without=node)}: " + (
            f"all of application {app} moves together"
            if app and all(self._app(m) == app for m in group)
            else "none can move without the others"
        )

    def _app(self, node: str) -> str:
        resource = self._graph.resources.get(node)
        return "" if resource is None else app_of(resource)

    def _after(self, earlier: Sequence[Edge]) -> str:
        last = max(self._places[e.to_id].wave for e in earlier)
        there = [e for e in earlier if self._places[e.to_id].wave == last]
        more = len({e.to_id for e in earlier} - {there[0].to_id})
        also = f", as {more} more of what it needs do there or earlier" if more else ""
        return f"after wave {last}: {self._tell(there[0])}, which stands there{also}"

    def _before(self, wave: int, asked: Sequence[Edge]) -> str:
        later = [e for e in asked if self._places[e.from_id].wave > wave]
        beside = [e for e in asked if self._places[e.from_id].wave == wave]
        if beside:
            return f"with {self._names(beside, 'from_id')}: {self._tell(beside[0])}"
        last = max(later, key=lambda e: self._places[e.from_id].wave)
        until = self._places[last.from_id].wave
        more = len({e.from_id for e in later} - {last.from_id})
        also = f", as {more} more do until then or earlier" if more else ""
        return (
            f"before what needs it: {self._tell(last)}, across the border until wave {until}{also}"
        )

    def _weak_signs(self, node: str) -> list[str]:
        """Name what is known and did not decide; a shared tag only where nothing else is known."""
        signs = [e for e in self._weak[node] if e.kind != EdgeKind.SAME_TAG]
        if not signs and not (self._needs[node] or self._needed[node]):
            signs = list(self._weak[node])
        signs.sort(key=lambda e: (-e.confidence, e.from_id, e.to_id, e.kind))
        below = [e for e in signs if e.confidence < self._threshold]
        never = [e for e in signs if e.confidence >= self._threshold]
        said = [
            (f"known but not binding below {self._threshold:.2f}: ", below),
            ("known but of a kind that never binds: ", never),
        ]
        return [words + self._signs(node, found) for words, found in said if found]

    def _signs(self, node: str, signs: Sequence[Edge]) -> str:
        told = [
            f"{e.kind} "
            + (
                f"to {self._graph.name(e.to_id)}"
                if e.from_id == node
                else f"from {self._graph.name(e.from_id)}"
            )
            + f" ({e.confidence:.2f})"
            for e in signs[:_WEAK_NAMED]
        ]
        more = len(signs) - len(told)
        return ", ".join(told) + (f" and {more} more" if more else "")

    def _tell(self, edge: Edge) -> str:
        name = self._graph.name
        return f"{name(edge.from_id)} {VERBS.get(edge.kind, edge.kind)} {name(edge.to_id)}"

    def _names(self, edges: Sequence[Edge], end: str) -> str:
        return self._listed([getattr(e, end) for e in edges])

    def _listed(self, nodes: Sequence[str], without: str | None = None) -> str:
        """Name the first few; ``without`` is one of them that is spoken of already."""
        first = list(dict.fromkeys(n for n in nodes[: _NAMED * 4] if n != without))[:_NAMED]
        names = [self._graph.name(n) for n in first]
        distinct = len(nodes) if len(nodes) > _NAMED * 4 else len(set(nodes))
        more = distinct - len(first) - (without is not None)
        if more > 0:
            return f"{', '.join(names)} and {more} more"
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _waves(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"wave {numbers[0]}"
    if len(numbers) > 5:
        return f"{len(numbers)} earlier waves"
    return f"waves {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _crossing(until: Sequence[int | None]) -> str:
    if not until:
        return "nothing begins to cross the border"
    said = []
    for_a_time = [u for u in until if u is not None]
    if for_a_time:
        latest = "" if len(set(for_a_time)) == 1 else " at the latest"
        said.append(
            f"{_edges(len(for_a_time))} across the border until wave {max(for_a_time)}{latest}"
        )
    if for_good := len(until) - len(for_a_time):
        said.append(f"{_edges(for_good)} across it for good")
    return " and ".join(said)


def _edges(count: int) -> str:
    return "1 edge goes" if count == 1 else f"{count} edges go"
