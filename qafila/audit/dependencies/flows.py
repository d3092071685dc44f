"""Edges and bytes from flow records: who opened a connection to whom, and how much went along."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from qafila.audit.dependencies.directory import Directory
from qafila.audit.dependencies.kinds import (
    AWS,
    HOST,
    INTERNET,
    SEEN_BY_PORT,
    SEEN_FROM_START,
    EdgeKind,
)
from qafila.audit.dependencies.traffic import Traffic
from qafila.audit.estate import Edge

_SYN, _SYN_ACK = 2, 18
_EPHEMERAL = 32_768  # Linux's first; above it either side may have the higher port
_MOST_PAIRS = 100_000
_MOST_ADDRESSES = 65_536
_PORTS_NAMED = 5


class Flow(NamedTuple):
    """One accepted record. ``flags``: TCP flags seen, 0 where the format has none.

    ``source_service`` and ``destination_service``: the service of AWS that an address belongs to,
    as "s3", where the log says so (version 5).

    A tuple: a file has millions, and a frozen dataclass takes three times as long to make.
    """

    source: str
    destination: str
    source_port: int
    destination_port: int
    size_bytes: int
    interface: str
    start: int
    end: int
    flags: int
    source_service: str = ""
    destination_service: str = ""


@dataclass(slots=True)
class _Sum:
    # by interface: one flow inside a VPC is recorded at both of its ends
    sent: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    received: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    first: int = 0
    last: int = 0
    from_start: bool = False


class FlowSums:
    """Adds up flow records by who opened the connection, to whom, and at which port.

    - Public addresses that no resource has are one node, the internet; those that the log says
      are a service's of AWS are that service.
    - A flow between two interfaces of a VPC is recorded at both: per pair of addresses the larger
      sum of one interface counts, not both.
    - Who opened it: the side whose SYN was seen without ACK; else the side with the higher port.
      Where both ports are above 32 767 and no SYN was seen, it is not known: port 0.

    At most 100 000 pairs are kept; ``left_out_bytes`` is what further ones would have added.
    """

    def __init__(self, directory: Directory, most: int = _MOST_PAIRS) -> None:
        self._most = most
        self._sums: dict[tuple[str, str, int], _Sum] = {}
        self._nodes: dict[str, str] = {INTERNET: INTERNET}
        self._directory = directory
        self._place = lru_cache(_MOST_ADDRESSES)(self._find)
        self.left_out_bytes = 0
        self.records = 0

    def add(self, flow: Flow) -> None:
        """Take one record.

        Raises:
            ValueError: an address is none.
        """
        source = self._of(flow.source, flow.source_service)
        destination = self._of(flow.destination, flow.destination_service)
        self.records += 1
        if source is None or destination is None or source == destination:
            return
        forward, port, from_start = _direction(flow)
        start, end = (source, destination) if forward else (destination, source)
        if port == 0 and start > end:
            start, end, forward = end, start, not forward
        key = (start, end, port)
        found = self._sums.get(key)
        if found is None:
            if len(self._sums) >= self._most:
                self.left_out_bytes += flow.size_bytes
                return
            found = self._sums[key] = _Sum(first=flow.start, last=flow.end)
        (found.sent if forward else found.received)[flow.interface] += flow.size_bytes
        found.first, found.last = min(found.first, flow.start), max(found.last, flow.end)
        found.from_start |= from_start

    @property
    def strangers(self) -> list[str]:
        """Return the private addresses that no resource has, sorted."""
        return sorted(a for a, node in self._nodes.items() if node.startswith(HOST))

    def traffic(self) -> tuple[Traffic, ...]:
        """Return bytes between nodes by port; addresses of one resource are added up."""
        found: dict[tuple[str, str, int], Traffic] = {}
        for (start, end, port), added, forward in self._by_node():
            sent = max(added.sent.values(), default=0)
            received = max(added.received.values(), default=0)
            if not forward:
                sent, received = received, sent
            first, last = _time(added.first), _time(added.last)
            if known := found.get((start, end, port)):
                sent, received = sent + known.sent_bytes, received + known.received_bytes
                first, last = min(first, known.first_seen), max(last, known.last_seen)
            found[start, end, port] = Traffic(start, end, port, sent, received, first, last)
        return tuple(found[key] for key in sorted(found))

    def edges(self) -> tuple[Edge, ...]:
        """Return one ``calls`` for each pair of nodes: .9 where a start was seen, else .8."""
        ports: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        sure: dict[tuple[str, str], bool] = {}
        last: dict[tuple[str, str], int] = {}
        for (start, end, port), added, _ in self._by_node():
            pair = (start, end)
            ports[pair].add(port)
            sure[pair] = sure.get(pair, False) or added.from_start
            last[pair] = max(last.get(pair, 0), added.last)
        return tuple(
            Edge(
                start,
                end,
                EdgeKind.CALLS,
                f"flow logs, {_named(ports[start, end])}",
                SEEN_FROM_START if sure[start, end] else SEEN_BY_PORT,
                _time(last[start, end]),
            )
            for start, end in sorted(ports)
        )

    def _by_node(self) -> Iterator[tuple[tuple[str, str, int], _Sum, bool]]:
        """Yield each sum with its nodes; False where its start and end changed places.

        Who opened is not known at port 0: then it is who opens at the ports that are known, else
        the first by id, so that no pair seems to call each other.
        """
        known = {(self._nodes[s], self._nodes[e]) for s, e, port in self._sums if port}
        for (start, end, port), added in self._sums.items():
            pair = self._nodes[start], self._nodes[end]
            back = pair[1], pair[0]
            forward = bool(port) or pair in known or (back not in known and pair <= back)
            if not port and pair in known and back in known:
                forward = pair <= back
            if pair[0] != pair[1]:
                yield (*(pair if forward else back), port), added, forward

    def _of(self, address: str, service: str) -> str | None:
        """Return the address; a public one of a service of AWS is that service, as ``aws:s3``."""
        place = self._place(address)
        if not service or place != INTERNET:
            return place
        node = f"{AWS}{service}"
        self._nodes[node] = node
        return node

    def _find(self, text: str) -> str | None:
        """Return the address, or ``internet``; None for what is nobody: multicast, link-local."""
        address = ipaddress.ip_address(text)
        known = self._directory.by_ip(str(address))
        if known is not None:
            self._nodes[str(address)] = known
            return str(address)
        if address.is_multicast or address.is_link_local or address.is_unspecified:
            return None
        if address.is_loopback or str(address) == "255.255.255.255":
            return None
        if address.is_global:
            return INTERNET
        if len(self._nodes) < self._most:
            self._nodes[str(address)] = f"{HOST}{address}"
        return str(address) if str(address) in self._nodes else None


def _direction(flow: Flow) -> tuple[bool, int, bool]:
    """Return whether the source opened the connection, the port that was asked, how sure."""
    opening = flow.flags & _SYN_ACK
    if opening == _SYN:
        return True, flow.destination_port, True
    if opening == _SYN_ACK:
        return False, flow.source_port, True
    if min(flow.source_port, flow.destination_port) >= _EPHEMERAL:
        return True, 0, False
    if flow.source_port < flow.destination_port:
        return False, flow.source_port, False
    return True, flow.destination_port, False


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _named(ports: set[int]) -> str:
    known = sorted(ports - {0})
    if not known:
        return "port not known"
    shown = ", ".join(str(port) for port in known[:_PORTS_NAMED])
    more = len(known) - _PORTS_NAMED
    also = f" and {more} more" if more > 0 else ""
    return f"port{'s' if len(known) > 1 else ''} {shown}{also}"
