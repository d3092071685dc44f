"""Which things a security group's address ranges let in.

A range is a permission, not use, and the same private addresses may stand in two networks. So a
range says something of the group's own network and of those peered with it; and of any other one
only where no address of it could be the group's own.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

from qafila.audit.estate import Resource

_ADDRESSES = ("private_ip", "private_ips", "public_ip", "public_ips")
_VIEWS = ("postgres:", "prometheus:", "cloudwatch:", "kubernetes:")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Ranges:
    """Finds the things whose address lies in a range. A network interface stands for its owner."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        found: defaultdict[int, set[tuple[int, str, str]]] = defaultdict(set)
        self._own: dict[str, Network] = {}
        self._peers: defaultdict[str, set[str]] = defaultdict(set)
        for resource in resources:
            facts = resource.facts
            if resource.kind.endswith("vpc-peering-connection"):
                sides = str(facts.get("requester")), str(facts.get("accepter"))
                self._peers[sides[0]].add(sides[1])
                self._peers[sides[1]].add(sides[0])
            elif resource.kind == "ec2:vpc":
                if network := network_of(str(facts.get("cidr"))):
                    self._own[resource.id] = network
            elif not resource.kind.startswith(_VIEWS):
                owner = str(facts.get("attached_to") or resource.id)
                for said in _addresses(resource):
                    found[said.version].add((int(said), owner, str(facts.get("vpc") or "")))
        self._sorted = {version: sorted(entries) for version, entries in found.items()}

    def inside(self, said: str, vpc: str) -> tuple[str, ...]:
        """Return the ids of what a range lets in to things of network ``vpc``, sorted.

        What is no range (a prefix list's id) lets in nothing that is known.
        """
        network = network_of(said)
        if network is None:
            return ()
        entries = self._sorted.get(network.version, [])
        first = bisect_left(entries, (int(network.network_address), "", ""))
        last = bisect_right(entries, (int(network.broadcast_address), "\uffff", "\uffff"))
        near = {vpc, *self._peers.get(vpc, ())}
        own = self._own.get(vpc)
        foreign = own is not None and not _overlap(own, network)
        return tuple(
            sorted(
                {
                    owner
                    for _, owner, stands in entries[first:last]
                    if not (vpc and stands) or stands in near or foreign
                }
            )
        )


def network_of(said: str) -> Network | None:
    """Return a range as a network; None: it is none."""
    try:
        return ipaddress.ip_network(said, strict=False)
    except ValueError:
        return None


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _addresses(
    resource: Resource,
) -> Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    for fact in _ADDRESSES:
        said = resource.facts.get(fact)
        for one in said if isinstance(said, list | tuple) else (said,):
            try:
                yield ipaddress.ip_address(str(one))
            except ValueError:
                continue
