"""Spans out of the published forms: OTLP in JSON, Jaeger's export, Zipkin's and X-Ray's JSON.

OTLP: opentelemetry-proto, ``TracesData`` in the JSON encoding of "OTLP/HTTP" (camelCase keys, ids
in hexadecimal, enums as numbers; names of enums and snake_case keys are taken, too). Jaeger: what
its query service answers and its UI saves: ``{"data": [{"spans": […], "processes": {…}}]}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from qafila.audit.dependencies.spans import WANTED, Span
from qafila.audit.traffic import xray_spans, zipkin_spans

KEYS = frozenset({"resourceSpans", "resource_spans", "batches", "data"}) | xray_spans.KEYS
# Of an object that is a span or a segment itself, one a line.
FIELDS = zipkin_spans.FIELDS | xray_spans.FIELDS
READ = (
    "OTLP traces as JSON (an ExportTraceServiceRequest, or one a line), what Jaeger's UI saves as "
    "JSON, Zipkin's JSON version 2, or AWS X-Ray's segment documents as JSON (alone, or as "
    "BatchGetTraces answers them)"
)
_KINDS = {
    2: "server",
    3: "client",
    4: "producer",
    5: "consumer",
    "SPAN_KIND_SERVER": "server",
    "SPAN_KIND_CLIENT": "client",
    "SPAN_KIND_PRODUCER": "producer",
    "SPAN_KIND_CONSUMER": "consumer",
}
_SPAN_KINDS = frozenset({"client", "server", "producer", "consumer"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def spans_of(key: str, record: Any) -> Iterator[Span | str]:
    """Yield the spans of one element, and a sentence in the place of each that is not readable."""
    if key in xray_spans.KEYS:
        yield from xray_spans.xray_spans(record)
    elif isinstance(record, list) and not key:  # Zipkin's list of traces
        for inner in record:
            yield from _object(key, inner)
    else:
        yield from _object(key, record)


def _object(key: str, record: Any) -> Iterator[Span | str]:
    if not isinstance(record, dict):
        yield "is no object"
    elif "resourceSpans" in record:
        for inner in _list(record["resourceSpans"]):
            yield from _object("resourceSpans", inner)
    elif key == "data" or "processes" in record:
        yield from _jaeger(record)
    elif key or "scopeSpans" in record or "scope_spans" in record:
        yield from _otlp(record)
    elif zipkin_spans.is_zipkin(record):
        yield zipkin_spans.zipkin_span(record)
    elif xray_spans.is_xray(record):
        yield from xray_spans.xray_spans(record)
    else:
        yield "is in none of the forms that are read"


def _otlp(record: Mapping[str, Any]) -> Iterator[Span | str]:
    resource = record.get("resource")
    said = _attributes(
        resource.get("attributes") if isinstance(resource, dict) else None,
        frozenset({"service.name"}),
    )
    service = said.get("service.name", "")
    for scope in _list(
        record.get("scopeSpans")
        or record.get("scope_spans")
        or record.get("instrumentationLibrarySpans")
    ):
        for span in _list(scope.get("spans") if isinstance(scope, dict) else None):
            yield _otlp_span(span, service)


def _otlp_span(span: Any, service: str) -> Span | str:
    if not isinstance(span, dict):
        return "a span is no object"
    trace, own = span.get("traceId", span.get("trace_id")), span.get("spanId", span.get("span_id"))
    if not (isinstance(trace, str) and isinstance(own, str) and trace and own):
        return "a span has no traceId or spanId"
    if not service:
        return "a span's resource has no service.name"
    parent = span.get("parentSpanId", span.get("parent_span_id"))
    kind = span.get("kind")
    ended = span.get("endTimeUnixNano", span.get("end_time_unix_nano"))
    return Span(
        trace=trace.lower(),
        id=own.lower(),
        parent=parent.lower() if isinstance(parent, str) else "",
        service=service,
        kind=_KINDS.get(kind, "") if isinstance(kind, int | str) else "",
        ended=_time(ended, 1_000),
        attributes=_attributes(span.get("attributes"), WANTED),
    )


def _jaeger(record: Mapping[str, Any]) -> Iterator[Span | str]:
    processes = record.get("processes")
    names = {
        key: process.get("serviceName")
        for key, process in (processes.items() if isinstance(processes, dict) else ())
        if isinstance(process, dict)
    }
    for span in _list(record.get("spans")):
        yield _jaeger_span(span, names)


def _jaeger_span(span: Any, names: Mapping[str, Any]) -> Span | str:
    if not isinstance(span, dict):
        return "a span is no object"
    trace, own = span.get("traceID"), span.get("spanID")
    if not (isinstance(trace, str) and isinstance(own, str) and trace and own):
        return "a span has no traceID or spanID"
    process = span.get("process")
    inline = process.get("serviceName") if isinstance(process, dict) else None
    service = inline or names.get(str(span.get("processID")))
    if not (isinstance(service, str) and service):
        return "a span's process has no serviceName"
    tags = _attributes(span.get("tags"), WANTED | {"span.kind"})
    started, took = span.get("startTime"), span.get("duration")
    whole = isinstance(started, int) and isinstance(took, int)
    kind = tags.pop("span.kind", "").lower()
    return Span(
        trace=trace.lower(),
        id=own.lower(),
        parent=_parent(span),
        service=service,
        kind=kind if kind in _SPAN_KINDS else "",
        ended=_time(started + took if whole else started, 1),  # type: ignore[operator]
        attributes=tags,
    )


def _parent(span: Mapping[str, Any]) -> str:
    """Return the first reference, a parent before what is only followed."""
    references = [r for r in _list(span.get("references")) if isinstance(r, dict)]
    references.sort(key=lambda r: r.get("refType") != "CHILD_OF")
    first = references[0].get("spanID") if references else span.get("parentSpanID")
    return first.lower() if isinstance(first, str) else ""


def _attributes(given: Any, wanted: frozenset[str]) -> dict[str, str]:
    """Return the wanted attributes as text, from OTLP's typed values or Jaeger's plain ones."""
    found: dict[str, str] = {}
    for pair in _list(given):
        if not isinstance(pair, dict):
            continue
        key, value = pair.get("key"), pair.get("value")
        if not isinstance(key, str) or key not in wanted:
            continue
        if isinstance(value, dict):
            value = next(iter(value.values()), None)
        if isinstance(value, str | int) and not isinstance(value, bool):
            found[key] = str(value)[:2_000]
    return found


def _time(given: Any, per_microsecond: int) -> datetime | None:
    """Return a time since 1970, of whole units; None when it is none, or out of range."""
    try:
        microseconds = int(given) // per_microsecond
        return _EPOCH + timedelta(microseconds=microseconds) if microseconds > 0 else None
    except (TypeError, ValueError, OverflowError):
        return None


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []
