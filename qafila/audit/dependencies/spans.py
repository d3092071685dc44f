"""Edges from spans: who called whom, what was read and written, when last.

Attribute names: OpenTelemetry semantic conventions, today's and those that instrumentations
still send (``db.system``, ``net.peer.name``), and Jaeger's of the OpenTracing time.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from qafila.audit.dependencies.directory import Directory
from qafila.audit.dependencies.kinds import SEEN, EdgeKind
from qafila.audit.estate import Edge

_HOST_KEYS = (
    "server.address",
    "net.peer.name",
    "peer.hostname",
    "peer.address",
    "network.peer.address",
    "net.peer.ip",
    "net.sock.peer.addr",
    "peer.ipv4",
)
_URL_KEYS = ("url.full", "http.url")
_SYSTEM_KEYS = ("db.system.name", "db.system", "db.type")
_DATABASE_KEYS = ("db.namespace", "db.name", "db.instance")
_OPERATION_KEYS = ("db.operation.name", "db.operation", "db.query.text", "db.statement")
_QUEUE_KEYS = ("messaging.destination.name", "messaging.destination", "message_bus.destination")
_BUCKET_KEYS = ("aws.s3.bucket",)
_PEER_KEYS = ("peer.service", "service.peer.name")

WANTED = frozenset(
    (
        *_HOST_KEYS,
        *_URL_KEYS,
        *_SYSTEM_KEYS,
        *_DATABASE_KEYS,
        *_OPERATION_KEYS,
        *_QUEUE_KEYS,
        *_BUCKET_KEYS,
        *_PEER_KEYS,
    )
)

_READS = frozenset(
    {
        "select",
        "get",
        "mget",
        "hget",
        "hgetall",
        "exists",
        "find",
        "findone",
        "aggregate",
        "count",
        "scan",
        "query",
        "batchgetitem",
        "getitem",
        "search",
        "msearch",
        "show",
        "with",
        "smembers",
        "lrange",
        "zrange",
        "keys",
    }
)
_WRITES = frozenset(
    {
        "insert",
        "update",
        "delete",
        "upsert",
        "merge",
        "replace",
        "put",
        "set",
        "setex",
        "hset",
        "mset",
        "del",
        "incr",
        "decr",
        "expire",
        "lpush",
        "rpush",
        "sadd",
        "zadd",
        "create",
        "alter",
        "drop",
        "truncate",
        "putitem",
        "updateitem",
        "deleteitem",
        "batchwriteitem",
        "index",
        "bulk",
        "insertone",
        "updateone",
        "deleteone",
        "findandmodify",
    }
)
_MOST = 100_000


@dataclass(frozen=True)
class Span:
    """One span, as far as edges need it. ``attributes`` holds keys of ``WANTED`` alone."""

    trace: str
    id: str
    parent: str
    service: str
    kind: str  # client, server, producer, consumer, or "" for what stays inside a service
    ended: datetime | None
    attributes: Mapping[str, str]


class SpanJoin:
    """Joins spans as they come, in any order, in bounded memory.

    A client's span whose server's span is seen becomes one edge between the two services; one
    whose server is not traced leads to the host, database or queue that it names. At most
    100 000 spans wait for their other end; ``lost`` counts those that could wait no longer and
    ``orphans`` the servers' spans whose caller was in no file.
    """

    def __init__(self, directory: Directory, most: int = _MOST) -> None:
        self._directory = directory
        self._most = most
        self._services: dict[str, str] = {}
        self._senders: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._outgoing: OrderedDict[tuple[str, str], tuple[str, str, datetime | None]] = (
            OrderedDict()
        )
        self._waiting: OrderedDict[tuple[str, str], list[tuple[str, datetime | None]]] = (
            OrderedDict()
        )
        self._edges: dict[tuple[str, str, str], tuple[int, datetime | None]] = {}
        self.spans = 0
        self.lost = 0
        self.orphans = 0
        self.left_out = 0

    def add(self, span: Span) -> None:
        """Take one span."""
        self.spans += 1
        service = self._service(span.service)
        key = (span.trace, span.id)
        queue = _first(span.attributes, _QUEUE_KEYS)
        if span.kind == "producer" and queue:
            self._record(service, self._named(queue, "queue:"), EdgeKind.WRITES, span.ended)
        elif span.kind == "consumer" and queue:
            self._record(service, self._named(queue, "queue:"), EdgeKind.READS, span.ended)
        elif span.kind == "client":
            self._call(key, service, span)
        elif span.kind in ("server", "consumer") and span.parent:
            self._served((span.trace, span.parent), service, span.ended)
        if span.kind in ("client", "producer", ""):
            self._sender(key, service)

    def edges(self) -> tuple[Edge, ...]:
        """Return all edges; confidence .95: a trace shows the call. Ends the join."""
        for start, end, ended in self._outgoing.values():
            self._record(start, end, EdgeKind.CALLS, ended)
        self._outgoing.clear()
        self.orphans += sum(len(waiting) for waiting in self._waiting.values())
        self._waiting.clear()
        return tuple(
            Edge(start, end, kind, f"traces, {count:,} spans", SEEN, last)
            for (start, end, kind), (count, last) in sorted(self._edges.items())
        )

    def _call(self, key: tuple[str, str], service: str, span: Span) -> None:
        said = span.attributes
        if system := _first(said, _SYSTEM_KEYS):
            self._record(service, self._database(system, said), _use(said), span.ended)
            return
        if bucket := _first(said, _BUCKET_KEYS):
            node = self._directory.by_arn(f"arn:aws:s3:::{bucket}") or "aws:s3"
            self._record(service, node, EdgeKind.CALLS, span.ended)
            return
        end = self._peer(said)
        for receiver, ended in self._waiting.pop(key, ()):
            self._record(service, receiver, EdgeKind.CALLS, ended or span.ended)
            end = None
        if end is not None:
            self._outgoing[key] = (service, end, span.ended)
            if len(self._outgoing) > self._most:
                _, (start, known, ended) = self._outgoing.popitem(last=False)
                self._record(start, known, EdgeKind.CALLS, ended)

    def _served(self, parent: tuple[str, str], service: str, ended: datetime | None) -> None:
        caller = self._senders.get(parent)
        if caller is None:
            self._waiting.setdefault(parent, []).append((service, ended))
            if len(self._waiting) > self._most:
                _, forgotten = self._waiting.popitem(last=False)
                self.lost += len(forgotten)
            return
        self._outgoing.pop(parent, None)
        self._record(caller, service, EdgeKind.CALLS, ended)

    def _sender(self, key: tuple[str, str], service: str) -> None:
        self._senders[key] = service
        if len(self._senders) > self._most:
            self._senders.popitem(last=False)
        for receiver, ended in self._waiting.pop(key, ()):
            self._record(service, receiver, EdgeKind.CALLS, ended)

    def _record(self, start: str, end: str, kind: str, ended: datetime | None) -> None:
        if start == end:
            return
        key = (start, end, str(kind))
        if key not in self._edges and len(self._edges) >= self._most:
            self.left_out += 1
            return
        seen, last = self._edges.get(key, (0, None))
        newest = ended if last is None or (ended is not None and ended > last) else last
        self._edges[key] = (seen + 1, newest)

    def _service(self, name: str) -> str:
        if name not in self._services:
            self._services[name] = self._named(name, "service:")
        return self._services[name]

    def _named(self, name: str, prefix: str) -> str:
        short = name.rpartition("/")[2] or name  # a queue's address ends with its name
        return self._directory.by_name(short) or f"{prefix}{short[:200]}"

    def _database(self, system: str, said: Mapping[str, str]) -> str:
        host = self._host(said)
        if host and (found := self._directory.by_host(host)):
            return found
        peer = _first(said, _PEER_KEYS)
        if peer and (found := self._directory.by_name(peer)):
            return found
        where = host or peer or _first(said, _DATABASE_KEYS) or "unnamed"
        return f"database:{system[:40]}/{where[:200]}"

    def _peer(self, said: Mapping[str, str]) -> str | None:
        host = self._host(said)
        if host and (found := self._directory.by_host(host)):
            return found
        if peer := _first(said, _PEER_KEYS):
            return self._service(peer)
        if not host:
            return None
        if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return f"aws:{host.split('.')[0]}"
        return f"host:{host}"

    def _host(self, said: Mapping[str, str]) -> str | None:
        host = _first(said, _HOST_KEYS)
        if not host and (url := _first(said, _URL_KEYS)):
            try:
                host = urlsplit(url).hostname
            except ValueError:
                host = None
        host = (host or "").strip().lower().rstrip(".")[:253]
        return None if not host or _is_here(host) or "@" in host or "/" in host else host


def _use(said: Mapping[str, str]) -> EdgeKind:
    """Return what is done to a database, by the first word of what it is told."""
    words = (_first(said, _OPERATION_KEYS) or "").split(None, 1)
    verb = words[0].lower() if words else ""
    return (
        EdgeKind.READS if verb in _READS else EdgeKind.WRITES if verb in _WRITES else EdgeKind.CALLS
    )


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified or address.is_link_local


def _first(said: Mapping[str, str], keys: tuple[str, ...]) -> str | None:
    return next((said[key] for key in keys if said.get(key)), None)
