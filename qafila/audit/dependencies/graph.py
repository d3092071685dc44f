"""The estate as a graph: what may move, which edges bind, and what cannot be taken apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

from qafila.audit.dependencies.combined_edges import combine
from qafila.audit.dependencies.derived_edges import app_of
from qafila.audit.dependencies.directory import Directory
from qafila.audit.dependencies.identity import stand_ins
from qafila.audit.dependencies.kinds import FOREIGN, INTERNET, NEVER_BINDS, EdgeKind, name_of_node
from qafila.audit.estate import Edge, Resource

# What a target has its own of: described there again, not moved.
_MADE_ANEW = frozenset(
    {
        "vpc",
        "subnet",
        "security-group",
        "route-table",
        "network-acl",
        "internet-gateway",
        "nat-gateway",
        "vpc-peering-connection",
        "vpc-endpoint",
        "network-interface",
        "address",
        "ecs:cluster",
        "eks:cluster",
        "eks:node-group",
        "key-pair",
        "kubernetes:node",
        "kubernetes:storageclass",
        "kubernetes:namespace",
    }
)
_OTHER_NODES = {
    "stack:": "describes resources; made anew in the target",
    "name:": "a name: pointed at the target once what it leads to stands there",
    "aws:": "a service of the cloud, not a thing of ours",
}
_MEASUREMENTS = frozenset({"cloudwatch:utilisation", "bedrock:model-use", "prometheus:target"})
_PARTS = frozenset({"postgres:table", "postgres:text", "postgres:vectors", "postgres:fulltext"})


@dataclass(frozen=True)
class Graph:
    """Who needs whom. ``binding`` edges lead between things that move, by start and by end."""

    resources: Mapping[str, Resource]
    names: Mapping[str, str]
    moving: tuple[str, ...]
    staying: Mapping[str, str]
    binding: tuple[Edge, ...]
    outward: tuple[Edge, ...]
    weak: tuple[Edge, ...]

    def name(self, node: str) -> str:
        """Return what a reader knows a node by."""
        return name_of_node(node, self.names)


def graph_of(resources: Sequence[Resource], edges: Sequence[Edge], threshold: float) -> Graph:
    """Sort nodes into those that move and those that stay, edges into binding and weak ones.

    Several sources for one edge count together. An edge binds when its confidence reaches the
    threshold and its kind is about use. ``outward`` are such edges with exactly one end that
    stays, as the internet does.
    """
    by_id = {r.id: r for r in resources}
    ends = {end for e in edges for end in (e.from_id, e.to_id)}
    staying = {
        node: why for node in sorted(by_id.keys() | ends) if (why := _stays(by_id.get(node), node))
    }
    views = stand_ins(resources, edges, Directory(resources))
    staying |= {
        node: f"another view of {by_id[of].name or of}"
        for node, of in sorted(views.items())
        if node not in staying and of in by_id
    }
    binding, outward, weak = [], [], []
    for edge in combine(edges):
        still = (edge.from_id in staying) + (edge.to_id in staying)
        if edge.confidence < threshold or edge.kind in NEVER_BINDS:
            weak.append(edge)
        elif still == 0 and edge.from_id != edge.to_id:
            binding.append(edge)
        elif still == 1:
            outward.append(edge)
    return Graph(
        resources=by_id,
        names={r.id: r.name for r in resources},
        moving=tuple(sorted((by_id.keys() | ends) - staying.keys())),
        staying=staying,
        binding=tuple(binding),
        outward=tuple(outward),
        weak=tuple(weak),
    )


def inseparable(graph: Graph, group_by_app: bool) -> list[tuple[str, ...]]:
    """Return what must move at the same time: strongly connected components, sorted.

    Things that need each other, directly or around a circle; a thing and what is attached to it;
    with ``group_by_app`` also what carries the same application's tag. Tarjan's algorithm as
    networkx has it.
    """
    held = [(e.to_id, e.from_id) for e in graph.binding if e.kind == EdgeKind.ATTACHES]
    together = [] if not group_by_app else _apps(graph)
    return components(
        graph.moving, [*((e.from_id, e.to_id) for e in graph.binding), *held, *together]
    )


def components(nodes: Sequence[str], arrows: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return the strongly connected components, members and components sorted."""
    drawn = nx.DiGraph()
    drawn.add_nodes_from(nodes)
    drawn.add_edges_from(arrows)
    return sorted(tuple(sorted(c)) for c in nx.strongly_connected_components(drawn))


def _apps(graph: Graph) -> list[tuple[str, str]]:
    by_app: defaultdict[str, list[str]] = defaultdict(list)
    for node in graph.moving:
        if node in graph.resources and (app := app_of(graph.resources[node])):
            by_app[app].append(node)
    return [
        arrow
        for members in by_app.values()
        for start, end in pairwise(members)
        for arrow in ((start, end), (end, start))
    ]


def _stays(resource: Resource | None, node: str) -> str | None:
    """Return why a node is in no wave; None: it moves."""
    if resource is not None:
        kind = resource.kind
        if kind in _MEASUREMENTS:
            return "a reading of something else"
        if kind in _PARTS:
            return "a part of its database, and moves with it"
        anew = kind in _MADE_ANEW or kind.removeprefix("ec2:") in _MADE_ANEW
        return "made anew in the target, not moved" if anew or kind.startswith("iam:") else None
    if node == INTERNET:
        return "the internet"
    for prefix, why in _OTHER_NODES.items():
        if node.startswith(prefix):
            return why
    return "not ours: it stays where it is" if node.startswith(FOREIGN) else None
