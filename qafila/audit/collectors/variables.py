"""What may be kept of a variable: its name, a host, an ARN. Never its value.

Variables of functions and containers hold passwords as often as addresses, so a value is only
ever searched for what names another part of the estate, and then thrown away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from qafila.audit.estate import Edge

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,62})"
_HOST = re.compile(rf"((?:{_LABEL}\.)*{_LABEL})(?::\d{{1,5}})?\.?", re.IGNORECASE)
_KEYWORD_HOST = re.compile(
    rf"(?:^|[\s;])(?:host|server|data source)=(?:tcp:)?((?:{_LABEL}\.)*{_LABEL})(?:[\s;,:]|$)",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"host|addr|endpoint|server|url|uri|domain|broker|bootstrap|dsn|conn|proxy|peer|seed", re.I
)
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|cred|auth|salt|cert|private", re.I)
_PUBLIC_SUFFIX = re.compile(r".\.(com|net|org|io|internal|local|cloud|dev)$", re.I)
_ARN = re.compile(r"arn:aws[\w-]*:[\w-]+:[\w-]*:\d*:[\w./:*+=@-]+")
_SECRET = re.compile(r"arn:aws[\w-]*:(?:secretsmanager:[\w-]+:\d+:secret|ssm:[\w-]+:\d+:parameter)")
_QUEUE = re.compile(r"https?://sqs\.([\w-]+)\.amazonaws\.com(?:\.cn)?/(\d{12})/([\w.-]{1,80})")
_NOWHERE = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})


@dataclass
class Named:
    """The names that one consumer's variables hold.

    ``hosts`` maps a variable to the host that its value names, ``arns`` to the ARN that its whole
    value is; ``secrets`` are ARNs (Secrets Manager) or names (Parameter Store), without versions.
    """

    variables: set[str] = field(default_factory=set)
    hosts: dict[str, str] = field(default_factory=dict)
    arns: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)

    def take(self, name: str, value: str) -> None:
        """Keep the variable's name, and of its value only what names a part of the estate."""
        self.variables.add(name)
        arn = arn_in(value)
        if arn is None:
            host = host_in(name, value)
            if host is not None:
                self.hosts[name] = host
        elif _SECRET.match(arn):
            self.secrets.add(secret_named(arn))
        else:
            self.arns[name] = arn

    def take_secret(self, name: str, reference: str) -> None:
        """Keep a variable that the platform fills from a secret store, and the secret's name."""
        self.variables.add(name)
        self.secrets.add(secret_named(reference))

    def facts(self) -> dict[str, object]:
        """Return what a resource's facts say of its variables."""
        return {
            "variables": sorted(self.variables),
            "hosts": dict(sorted(self.hosts.items())),
            "secrets": sorted(self.secrets),
        }

    def edges(self, consumer: str) -> list[Edge]:
        """Return what the consumer is configured to use: .8, since use was not seen."""
        return [
            Edge(consumer, arn, "calls", f"environment {name}", 0.8)
            for name, arn in sorted(self.arns.items())
        ]


def named_by(variables: Iterable[tuple[str, str]]) -> Named:
    """Return what the variables name; their values are not kept."""
    named = Named()
    for name, value in variables:
        named.take(name, value)
    return named


def host_in(name: str, value: str) -> str | None:
    """Return the host that a value names: of a URL, a connection string, or a bare ``host:port``.

    A password with dots must not pass as a host. So a bare word counts only where the variable's
    name promises a place or the word ends like a host name, and never where the name promises a
    secret; a URL counts everywhere, without its user, password, path and query.
    """
    value = value.strip().removeprefix("jdbc:")
    if "://" in value:
        return _host_of_url(value)
    if _SECRET_NAME.search(name):
        return None
    first = value.split(",")[0].strip()
    if _PLACE.search(name):
        found = _HOST.fullmatch(first) or _KEYWORD_HOST.search(value)
        return _usable(found[1]) if found is not None else None
    found = _HOST.fullmatch(first)
    return _usable(found[1]) if found is not None and _PUBLIC_SUFFIX.search(found[1]) else None


def _host_of_url(value: str) -> str | None:
    """Return the host, or the first of several; never what may be a part of a password.

    The user's part ends at the last ``@`` before the path. An ``@`` behind that means that a
    password holds an unescaped slash, question mark or hash: then no part is sure to be a host.
    """
    try:
        parts = urlsplit(value)
        host = (parts.hostname or "").split(",")[0]
    except ValueError:
        return None
    if "@" in parts.path + parts.query + parts.fragment:
        return None
    return _usable(host) if re.fullmatch(r"[\w.-]+|[0-9a-f:]+", host) else None


def _usable(host: str) -> str | None:
    host = host.lower().rstrip(".")
    return None if not host or host in _NOWHERE or host.isdigit() else host


def arn_in(value: str) -> str | None:
    """Return the ARN that the whole value is, or the ARN of the queue that its address names."""
    value = value.strip()
    if _ARN.fullmatch(value):
        return value
    queue = _QUEUE.fullmatch(value)
    if queue is None:
        return None
    return f"arn:{partition_of(queue[1])}:sqs:{queue[1]}:{queue[2]}:{queue[3]}"


def secret_named(reference: str) -> str:
    """Return the name of a secret without the JSON key and version that may follow it."""
    if ":secretsmanager:" in reference:
        return ":".join(reference.split(":")[:7])
    return reference


def partition_of(region: str) -> str:
    """Return the part of AWS that a region belongs to, as ARNs spell it."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"
