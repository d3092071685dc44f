"""One node for one thing: what several sources call differently becomes the same node.

A collector names a thing by its id, a bill or a variable by its ARN, DNS and traces by a host
name, a database by the address of who connected. Edges only join when these are one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from qafila.audit.dependencies.directory import Directory
from qafila.audit.dependencies.kinds import HOST, NAME, EdgeKind
from qafila.audit.estate import Edge, Resource

_HOST_NAME = re.compile(r"^(?=.{4,253}$)[a-z0-9*_-]{1,63}(?:\.[a-z0-9_-]{1,63})+$")
_LONGEST_CHAIN = 10


class Identities:
    """Tells which node is meant, whatever it is called."""

    def __init__(self, resources: Sequence[Resource], edges: Iterable[Edge]) -> None:
        self._directory = Directory(resources)
        self._ids = {r.id for r in resources}
        ends: defaultdict[str, set[str]] = defaultdict(set)
        for edge in edges:
            if edge.kind == EdgeKind.RESOLVES:
                ends[edge.from_id.removeprefix(HOST)].add(edge.to_id.removeprefix(HOST))
        self._resolves = ends
        self._stands_for = stand_ins(resources, edges, self._directory)

    def of(self, node: str) -> str:
        """Return the node that is meant: a resource's id where one has this id, ARN or host."""
        if node in self._ids:
            return self._stands_for.get(node, node)
        if (found := self._directory.by_arn(node)) is not None:
            return self._stands_for.get(found, found)
        host = node.removeprefix(HOST)
        if host == node and not _HOST_NAME.match(host):
            return node
        return self._of_host(host)

    def _of_host(self, host: str) -> str:
        """Return whose host it is, following DNS where that leads to one thing alone."""
        name = host
        for _ in range(_LONGEST_CHAIN):
            if (found := self._directory.by_host(name)) is not None:
                return self._stands_for.get(found, found)
            ends = self._resolves.get(name, set())
            if len(ends) != 1:
                break
            (name,) = ends
        return f"{NAME}{host}" if host in self._resolves else f"{HOST}{host}"

    def ends_of(self, edge: Edge) -> tuple[str, str]:
        """Return both ends as nodes.

        The start of a DNS record is the name itself, not what it leads to; what was deployed is
        the definition itself, not what runs it.
        """
        if edge.kind == EdgeKind.DEPLOYS:
            return edge.from_id, edge.to_id
        start = edge.from_id.removeprefix(HOST)
        if edge.kind == EdgeKind.RESOLVES and start not in self._ids:
            return f"{NAME}{start}", self.of(edge.to_id)
        return self.of(edge.from_id), self.of(edge.to_id)


def stand_ins(
    resources: Sequence[Resource], edges: Iterable[Edge], directory: Directory
) -> Mapping[str, str]:
    """Return which resources are only another view of which: id → id of the thing itself.

    A network interface of its instance; a task definition of the one service that runs it; a
    database server seen from inside, with its databases, of the cloud's resource at the same
    address; a database's client of what has its address.
    """
    found: dict[str, str] = {}
    kinds = {r.id: r.kind for r in resources}
    for resource in resources:
        owner: str | None = None
        if resource.kind == "ec2:network-interface":
            owner = str(resource.facts.get("attached_to") or "") or None
        elif resource.kind == "postgres:server":
            owner = directory.by_host(str(resource.facts.get("address") or ""))
        elif resource.kind == "postgres:client":
            owner = directory.by_ip(str(resource.facts.get("client_address") or ""))
        if owner is not None and owner != resource.id and owner in kinds:
            found[resource.id] = owner
    for resource in resources:
        if resource.kind == "postgres:database" and (
            owner := found.get(resource.id.partition("/")[0])
        ):
            found[resource.id] = owner
    services: defaultdict[str, set[str]] = defaultdict(set)
    for edge in edges:
        if edge.kind == EdgeKind.DEPLOYS and kinds.get(edge.to_id) == "ecs:task-definition":
            services[edge.to_id].add(edge.from_id)
    for definition, runners in services.items():
        if len(runners) == 1:
            found[definition] = next(iter(runners))
    return found
