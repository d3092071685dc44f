"""What hangs together: edges that only show when all resources lie side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from qafila.core.estate import Edge, Resource


def derive_edges(resources: Sequence[Resource]) -> list[Edge]:
    """Return the edges that only show when all collectors' resources lie side by side.

    - ``calls``: a function's environment names the address of a database (confidence .8: it is
      configured, whether it is used is not known).
    - ``network-allows``: a security group lets in another; drawn between the things that wear
      the two groups (confidence .4: permission is not use), and from ``internet`` where a group
      lets in everybody.
    """
    edges = []
    address = {a: r.id for r in resources if (a := r.facts.get("address"))}
    wearers: defaultdict[str, list[str]] = defaultdict(list)
    for resource in resources:
        for group in resource.facts.get("security_groups", ()):
            wearers[group].append(resource.id)
        for variable, host in sorted(resource.facts.get("hosts", {}).items()):
            if host in address:
                edges.append(
                    Edge(resource.id, address[host], "calls", f"environment {variable}", 0.8)
                )
    for group in (r for r in resources if r.kind == "ec2:security-group"):
        for rule in group.facts.get("allows_from", ()):
            what = f"{group.name} port {rule['port']}"
            if rule["from"] == "internet":
                edges += [
                    Edge("internet", to, "network-allows", what, 0.4) for to in wearers[group.id]
                ]
            edges += [
                Edge(start, end, "network-allows", what, 0.4)
                for start in wearers.get(rule["from"], ())
                for end in wearers[group.id]
                if start != end
            ]
    return sorted(set(edges), key=lambda e: (e.from_id, e.to_id, e.kind, e.source))
