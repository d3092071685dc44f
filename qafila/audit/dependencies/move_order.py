"""In which order the inseparable groups move, and how they are put into waves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import networkx as nx

from qafila.audit.dependencies.criticality import Standing, level, said_of, supposed
from qafila.audit.dependencies.derived_edges import app_of
from qafila.audit.dependencies.graph import Graph


@dataclass(frozen=True)
class Group:
    """What moves at the same time; ``own`` is its criticality, ``whole`` with all that it needs."""

    members: tuple[str, ...]
    own: Standing
    whole: Standing


@dataclass(frozen=True)
class _Batch:
    key: tuple[tuple[int, bool], int, int, str, str]
    waves: list[list[int]]


def order_groups(
    graph: Graph, parts: Sequence[tuple[str, ...]], criticality_of: Mapping[str, str], largest: int
) -> list[list[Group]]:
    """Return the groups of each wave, in an order in which nothing moves before what it needs.

    A group's level is the highest criticality of itself and of all that it needs, so what is
    needed never has a higher level than what needs it: going through the levels from the lowest
    respects every arrow, and the least critical self-contained part comes first. Within a level,
    what hangs together stays together; parts with fewer dependents left behind go first.
    """
    needs = _condensed(graph, parts)
    dependents_first = list(nx.lexicographical_topological_sort(needs))
    own = _own(graph, parts, needs, dependents_first, criticality_of)
    whole: dict[int, Standing] = {}
    for group in reversed(dependents_first):
        whole[group] = max((own[group], *(whole[n] for n in needs[group])), key=level)
    batches = _batches(graph, parts, needs, whole, largest)
    return [
        [Group(parts[g], own[g], whole[g]) for g in wave]
        for batch in batches
        for wave in batch.waves
    ]


def _condensed(graph: Graph, parts: Sequence[tuple[str, ...]]) -> nx.DiGraph:
    group_of = {member: n for n, part in enumerate(parts) for member in part}
    needs = nx.DiGraph()
    needs.add_nodes_from(range(len(parts)))
    needs.add_edges_from(
        sorted(
            {
                (group_of[e.from_id], group_of[e.to_id])
                for e in graph.binding
                if group_of[e.from_id] != group_of[e.to_id]
            }
        )
    )
    return needs


def _own(
    graph: Graph,
    parts: Sequence[tuple[str, ...]],
    needs: nx.DiGraph,
    dependents_first: Sequence[int],
    criticality_of: Mapping[str, str],
) -> dict[int, Standing]:
    """Return what each group is worth by itself: what is said, else what depends on it."""
    dependents: defaultdict[str, set[str]] = defaultdict(set)
    for edge in graph.binding:
        dependents[edge.to_id].add(edge.from_id)
    own: dict[int, Standing] = {}
    for group in dependents_first:
        members = parts[group]
        said = [
            replace(told, whose=m)
            for m in members
            if (told := said_of(graph.resources.get(m), criticality_of, graph.name(m)))
        ]
        highest = max(needs.predecessors(group), key=lambda d: level(own[d]), default=None)
        above = None if highest is None else own[highest]
        inside, leading = set(members), set(() if highest is None else parts[highest])
        # Of members that stand equally high, one on which the highest hangs is named.
        asked_first = sorted(members, key=lambda m: not dependents[m] & leading)
        own[group] = max(
            said
            or [
                replace(
                    supposed(graph.resources.get(m), len(dependents[m] - inside), above), whose=m
                )
                for m in asked_first
            ],
            key=level,
        )
    return own


def _batches(
    graph: Graph,
    parts: Sequence[tuple[str, ...]],
    needs: nx.DiGraph,
    whole: Mapping[int, Standing],
    largest: int,
) -> list[_Batch]:
    """Return what goes together at each level: islands whole, small ones of one application
    packed, those above the size cut where nothing moves before what it needs."""
    by_level: defaultdict[tuple[int, bool], list[int]] = defaultdict(list)
    for group, standing in whole.items():
        by_level[level(standing)].append(group)
    batches = []
    for rank, groups in by_level.items():
        small: defaultdict[str, list[tuple[int, int, list[int]]]] = defaultdict(list)
        for island in nx.weakly_connected_components(needs.subgraph(sorted(groups))):
            inside = sorted(island)
            size = sum(len(parts[g]) for g in inside)
            left = sum(1 for g in inside for d in needs.predecessors(g) if d not in island)
            if size > largest:
                waves = _cut(needs, inside, parts, largest)
                batches.append(_Batch((rank, left, size, "", parts[inside[0]][0]), waves))
            else:
                small[_app(graph, parts, inside)].append((left, size, inside))
        for app, islands in small.items():
            batches += _packed(parts, rank, app, sorted(islands), largest)
    return sorted(batches, key=lambda b: b.key)


def _packed(
    parts: Sequence[tuple[str, ...]],
    rank: tuple[int, bool],
    app: str,
    islands: Sequence[tuple[int, int, list[int]]],
    largest: int,
) -> list[_Batch]:
    """Put islands of one application side by side while they fit."""
    batches: list[_Batch] = []
    taken: list[int] = []
    total = dependents = 0
    for left, size, inside in [*islands, (0, largest + 1, [])]:
        if taken and total + size > largest:
            key = (rank, dependents, total, app, min(parts[g][0] for g in taken))
            batches.append(_Batch(key, [sorted(taken)]))
            taken, total, dependents = [], 0, 0
        taken = [*taken, *inside]
        total, dependents = total + size, dependents + left
    return batches


def _cut(
    needs: nx.DiGraph, island: Sequence[int], parts: Sequence[tuple[str, ...]], largest: int
) -> list[list[int]]:
    """Cut one large island into waves: each start of a chain follows with all that it needs."""
    inside = needs.subgraph(island)
    starts = sorted(
        (g for g in island if inside.in_degree(g) == 0),
        key=lambda g: (inside.out_degree(g), len(parts[g]), g),
    )
    seen: set[int] = set()
    waves: list[list[int]] = [[]]
    filled = 0
    for start in starts:
        block = _unseen_below(inside, start, seen)
        size = sum(len(parts[g]) for g in block)
        for group in block:
            weight = len(parts[group])
            if waves[-1] and (
                filled + size > largest if group == block[0] else filled + weight > largest
            ):
                waves.append([])
                filled = 0
            waves[-1].append(group)
            filled += weight
    return waves


def _unseen_below(needs: nx.DiGraph, start: int, seen: set[int]) -> list[int]:
    """Return what ``start`` needs and has not been taken yet, what is needed first, then itself."""
    block: list[int] = []
    seen.add(start)
    path = [(start, iter(sorted(needs[start])))]
    while path:
        group, below = path[-1]
        following = next((n for n in below if n not in seen), None)
        if following is None:
            block.append(group)
            path.pop()
        else:
            seen.add(following)
            path.append((following, iter(sorted(needs[following]))))
    return block


def _app(graph: Graph, parts: Sequence[tuple[str, ...]], groups: Sequence[int]) -> str:
    """Return the one application that any member names; "" when none does, or they differ."""
    found = {
        app_of(graph.resources[m]) for g in groups for m in parts[g] if m in graph.resources
    } - {""}
    return found.pop() if len(found) == 1 else ""
