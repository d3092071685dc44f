"""Spans out of Zipkin's JSON, version 2: what its API answers and its UI saves.

Format: zipkin2-api.yaml of openzipkin/zipkin-api; a list of spans, a list of such lists, or one
span a line.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from qafila.audit.dependencies.spans import WANTED, Span

FIELDS = frozenset(
    {
        "traceId",
        "id",
        "parentId",
        "kind",
        "timestamp",
        "duration",
        "localEndpoint",
        "remoteEndpoint",
        "tags",
        "shared",
    }
)
_KINDS = frozenset({"client", "server", "producer", "consumer"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = 2_000  # characters of a tag


def is_zipkin(record: Mapping[str, Any]) -> bool:
    """Tell whether an object is a span of Zipkin's."""
    return "traceId" in record


def zipkin_span(record: Mapping[str, Any]) -> Span | str:
    """Return the span, or what it lacks."""
    trace, own = record.get("traceId"), record.get("id")
    if not (isinstance(trace, str) and isinstance(own, str) and trace and own):
        return "a span has no traceId or id"
    service = _endpoint(record.get("localEndpoint")).get("serviceName")
    if not service:
        return "a span's localEndpoint has no serviceName"
    said = str(record.get("kind") or "").lower()
    parent = record.get("parentId")
    if said == "server" and record.get("shared") is True:
        parent = own  # one id for both ends of a call (B3): its caller is the span of that id
    return Span(
        trace=trace.lower(),
        id=own.lower(),
        parent=parent.lower() if isinstance(parent, str) else "",
        service=service,
        kind=said if said in _KINDS else "",
        ended=_ended(record.get("timestamp"), record.get("duration")),
        attributes=_attributes(record),
    )


def _attributes(record: Mapping[str, Any]) -> dict[str, str]:
    given = record.get("tags")
    tags = given if isinstance(given, dict) else {}
    found = {k: v[:_LONGEST] for k, v in tags.items() if k in WANTED and isinstance(v, str)}
    if isinstance(query := tags.get("sql.query"), str):
        found.setdefault("db.system", "sql")
        found.setdefault("db.statement", query[:_LONGEST])
    remote = _endpoint(record.get("remoteEndpoint"))
    if name := remote.get("serviceName"):
        found.setdefault("peer.service", name)
    elif address := remote.get("ipv4") or remote.get("ipv6"):
        found.setdefault("network.peer.address", address)
    return found


def _endpoint(given: Any) -> dict[str, str]:
    pairs = given.items() if isinstance(given, dict) else ()
    return {k: v[:_LONGEST] for k, v in pairs if isinstance(v, str) and v}


def _ended(started: Any, took: Any) -> datetime | None:
    """Return the end from microseconds since 1970; None where it is not told, or out of range."""
    if not isinstance(started, int) or isinstance(started, bool) or started <= 0:
        return None
    try:
        return _EPOCH + timedelta(microseconds=started + (took if isinstance(took, int) else 0))
    except OverflowError:
        return None
