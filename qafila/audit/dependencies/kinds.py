"""What kinds of edges there are, and how far each source of one is believed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class EdgeKind(StrEnum):
    """How one thing hangs on another; an edge leads from what needs to what is needed."""

    CALLS = "calls"  # asks it for something; what exactly is not known
    READS = "reads"
    WRITES = "writes"
    ROUTES = "routes"  # a balancer to its targets: part of how it is built
    ATTACHES = "attaches"  # an instance to its disk: neither moves alone
    RESOLVES = "resolves"  # a name to what answers to it
    NETWORK_ALLOWS = "network-allows"  # could reach it: permission, not use
    SHARES_SECRET = "shares-secret"
    SAME_TAG = "same-tag"
    DEPLOYS = "deploys"  # made it, and is not needed while it runs


# No confidence lifts these to a reason to move together: belonging together, and who made a
# thing, are not use.
NEVER_BINDS = frozenset({EdgeKind.SAME_TAG, EdgeKind.DEPLOYS})

# How far a source is believed, in (0, 1]. Ours: chosen, not measured; the page "Migration waves"
# has the same table with the reason for each.
BUILT = 1.0  # the system itself says so: a registered target, an attached disk
CONFIGURED = 0.9  # wired up: an event source, an origin, a DNS record
NAMED = 0.8  # an environment variable names it
SEEN = 0.95  # a trace shows the call
SEEN_FROM_START = 0.9  # a flow with the opening packet: who called whom is certain
SEEN_BY_PORT = 0.8  # a flow whose direction is told by its ports
CONNECTED = 0.9  # a session stands open on the database
PERMITTED = 0.4  # a security group would let it through
SHARED = 0.4  # both hold the same secret
TAGGED = 0.2  # both carry the same tag

VERBS: Mapping[str, str] = {
    EdgeKind.CALLS: "calls",
    EdgeKind.READS: "reads",
    EdgeKind.WRITES: "writes to",
    EdgeKind.ROUTES: "routes to",
    EdgeKind.ATTACHES: "holds",
    EdgeKind.RESOLVES: "resolves to",
    EdgeKind.NETWORK_ALLOWS: "may reach",
    EdgeKind.SHARES_SECRET: "shares a secret with",
    EdgeKind.SAME_TAG: "has a tag in common with",
    EdgeKind.DEPLOYS: "deploys",
}

INTERNET = "internet"
# What the first part of a node's id says when it is no resource: whether it is ours to move.
OURS = ("service:", "database:", "queue:")
HOST = "host:"
NAME = "name:"
AWS = "aws:"  # a service of the cloud that is nobody's resource
FOREIGN = (HOST, NAME, "stack:", AWS)


def name_of_node(node: str, names: Mapping[str, str]) -> str:
    """Return how a reader is told of a node: its resource's name, or what stands in its id."""
    if node in names:
        return names[node] or node
    if node.startswith("arn:"):
        return node.split(":", 5)[-1] or node
    for prefix in (*OURS, *FOREIGN):
        if node.startswith(prefix):
            return node.removeprefix(prefix)
    return node
