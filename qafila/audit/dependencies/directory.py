"""Which resource stands behind a host name, an address, an ARN or a name."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container, Iterable, Iterator, Sequence

from qafila.audit.estate import Resource

_HOST_FACTS = (
    "address",
    "addresses",
    "dns_name",
    "domain",
    "endpoint",
    "endpoints",
    "aliases",
    "host",
    "hostname",
    "private_dns",
)
_IP_FACTS = ("private_ip", "private_ips", "public_ip", "public_ips", "ip", "ips", "pod_ips_seen")
_BUCKET_HOST = re.compile(
    r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.s3[.-](?:[a-z0-9-]+\.)*amazonaws\.com$"
)
_VIEWS = ("postgres:", "prometheus:", "cloudwatch:")
# Only things that run or serve may be meant by a bare name: a group or a disk never is.
_NOT_BY_NAME = (
    "security-group",
    "volume",
    "snapshot",
    "subnet",
    "vpc",
    "target-group",
    "policy",
    "role",
    "user",
    "network-interface",
    "record",
    "image",
    "storage",
    "table",
    "claim",
    "configmap",
)
# What runs is meant before what stands in front of it under the same name.
_RUNS = ("deployment", "statefulset", "daemonset", "function", "ecs:service", "instance")


class Directory:
    """Looks resources up by what else they are called. What two share leads to neither."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        # Who looks from outside is asked last: the thing itself has the address, too.
        resources = sorted(resources, key=lambda r: r.kind.startswith(_VIEWS))
        self._ids = frozenset(r.id for r in resources)
        self._owner = {
            r.id: str(r.facts["attached_to"]) for r in resources if r.facts.get("attached_to")
        }
        views = {r.id for r in resources if r.kind.startswith(_VIEWS)}
        self._hosts = self._index(((h, r) for r in resources for h in _said(r, _HOST_FACTS)), views)
        self._ips = self._index(((a, r) for r in resources for a in _said(r, _IP_FACTS)), views)
        self._arns = self._index((a, r) for r in resources for a in _arns(r))
        named = [r for r in resources if r.name and not r.kind.endswith(_NOT_BY_NAME)]
        self._running = self._index((r.name, r) for r in named if r.kind.endswith(_RUNS))
        self._names = self._index((r.name, r) for r in named)

    def by_host(self, host: str) -> str | None:
        """Return whose host name this is, upper or lower case, or whose bucket it leads to."""
        name = _plain(host)
        found = self._hosts.get(name) or self.by_ip(name)
        if found is None and (bucket := _BUCKET_HOST.match(name)):
            found = self.by_arn(f"arn:aws:s3:::{bucket[1]}")
        return found

    def by_ip(self, address: str) -> str | None:
        """Return whose address this is, private or public."""
        return self._ips.get(_plain(address))

    def by_arn(self, arn: str) -> str | None:
        """Return whose ARN this is; an id counts as one."""
        return arn if arn in self._ids else self._arns.get(_plain(arn))

    def by_name(self, name: str) -> str | None:
        """Return the one thing that runs or serves under this name."""
        return self._running.get(_plain(name)) or self._names.get(_plain(name))

    def _index(
        self, pairs: Iterable[tuple[str, Resource]], views: Container[str] = ()
    ) -> dict[str, str]:
        """Return whose each key is; a network interface stands for what it is attached to."""
        found: dict[str, str] = {}
        shared: set[str] = set()
        for key, resource in pairs:
            owner = self._owner.get(resource.id, resource.id)
            key = _plain(key)
            if found.setdefault(key, owner) != owner and resource.id not in views:
                shared.add(key)
        return {key: owner for key, owner in found.items() if key not in shared}


def is_public(address: str) -> bool | None:
    """Tell whether an address is one of the internet's; None: it is no address at all."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return None


def _arns(resource: Resource) -> Iterator[str]:
    if arn := resource.facts.get("arn"):
        yield str(arn)
    if resource.kind == "s3:bucket":
        yield f"arn:aws:s3:::{resource.name}"


def _said(resource: Resource, facts: Sequence[str]) -> Iterator[str]:
    for fact in facts:
        value = resource.facts.get(fact)
        yield from (str(v) for v in (value if isinstance(value, list | tuple) else (value,)) if v)


def _plain(name: str) -> str:
    return name.strip().lower().rstrip(".")
