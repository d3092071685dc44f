"""What hangs together: edges that only show when all resources lie side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from qafila.audit.dependencies.combined_edges import combine
from qafila.audit.dependencies.directory import Directory
from qafila.audit.dependencies.identity import Identities
from qafila.audit.dependencies.kinds import (
    CONFIGURED,
    INTERNET,
    NAMED,
    PERMITTED,
    SHARED,
    TAGGED,
    EdgeKind,
)
from qafila.audit.dependencies.ranges import Ranges
from qafila.audit.estate import Edge, Resource

APP_TAGS = (
    "app",
    "application",
    "service",
    "project",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/name",
)
_STACK_TAG = "aws:cloudformation:stack-name"
_MOST_PAIRS = 1_000


def edges_of(resources: Sequence[Resource], direct: Iterable[Edge] = ()) -> tuple[Edge, ...]:
    """Return all edges of an estate: what collectors and traces saw, and what resources show.

    One thing is one node, whatever a source calls it (:mod:`.identifying`); several sources for
    one edge are combined; a thing never depends on itself.
    """
    edges = [*direct, *derive_edges(resources)]
    identities = Identities(resources, edges)
    seen = []
    for edge in edges:
        start, end = identities.ends_of(edge)
        if start != end:
            seen.append(replace(edge, from_id=start, to_id=end))
    return combine(seen)


def derive_edges(resources: Sequence[Resource]) -> list[Edge]:
    """Return the edges that only show when all collectors' resources lie side by side.

    - ``calls``: a variable names the host of a resource (``hosts``), or a connection string does
      (``connections``, with its database); confidence .8: it is configured, whether it is used is
      not known. ``targets``: who invokes whom, .9.
    - ``reads``: an event source (.9); a secret that is a resource itself (.8).
    - ``network-allows``: a security group lets in another; drawn between the things that wear
      the two groups (confidence .4: permission is not use), from ``internet`` where a group
      lets in everybody, and from the things whose address is in a range that it lets in. Where
      that is more than 1 000 pairs, through the group itself.
    - ``resolves``: a distribution's origin, a Kubernetes service's external name (.9).
    - ``shares-secret`` (.4) and ``same-tag`` (.2): drawn as a chain in the order of ids, since
      belonging together is transitive and a chain says it with the fewest edges.
    - ``deploys``: the CloudFormation stack in a resource's tag (.9).
    """
    directory = Directory(resources)
    edges = [
        edge
        for derived in (_configured, _named_by_dns, _invoked, _secrets)
        for resource in resources
        for edge in derived(resource, directory)
    ]
    edges += _permitted(resources)
    edges += _sharing(resources)
    return sorted(
        {e for e in edges if e.from_id != e.to_id},
        key=lambda e: (e.from_id, e.to_id, e.kind, e.source),
    )


def app_of(resource: Resource) -> str:
    """Return the application that a resource says it belongs to; "" when it does not say."""
    return next((resource.tags[tag] for tag in APP_TAGS if resource.tags.get(tag)), "")


def _configured(resource: Resource, directory: Directory) -> Iterator[Edge]:
    for variable, host in sorted(resource.facts.get("hosts", {}).items()):
        if found := directory.by_host(host):
            yield Edge(resource.id, found, EdgeKind.CALLS, f"environment {variable}", NAMED)
    for variable, connection in sorted(resource.facts.get("connections", {}).items()):
        if found := directory.by_host(str(connection.get("host") or "")):
            database = connection.get("database")
            what = f"environment {variable}" + (f", database {database}" if database else "")
            yield Edge(resource.id, found, EdgeKind.CALLS, what, NAMED)


def _named_by_dns(resource: Resource, directory: Directory) -> Iterator[Edge]:
    for fact, what in (
        ("origins", "CDN origin"),
        ("external_names", "external name of a Kubernetes service"),
    ):
        for host in resource.facts.get(fact, ()):
            if found := directory.by_host(host):
                yield Edge(resource.id, found, EdgeKind.RESOLVES, what, CONFIGURED)


def _invoked(resource: Resource, directory: Directory) -> Iterator[Edge]:
    for fact, kind, what in (
        ("event_sources", EdgeKind.READS, "event source"),
        ("targets", EdgeKind.CALLS, "configured target"),
    ):
        for arn in resource.facts.get(fact, ()):
            if isinstance(arn, str) and (found := directory.by_arn(arn)):
                yield Edge(resource.id, found, kind, what, CONFIGURED)


def _secrets(resource: Resource, directory: Directory) -> Iterator[Edge]:
    for secret in resource.facts.get("secrets", ()):
        if found := directory.by_arn(secret):
            yield Edge(resource.id, found, EdgeKind.READS, "secret in its configuration", NAMED)


def _permitted(resources: Sequence[Resource]) -> Iterator[Edge]:
    wearers: defaultdict[str, list[str]] = defaultdict(list)
    for resource in resources:
        for group in resource.facts.get("security_groups", ()):
            wearers[group].append(resource.id)
    ranges = Ranges(resources)
    for group in (r for r in resources if r.kind == "ec2:security-group"):
        inside = wearers.get(group.id, [])
        if not inside:
            continue
        let_in: list[tuple[str, Sequence[str]]] = [
            (
                f"{group.name} port {rule['port']}",
                [INTERNET] if rule["from"] == INTERNET else wearers.get(rule["from"], []),
            )
            for rule in group.facts.get("allows_from", ())
        ]
        let_in += [
            (
                f"{group.name} port {rule['port']} from {rule['range']}",
                ranges.inside(rule["range"], str(group.facts.get("vpc") or "")),
            )
            for rule in group.facts.get("allows_ranges", ())
        ]
        for what, outside in let_in:
            if len(inside) * len(outside) > _MOST_PAIRS:
                pairs = [*((o, group.id) for o in outside), *((group.id, i) for i in inside)]
            else:
                pairs = [(o, i) for o in outside for i in inside if o != i]
            for start, end in pairs:
                yield Edge(start, end, EdgeKind.NETWORK_ALLOWS, what, PERMITTED)


def _sharing(resources: Sequence[Resource]) -> Iterator[Edge]:
    by_secret: defaultdict[str, set[str]] = defaultdict(set)
    by_tag: defaultdict[str, set[str]] = defaultdict(set)
    for resource in resources:
        if not resource.kind.startswith("kubernetes:"):  # a cluster's secrets have short names
            for secret in resource.facts.get("secrets", ()):
                by_secret[secret].add(resource.id)
        if app := app_of(resource):
            by_tag[app].add(resource.id)
        if stack := resource.tags.get(_STACK_TAG):
            yield Edge(
                f"stack:{stack}", resource.id, EdgeKind.DEPLOYS, "tag of the stack", CONFIGURED
            )
    for secret, holders in by_secret.items():
        what = f"secret {_short(secret)}"
        yield from _chain(holders, EdgeKind.SHARES_SECRET, what, SHARED)
    for app, members in by_tag.items():
        yield from _chain(members, EdgeKind.SAME_TAG, f"tag {_short(app)}", TAGGED)


def _chain(ids: set[str], kind: EdgeKind, what: str, confidence: float) -> Iterator[Edge]:
    for start, end in pairwise(sorted(ids)):
        yield Edge(start, end, kind, what, confidence)


def _short(name: str) -> str:
    """Return the part of a name that a reader knows it by: of an ARN, what follows the account."""
    told = name.split(":", 5)[-1] if name.startswith("arn:") else name
    return told if len(told) <= 80 else told[:79] + "…"
