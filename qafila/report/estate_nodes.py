"""What the picture of an estate shows: at most so many nodes, columns and lines."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qafila.audit.dependencies.derived_edges import app_of
from qafila.audit.dependencies.kinds import EdgeKind, name_of_node
from qafila.audit.dependencies.waves import WavePlan
from qafila.audit.estate import Edge, Resource

MOST_NODES = 60
MOST_COLUMNS = 6
MOST_LINKS = 120
_LONGEST = 24


@dataclass(frozen=True)
class Node:
    """One box: a thing with its disks, or in a large estate several of one application or kind."""

    key: str
    column: int
    label: str
    below: str
    criticality: str
    stays: bool = False


@dataclass(frozen=True)
class Link:
    """One line between two boxes: the surest of the edges of its kind between them."""

    start: str
    end: str
    kind: str
    confidence: float


@dataclass(frozen=True)
class Drawn:
    """Everything that is drawn; ``columns`` have a title and a line below it."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    columns: tuple[tuple[str, str], ...]
    note: str


def draw(plan: WavePlan, resources: Sequence[Resource], edges: Sequence[Edge]) -> Drawn:
    """Return the boxes and lines of a plan, bounded."""
    if not plan.waves:
        return Drawn((), (), (), "")
    by_id = {r.id: r for r in resources}
    told = [e for e in edges if e.kind != EdgeKind.SAME_TAG]
    column_of, columns = _columns(plan)
    moving = [(p.id, w) for w in plan.waves for p in w.positions]
    criticality = {p: plan.waves[w.number - 1].criticality.word for p, w in moving}
    ends = {end for e in told for end in (e.from_id, e.to_id)}
    staying = [p.id for p in plan.staying if p.id in ends and p.id not in by_id]
    if staying:
        columns.append(("stays where it is", "not ours, or the internet"))
    where = {node: column_of[wave.number] for node, wave in moving}
    where |= dict.fromkeys(staying, len(columns) - 1)
    held = _held(where, by_id, told)
    single = len(where) - len(held) <= MOST_NODES
    if single:
        where = {node: column for node, column in where.items() if node not in held}
    box_of = _one_by_one(where) if single else _grouped(where, by_id, len(columns))
    names = {r.id: r.name for r in resources}
    disks = Counter(held.values()) if single else Counter()
    nodes = _nodes(box_of, where, by_id, names, criticality, disks)
    links, hidden = _links(told, box_of)
    note = "disks are drawn with the one thing that they are attached to" if disks else ""
    if not single:
        note = f"{len(where):,} things as {len(nodes)} groups, by application or kind"
    if hidden:
        note += f"{'; ' if note else ''}{hidden:,} less certain lines are not drawn"
    return Drawn(nodes, links, tuple(columns), note)


def _held(
    where: Mapping[str, int], by_id: Mapping[str, Resource], edges: Sequence[Edge]
) -> dict[str, str]:
    """Return the disks that only their machine touches and that move with it, each with it."""
    near: defaultdict[str, set[str]] = defaultdict(set)
    for edge in edges:
        near[edge.from_id].add(edge.to_id)
        near[edge.to_id].add(edge.from_id)
    held = {}
    for node, column in where.items():
        if node not in by_id or by_id[node].kind != "ec2:volume" or len(near[node]) != 1:
            continue
        (holder,) = near[node]
        if holder in by_id and by_id[holder].kind != "ec2:volume" and where.get(holder) == column:
            held[node] = holder
    return held


def _columns(plan: WavePlan) -> tuple[dict[int, int], list[tuple[str, str]]]:
    """Return the column of each wave, and each column's title; beyond six, waves share."""
    total = len(plan.waves)
    count = min(total, MOST_COLUMNS)
    column_of = {w.number: (w.number - 1) * count // total for w in plan.waves}
    waves: defaultdict[int, list[int]] = defaultdict(list)
    for number, column in column_of.items():
        waves[column].append(number)
    columns = []
    for column in range(count):
        numbers = waves[column]
        first, last = plan.waves[numbers[0] - 1], plan.waves[numbers[-1] - 1]
        one = len(numbers) == 1
        words = dict.fromkeys([first.criticality.word, last.criticality.word])
        columns.append(
            (
                f"wave {numbers[0]}" if one else f"waves {numbers[0]} to {numbers[-1]}",
                f"{' to '.join(words)} criticality",
            )
        )
    return column_of, columns


def _one_by_one(where: Mapping[str, int]) -> dict[str, str]:
    return {node: node for node in where}


def _grouped(
    where: Mapping[str, int], by_id: Mapping[str, Resource], columns: int
) -> dict[str, str]:
    """Return the box of each node: its application, else its kind; the small ones are others."""
    subject = {node: _subject(node, by_id) for node in where}
    sizes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for node, column in where.items():
        sizes[column][subject[node]] += 1
    room = max(1, MOST_NODES // columns)
    kept = {
        column: {
            name
            for name, _ in sorted(counts.items(), key=lambda c: (-c[1], c[0]))[
                : room if len(counts) <= room else room - 1
            ]
        }
        for column, counts in sizes.items()
    }
    return {
        node: f"{column}/{subject[node] if subject[node] in kept[column] else 'others'}"
        for node, column in where.items()
    }


def _subject(node: str, by_id: Mapping[str, Resource]) -> str:
    if node not in by_id:
        return node if ":" not in node else node.split(":", 1)[0]
    return app_of(by_id[node]) or by_id[node].kind


def _nodes(
    box_of: Mapping[str, str],
    where: Mapping[str, int],
    by_id: Mapping[str, Resource],
    names: Mapping[str, str],
    criticality: Mapping[str, str],
    disks: Mapping[str, int],
) -> tuple[Node, ...]:
    inside: defaultdict[str, list[str]] = defaultdict(list)
    for node, box in box_of.items():
        inside[box].append(node)
    nodes = []
    for box, members in inside.items():
        one = members[0]
        words = [w for m in members if (w := criticality.get(m))]
        if len(members) == 1:
            label = name_of_node(one, names)
            below = by_id[one].kind if one in by_id else one.split(":", 1)[0]
            if count := disks.get(one, 0):
                below = f"{below} · {count} disk{'' if count == 1 else 's'}"
        else:
            label, below = box.split("/", 1)[1], f"{len(members):,} things"
        nodes.append(
            Node(box, where[one], shown(label), shown(below), words[0] if words else "", not words)
        )
    return tuple(sorted(nodes, key=lambda n: (n.column, n.key)))


def _links(edges: Sequence[Edge], box_of: Mapping[str, str]) -> tuple[tuple[Link, ...], int]:
    surest: dict[tuple[str, str, str], float] = {}
    for edge in edges:
        start, end = box_of.get(edge.from_id), box_of.get(edge.to_id)
        if start is None or end is None or start == end:
            continue
        key = (start, end, str(edge.kind))
        surest[key] = max(surest.get(key, 0.0), edge.confidence)
    links = sorted(
        (Link(*key, confidence) for key, confidence in surest.items()),
        key=lambda e: (-e.confidence, e.start, e.end, e.kind),
    )
    return tuple(links[:MOST_LINKS]), max(0, len(links) - MOST_LINKS)


def shown(name: str) -> str:
    """Return a name that fits, without what no font shows and no SVG may hold."""
    clean = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in name[:200]).strip()
    return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "…"
