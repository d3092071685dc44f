"""Spans out of AWS X-Ray: segment documents, alone or as BatchGetTraces answers them.

Format: "AWS X-Ray segment documents" of the X-Ray developer guide. A segment is what a service
did; its subsegments with a namespace are its calls. Inferred segments repeat a subsegment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from qafila.audit.dependencies.endpoints import endpoint_of
from qafila.audit.dependencies.spans import Span

FIELDS = frozenset(
    {
        "trace_id",
        "id",
        "parent_id",
        "name",
        "type",
        "start_time",
        "end_time",
        "namespace",
        "http",
        "sql",
        "aws",
        "inferred",
        "subsegments",
    }
)
KEYS = frozenset({"Traces", "TraceSegmentDocuments"})
_DEEPEST = 50  # subsegments inside each other; a document has at most 64 kB
_LONGEST = 2_000


def is_xray(record: Mapping[str, Any]) -> bool:
    """Tell whether an object is a segment, or a trace of segments."""
    return "trace_id" in record or "Segments" in record


def xray_spans(record: Any) -> Iterator[Span | str]:
    """Yield the spans of a segment, of a trace, or of a segment's document as text."""
    if isinstance(record, str):
        try:
            record = json.loads(record)
        except (ValueError, RecursionError):
            yield "a segment's document is no JSON"
            return
    if not isinstance(record, dict):
        yield "a segment is no object"
    elif "Segments" in record:
        for segment in _list(record["Segments"]):
            yield from xray_spans(segment.get("Document") if isinstance(segment, dict) else None)
    elif not (_text(record, "trace_id") and _text(record, "id") and _text(record, "name")):
        yield "a segment has no trace_id, id or name"
    elif record.get("type") == "subsegment":
        yield "a subsegment was sent without its segment, which names the service"
    elif record.get("inferred") is not True:
        trace, service = _text(record, "trace_id"), _text(record, "name")
        yield Span(
            trace,
            _text(record, "id"),
            _text(record, "parent_id"),
            service,
            "server",
            _time(record.get("end_time")),
            {},
        )
        yield from _inside(record, trace, service, _DEEPEST)


def _inside(record: Mapping[str, Any], trace: str, service: str, deep: int) -> Iterator[Span | str]:
    for part in _list(record.get("subsegments")):
        if not isinstance(part, dict) or not _text(part, "id"):
            yield "a subsegment has no id"
            continue
        kind, said = _call(part)
        yield Span(
            trace,
            _text(part, "id"),
            _text(record, "id"),
            service,
            kind,
            _time(part.get("end_time")),
            said,
        )
        if deep > 0:
            yield from _inside(part, trace, service, deep - 1)


def _call(part: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return a subsegment's kind and what it says of the other end, in OpenTelemetry's words."""
    sql, aws, name = _dict(part, "sql"), _dict(part, "aws"), _text(part, "name")
    operation = _text(aws, "operation")
    if sql:
        host = endpoint_of(_text(sql, "url"))
        return "client", {
            "db.system": _text(sql, "database_type").lower() or "sql",
            "db.statement": _text(sql, "sanitized_query"),
            "server.address": host.host if host is not None else "",
        }
    if part.get("namespace") == "aws":
        if queue := _text(aws, "queue_url"):
            kind = "consumer" if operation.startswith("Receive") else "producer"
            return kind, {"messaging.destination.name": queue}
        if table := _text(aws, "table_name"):
            said = {"db.system": name.lower(), "peer.service": table, "db.operation": operation}
            return "client", said
        if bucket := _text(aws, "bucket_name"):
            return "client", {"aws.s3.bucket": bucket}
        return "client", {"server.address": f"{name.lower()}.amazonaws.com"}
    if part.get("namespace") == "remote":
        url = _text(_dict(_dict(part, "http"), "request"), "url")
        return "client", {"http.url": url} if url else {"peer.service": name}
    return "", {}


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    return value[:_LONGEST] if isinstance(value, str) else ""


def _dict(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []


def _time(seconds: Any) -> datetime | None:
    """Return a time given in seconds since 1970; None where it is not told, or out of range."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds <= 0:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
