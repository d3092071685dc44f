"""Every sentence of a plan is held against the graph that it speaks of."""

from __future__ import annotations

import re
from collections.abc import Callable

import networkx as nx
from hypothesis import given, settings

from qafila.audit.dependencies.combined_edges import combine
from qafila.audit.dependencies.kinds import NEVER_BINDS, VERBS
from qafila.audit.dependencies.waves import WavePlan, plan_waves
from qafila.audit.estate import Edge, Resource
from tests.unit.audit.dependencies.test_waves import ESTATES, thing

_VERBS = "|".join(sorted(map(re.escape, VERBS.values()), key=len, reverse=True))
_TOLD = rf"(?P<start>\w+) (?P<verb>{_VERBS}) (?P<end>\w+)"
_NAMES = r"(?P<names>[\w, ]+?)"
_ID = {"s": "service:s", "h": "host:h"}


def ids(said: str) -> tuple[set[str], int]:
    """Return the ids that a list of names names, and how many it only counts."""
    counted = re.search(r" and (\d+) more$", said)
    names = re.split(r", | and ", said[: counted.start()] if counted else said)
    return {_ID.get(n, n) for n in names}, int(counted[1]) if counted else 0


class Facts:
    """What a sentence may be held against, found anew from resources and edges."""

    def __init__(
        self,
        plan: WavePlan,
        resources: list[Resource],
        edges: list[Edge],
        threshold: float,
        by_app: bool,
    ) -> None:
        self.threshold = threshold
        self.tags = {r.id: dict(r.tags) for r in resources}
        self.wave = {m: w.number for w in plan.waves for m in w.members}
        self.edges = [e for e in combine(edges) if e.from_id != e.to_id]
        strong = [e for e in self.edges if e.confidence >= threshold and e.kind not in NEVER_BINDS]
        self.binding = [e for e in strong if {e.from_id, e.to_id} <= self.wave.keys()]
        self.outward = [e for e in strong if (e.from_id in self.wave) != (e.to_id in self.wave)]
        drawn = nx.DiGraph([(e.from_id, e.to_id) for e in self.binding])
        self.held = drawn.copy()  # with what cannot be parted: attached, and of one application
        self.held.add_nodes_from(self.wave)
        self.held.add_edges_from((e.to_id, e.from_id) for e in self.binding if e.kind == "attaches")
        for app in {tags["app"] for tags in self.tags.values() if by_app and "app" in tags}:
            nx.add_cycle(self.held, [m for m, tags in self.tags.items() if tags.get("app") == app])
        self.circle: dict[str, set[str]] = {
            m: c for c in nx.strongly_connected_components(drawn) for m in c
        }

    def told(self, found: re.Match[str], among: list[Edge]) -> Edge:
        start, end = (_ID.get(found[k], found[k]) for k in ("start", "end"))
        kinds = {k for k, verb in VERBS.items() if verb == found["verb"]}
        [edge, *_] = [e for e in among if (e.from_id, e.to_id) == (start, end) and e.kind in kinds]
        return edge

    def needs(self, node: str) -> set[str]:
        return {e.to_id for e in self.binding if e.from_id == node}

    def asked_by(self, node: str) -> set[str]:
        return {e.from_id for e in self.binding if e.to_id == node}


def circle(facts: Facts, node: str, found: re.Match[str]) -> None:
    named, counted = ids(found["names"])
    ring = facts.circle[node]
    assert named < ring
    assert node not in named
    assert len(named) + counted == len(ring) - 1
    kinds = {str(e.kind) for e in facts.binding if {e.from_id, e.to_id} <= ring}
    assert kinds == ({"calls"} if found["kinds"] is None else set(found["kinds"].split(", ")))
    assert (found["around"] is None) == (len(ring) == 2)


def attached(facts: Facts, node: str, found: re.Match[str]) -> None:
    ends = {
        e.to_id if e.from_id == node else e.from_id
        for e in facts.binding
        if e.kind == "attaches" and node in (e.from_id, e.to_id)
    }
    named, counted = ids(found["names"])
    assert named <= ends
    assert len(named) + counted == len(ends)


def one_application(facts: Facts, node: str, found: re.Match[str]) -> None:
    for member in (node, *ids(found["names"])[0]):
        assert facts.tags[member]["app"] == found["app"]
        assert facts.wave[member] == facts.wave[node]


def inseparable(facts: Facts, node: str, found: re.Match[str]) -> None:
    assert {facts.wave[m] for m in ids(found["names"])[0]} == {facts.wave[node]}


def after(facts: Facts, node: str, found: re.Match[str]) -> None:
    edge = facts.told(found, facts.binding)
    assert edge.from_id == node
    assert facts.wave[edge.to_id] == int(found["wave"]) < facts.wave[node]
    earlier = {n for n in facts.needs(node) if facts.wave[n] < facts.wave[node]}
    assert max(facts.wave[n] for n in earlier) == int(found["wave"])
    assert int(found["more"] or 0) == len(earlier) - 1


def beside(facts: Facts, node: str, found: re.Match[str]) -> None:
    edge = facts.told(found, facts.binding)
    assert node in (edge.from_id, edge.to_id)
    named, _ = ids(found["names"])
    others = facts.needs(node) if edge.from_id == node else facts.asked_by(node)
    assert named <= others
    assert {facts.wave[n] for n in named} == {facts.wave[node]}


def before(facts: Facts, node: str, found: re.Match[str]) -> None:
    edge = facts.told(found, facts.binding)
    later = {n for n in facts.asked_by(node) if facts.wave[n] > facts.wave[node]}
    assert edge.to_id == node
    assert facts.wave[edge.from_id] == int(found["wave"]) == max(facts.wave[n] for n in later)
    assert int(found["more"] or 0) == len(later) - 1


def alone(facts: Facts, node: str, found: re.Match[str]) -> None:
    assert not facts.needs(node) | facts.asked_by(node)
    assert not [e for e in facts.outward if node in (e.from_id, e.to_id)]


def alone_but(facts: Facts, node: str, found: re.Match[str]) -> None:
    assert not facts.needs(node) | facts.asked_by(node)
    touching = [e for e in facts.outward if node in (e.from_id, e.to_id)]
    told = [facts.told(m, touching) for m in re.finditer(_TOLD, found["told"])]
    assert len(told) + int(found["more"] or 0) == len(touching)


def weak(facts: Facts, node: str, found: re.Match[str]) -> None:
    for sign in re.finditer(r"([\w-]+) (to|from) (\w+) \((\d\.\d\d)\)", found["signs"]):
        other = _ID.get(sign[3], sign[3])
        ends = (node, other) if sign[2] == "to" else (other, node)
        [edge] = [e for e in facts.edges if (e.from_id, e.to_id, str(e.kind)) == (*ends, sign[1])]
        assert f"{edge.confidence:.2f}" == sign[4]
        if found["below"]:
            assert edge.confidence < facts.threshold
            assert found["below"] == f"{facts.threshold:.2f}"
        else:
            assert edge.kind in NEVER_BINDS


CLAUSES: tuple[tuple[str, Callable[[Facts, str, re.Match[str]], None]], ...] = (
    (
        rf"goes with {_NAMES}: they (call|need) each other( \((?P<kinds>[\w, -]+)\))?"
        r"(?P<around>, directly or around a circle)?",
        circle,
    ),
    (rf"goes with {_NAMES}: one is attached to the other", attached),
    (rf"goes with {_NAMES}: all of application (?P<app>\w+) moves together", one_application),
    (rf"goes with {_NAMES}: none can move without the others", inseparable),
    (
        rf"after wave (?P<wave>\d+): {_TOLD}, which stands there"
        r"(, as (?P<more>\d+) more of what it needs do there or earlier)?",
        after,
    ),
    (rf"with {_NAMES}: {_TOLD}", beside),
    (
        rf"before what needs it: {_TOLD}, across the border until wave (?P<wave>\d+)"
        r"(, as (?P<more>\d+) more do until then or earlier)?",
        before,
    ),
    (r"alone: nothing depends on it", alone),
    (
        r"alone: nothing that moves depends on it "
        r"\((?P<told>.+?)( and (?P<more>\d+) more)?\)",
        alone_but,
    ),
    (
        r"known but (not binding below (?P<below>[\d.]+)|of a kind that never binds): "
        r"(?P<signs>.+)",
        weak,
    ),
)


@settings(max_examples=300, deadline=None)
@given(ESTATES)
def test_every_reason_of_a_position_is_a_true_sentence(estate) -> None:  # type: ignore[no-untyped-def]
    named, edges, by_app, largest, threshold = estate
    resources = [thing(name, **tags) for name, tags in named]
    plan = plan_waves(resources, edges, group_by_app=by_app, largest=largest, threshold=threshold)
    facts = Facts(plan, resources, edges, threshold, by_app)
    for wave in plan.waves:
        for position in wave.positions:
            for clause in position.reason.split("; "):
                [(found, check), *_] = [
                    (match, check)
                    for pattern, check in CLAUSES
                    if (match := re.fullmatch(pattern, clause))
                ]
                check(facts, position.id, found)


_WAVE = re.compile(
    r"(?P<word>low|medium|high) criticality(?P<early>, before production)? "
    r"\((?P<needs>it cannot go before )?(?P<whose>\w+): (?P<why>[^)]+)\); (?P<count>\d+) things?, "
    r"needs (?P<what>.+?); (?P<crossing>[^;]+)"
)


@settings(max_examples=300, deadline=None)
@given(ESTATES)
def test_every_reason_of_a_wave_is_a_true_sentence(estate) -> None:  # type: ignore[no-untyped-def]
    named, edges, by_app, largest, threshold = estate
    resources = [thing(name, **tags) for name, tags in named]
    plan = plan_waves(resources, edges, group_by_app=by_app, largest=largest, threshold=threshold)
    facts = Facts(plan, resources, edges, threshold, by_app)
    for wave in plan.waves:
        found = _WAVE.fullmatch(wave.reason)
        assert found, wave.reason
        members = set(wave.members)
        assert int(found["count"]) == len(members)
        _criticality(facts, found, members)
        needed = {facts.wave[n] for m in members for n in facts.needs(m)} - {wave.number}
        stays = {e.to_id for e in facts.outward if e.from_id in members}
        assert ("nothing outside itself" in found["what"]) == (not needed)
        assert {
            int(n)
            for n in re.findall(r"waves? (.+?)(?: and what|$)", found["what"])
            for n in re.findall(r"\d+", n)
        } == needed or len(needed) > 5
        assert ("what stays (" in found["what"]) == bool(stays)
        until = [c.until for c in wave.crossing]
        told = re.findall(
            r"(\d+) edges? goe?s? across (the border until wave (\d+)|it for good)",
            found["crossing"],
        )
        assert sum(int(n) for n, _, _ in told) == len(until)
        timed = [u for u in until if u is not None]
        assert [int(w) for _, _, w in told if w] == ([max(timed)] if timed else [])
        assert ("at the latest" in found["crossing"]) == (len(set(timed)) > 1)


def _criticality(facts: Facts, found: re.Match[str], members: set[str]) -> None:
    """The level is that of the thing that is named, which is in the wave or needed by it."""
    whose = _ID.get(found["whose"], found["whose"])
    assert (whose in members) == (found["needs"] is None)
    if found["needs"]:
        assert any(nx.has_path(facts.held, m, whose) for m in members)
    tags = facts.tags.get(whose, {})
    why = found["why"]
    if why == "its tag criticality":
        assert tags["criticality"] == found["word"]
    elif why.startswith("environment "):
        assert tags["env"] == why.removeprefix("environment ")
    elif why.endswith("things depend on it"):
        assert len(facts.asked_by(whose)) >= int(why.split()[0]) >= 5
        assert found["word"] == "high"
    elif why == "what depends on it":
        assert facts.asked_by(whose) or len(facts.circle.get(whose, ())) > 1
    else:
        assert why == "nothing is said"
        assert found["word"] == "medium"
