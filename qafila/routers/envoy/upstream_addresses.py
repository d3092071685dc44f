"""Which addresses an Envoy may be told to send users' requests to.

A workload file names them, and whoever may apply one is not always who runs the edge: Envoy's own
admin port, or the address where a cloud hands out credentials, is no service of anybody's users.
Loopback of Envoy's machine is a service only where the edge's own connection says so.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from qafila.errors import BadInput
from qafila.routers.envoy.arms import Arm
from qafila.workload.router import loopback_ports

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254")})
_PORTS = {"http": 80, "https": 443}


def require_upstreams(arms: Mapping[str, Arm], edges: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse arms that lead back into an edge, or to an address that is no service's.

    ``edges`` are the recorded settings of the Envoys that would carry them, by name. A name is
    resolved now, and each of its addresses looked at; a name that nobody knows yet is left to
    Envoy. Loopback is refused unless ``allowed_loopback`` of every edge names the port.

    Raises:
        BadInput: naming every problem.
    """
    own = {
        (address, port)
        for settings in edges.values()
        for key in ("admin_url", "listen_url")
        for address, port in _endpoints(str(settings.get(key) or ""))
    }
    problems = [
        problem
        for name, arm in arms.items()
        if (problem := _problem(name, arm.url, own, edges)) is not None
    ]
    if not problems:
        return
    remedies = []
    if any(not p.closed_by for p in problems):
        remedies.append("name the address of the service itself in the workload file")
    if blocks := sorted({f"qafila-envoy/{name}" for p in problems for name in p.closed_by}):
        ports = sorted({p.port for p in problems if p.closed_by})
        remedies.append(
            f"where users may reach it, add {', '.join(map(str, ports))} to allowed_loopback of "
            f"the block {', '.join(blocks)} in the Prefect UI"
        )
    raise BadInput(
        "these addresses are no services for users:",
        [p.sentence for p in problems],
        remedy="; ".join(remedies) + "; then: qafila apply FILE",
    )


@dataclass(frozen=True)
class _Problem:
    """What is wrong with one arm; ``closed_by``: the edges that do not allow its loopback port."""

    sentence: str
    port: int
    closed_by: tuple[str, ...] = ()


def _problem(
    name: str, url: str, own: Set[tuple[Address, int]], edges: Mapping[str, Mapping[str, Any]]
) -> _Problem | None:
    for address, port in _endpoints(url):
        where = f"service.{name}.url: {url!r} leads to {address}, port {port}"
        why = _forbidden(address)
        if why is None and _leads_back(address, port, own):
            why = "it is this Envoy's own admin or user address"
        if why is not None:
            return _Problem(f"{where}: {why}.", port)
        closed_by = tuple(n for n, s in edges.items() if not _allows(s, address, port))
        if closed_by:
            why = f"it is loopback, and {', '.join(closed_by)} does not allow users there"
            return _Problem(f"{where}: {why}.", port, closed_by)
    return None


def _allows(settings: Mapping[str, Any], address: Address, port: int) -> bool:
    """Say whether an edge may send users to an address, as far as loopback is concerned."""
    if not address.is_loopback:
        return True
    return any(port in loopback_ports(entry) for entry in settings.get("allowed_loopback") or ())


def _forbidden(address: Address) -> str | None:
    if address in _METADATA or address.is_link_local:
        return "it is link-local or a cloud's metadata service, which hands out credentials"
    if address.is_unspecified:
        return "it is the unspecified address, which means every address of Envoy's machine"
    if address.is_multicast:
        return "it is a multicast address"
    return None


def _leads_back(address: Address, port: int, own: Iterable[tuple[Address, int]]) -> bool:
    """Say whether it is an edge's endpoint; all loopback addresses of a machine are one."""
    return any(
        port == own_port
        and (address == own_address or (address.is_loopback and own_address.is_loopback))
        for own_address, own_port in own
    )


def _endpoints(url: str) -> list[tuple[Address, int]]:
    """Return the addresses and the port that a URL leads to; none where nobody knows its host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return []
    if not host or port is None:
        return []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [(_plain(str(row[4][0])), port) for row in found]


def _plain(text: str) -> Address:
    """Return an address as it is meant: an IPv4 address inside an IPv6 one is that IPv4 address."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped
