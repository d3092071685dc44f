"""Traces: the published forms, broken ones, and what never comes out of them."""

from __future__ import annotations

import gzip
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.audit.dependencies.directory import Directory
from qafila.audit.dependencies.spans import Span, SpanJoin
from qafila.audit.estate import Collected, Outcome, Resource
from qafila.audit.traffic.flow_logs import read_flow_logs
from qafila.audit.traffic.json_stream import Broken, Element, elements
from qafila.audit.traffic.span_formats import FIELDS as FORM_FIELDS
from qafila.audit.traffic.span_formats import KEYS as FORM_KEYS
from qafila.audit.traffic.span_formats import spans_of
from qafila.audit.traffic.traces import read_traces
from qafila.errors import BadInput

T0 = 1_760_000_000  # 2025-10-09T08:53:20Z
ENDED = datetime(2025, 10, 9, 8, 53, 21, tzinfo=UTC)


def resource(
    identifier: str, kind: str = "ec2:instance", name: str = "", **facts: object
) -> Resource:
    return Resource(identifier, kind, name or identifier, "eu-west-3", None, {}, facts)


def otlp_span(own: str, kind: int, parent: str = "", **said: Any) -> dict[str, Any]:
    return {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": own,
        "parentSpanId": parent,
        "name": "any",
        "kind": kind,
        "startTimeUnixNano": f"{T0}000000000",
        "endTimeUnixNano": f"{T0 + 1}000000000",
        "attributes": [
            {
                "key": k.replace("_", "."),
                "value": {"intValue": str(v)} if isinstance(v, int) else {"stringValue": v},
            }
            for k, v in said.items()
        ],
    }


def otlp(service: str, *spans: Any) -> dict[str, Any]:
    named = [{"key": "service.name", "value": {"stringValue": service}}] if service else []
    return {
        "resource": {"attributes": named},
        "scopeSpans": [{"scope": {"name": "lib"}, "spans": list(spans)}],
    }


SHOP = otlp(
    "shop",
    otlp_span("A1", 3, server_address="orders.internal.example.org", server_port=8080),
    otlp_span(
        "A2",
        3,
        db_system="postgresql",
        server_address="DB.example.org",
        db_statement="SELECT secret FROM card WHERE pan = '4111111111111111'",
    ),
    otlp_span(
        "A3",
        3,
        db_system_name="postgresql",
        server_address="db.example.org",
        db_operation_name="INSERT",
    ),
    otlp_span("A4", 4, messaging_destination_name="orders-new"),
    otlp_span("A5", 3, url_full="https://user:hunter2@api.example.org/v1?token=t0ken"),
    otlp_span("A6", 3, server_address="bedrock-runtime.eu-west-3.amazonaws.com"),
    otlp_span("A7", 3, server_address="localhost"),
    otlp_span("A8", 1),
)
ORDERS = otlp(
    "orders",
    otlp_span("B1", 2, "A1"),
    otlp_span("B2", 5, "A4", messaging_destination_name="orders-new"),
)
RESOURCES = [
    resource("db-1", "rds:instance", address="db.example.org"),
    resource("arn:queue", "sqs:queue", "orders-new"),
    resource("fn-orders", "lambda:function", "orders"),
]


def links(found: Collected) -> set[tuple[str, str, str]]:
    return {(e.from_id, e.to_id, str(e.kind)) for e in found.edges}


SEEN = {
    ("service:shop", "fn-orders", "calls"),  # the server's span is seen: not the host it was told
    ("service:shop", "db-1", "reads"),
    ("service:shop", "db-1", "writes"),
    ("service:shop", "arn:queue", "writes"),
    ("fn-orders", "arn:queue", "reads"),
    ("service:shop", "host:api.example.org", "calls"),
    ("service:shop", "aws:bedrock-runtime", "calls"),
}


def write(path: Path, text: str, packed: bool = False) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["object", "pretty", "lines", "snake", "array"])
def test_otlp_shows_who_calls_whom(tmp_path: Path, form: str, packed: bool) -> None:
    text = {
        "object": json.dumps({"resourceSpans": [SHOP, ORDERS]}),
        "pretty": json.dumps({"resourceSpans": [ORDERS, SHOP]}, indent=2),
        "lines": "".join(json.dumps({"resourceSpans": [r]}) + "\n" for r in (ORDERS, SHOP)),
        "snake": json.dumps({"resourceSpans": [SHOP, ORDERS]})
        .replace("resourceSpans", "resource_spans")
        .replace("scopeSpans", "scope_spans")
        .replace("traceId", "trace_id")
        .replace("parentSpanId", "parent_span_id"),
        "array": json.dumps([{"resourceSpans": [SHOP]}, {"resourceSpans": [ORDERS]}]),
    }[form]
    found = read_traces([write(tmp_path / "t.json", text, packed)], RESOURCES)
    assert links(found) == SEEN
    assert found.outcome is Outcome.COMPLETE
    assert (found.missed, found.resources) == ("", ())
    assert {e.confidence for e in found.edges} == {0.95}
    assert {e.last_seen for e in found.edges} == {ENDED}
    # of a statement, an address and a query nothing comes out but the host
    assert not any(w in repr(found) for w in ("hunter2", "t0ken", "4111", "card", "SELECT"))


def jaeger(*spans: dict[str, Any]) -> str:
    processes = {"p1": {"serviceName": "shop", "tags": []}, "p2": {"serviceName": "orders"}}
    return json.dumps(
        {
            "data": [{"traceID": "t1", "spans": spans, "processes": processes}],
            "total": 0,
            "limit": 0,
            "errors": None,
        }
    )


def jaeger_span(own: str, process: str, kind: str, parent: str = "", **tags: str) -> dict[str, Any]:
    said = [{"key": "span.kind", "type": "string", "value": kind}]
    said += [{"key": k.replace("_", "."), "type": "string", "value": v} for k, v in tags.items()]
    return {
        "traceID": "t1",
        "spanID": own,
        "processID": process,
        "operationName": "any",
        "references": [{"refType": "CHILD_OF", "traceID": "t1", "spanID": parent}] * bool(parent),
        "startTime": T0 * 1_000_000,
        "duration": 1_000_000,
        "tags": said,
        "logs": [],
    }


def test_a_jaeger_export_shows_the_same(tmp_path: Path) -> None:
    text = jaeger(
        jaeger_span("1", "p1", "client", peer_service="orders"),
        jaeger_span("2", "p2", "server", parent="1"),
        jaeger_span(
            "3",
            "p2",
            "client",
            db_type="sql",
            peer_hostname="db.example.org",
            db_statement="update stock set n = 1",
        ),
    )
    found = read_traces([write(tmp_path / "j.json", text)], RESOURCES)
    assert links(found) == {("service:shop", "fn-orders", "calls"), ("fn-orders", "db-1", "writes")}
    assert {e.last_seen for e in found.edges} == {ENDED}
    assert found.outcome is Outcome.COMPLETE


def zipkin_span(own: str, kind: str, service: str, parent: str = "", **more: Any) -> dict[str, Any]:
    return {
        "traceId": "T1",
        "id": own,
        "kind": kind,
        "name": "any",
        "timestamp": T0 * 1_000_000,
        "duration": 1_000_000,
        "localEndpoint": {"serviceName": service, "ipv4": "10.0.0.5"},
        **({"parentId": parent} if parent else {}),
        **more,
    }


ZIPKIN = [
    zipkin_span("1", "CLIENT", "shop", remoteEndpoint={"serviceName": "gateway"}),
    zipkin_span("2", "SERVER", "orders", "1"),
    zipkin_span(
        "3",
        "CLIENT",
        "orders",
        "2",
        tags={"sql.query": "update card set pan = 4111"},
        remoteEndpoint={"ipv4": "10.0.1.9", "serviceName": "db.example.org"},
    ),
    zipkin_span(
        "4",
        "CLIENT",
        "shop",
        tags={"http.url": "https://u:hunter2@api.example.org/?t=t0"},
        remoteEndpoint={"ipv4": "8.8.8.8"},
    ),
    zipkin_span("5", "PRODUCER", "shop", tags={"messaging.destination": "orders-new"}),
    zipkin_span("7", "CLIENT", "shop"),
    zipkin_span("7", "SERVER", "stock", shared=True),
]


@pytest.mark.parametrize("form", ["spans", "traces", "lines"])
def test_zipkin_shows_who_calls_whom(tmp_path: Path, form: str) -> None:
    text = {
        "spans": json.dumps(ZIPKIN),
        "traces": json.dumps([ZIPKIN[:3], ZIPKIN[3:]], indent=1),
        "lines": "\n".join(map(json.dumps, ZIPKIN)),
    }[form]
    known = [*RESOURCES, resource("db-2", "rds:instance", "db.example.org")]
    found = read_traces([write(tmp_path / "z.json", text)], known)
    assert links(found) == {
        ("service:shop", "fn-orders", "calls"),
        ("fn-orders", "db-2", "writes"),
        ("service:shop", "host:8.8.8.8", "calls"),
        ("service:shop", "arn:queue", "writes"),
        ("service:shop", "service:stock", "calls"),  # one id at both ends
    }
    assert {e.last_seen for e in found.edges} == {ENDED}
    assert (found.outcome, found.missed) == (Outcome.COMPLETE, "")
    assert not any(w in repr(found) for w in ("hunter2", "t0", "4111"))


def part(own: str, name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    return {
        "id": own,
        "name": name,
        "start_time": T0 + 0.5,
        "end_time": T0 + 1.0,
        **({"namespace": namespace} if namespace else {}),
        **more,
    }


SEGMENTS = [
    {
        "trace_id": "1-581cf771-a006649127e371903a2de979",
        "id": "a1",
        "name": "shop",
        "start_time": T0,
        "end_time": T0 + 1.0,
        "subsegments": [
            part(
                "a2",
                "orders.example.org",
                "remote",
                http={"request": {"url": "https://orders.example.org/x?t=t0ken"}},
            ),
            part(
                "a3",
                "local work",
                subsegments=[
                    part(
                        "a4",
                        "ebdb@db.example.org",
                        "remote",
                        sql={
                            "url": "jdbc:postgresql://db.example.org:5432/ebdb",
                            "database_type": "PostgreSQL",
                            "user": "hunter2",
                            "sanitized_query": "SELECT  *  FROM  customers  WHERE  pan=?;",
                        },
                    ),
                ],
            ),
            part("a5", "DynamoDB", "aws", aws={"operation": "PutItem", "table_name": "carts"}),
            part(
                "a6",
                "SQS",
                "aws",
                aws={
                    "operation": "SendMessage",
                    "queue_url": "https://sqs.eu-west-3.amazonaws.com/123456789012/orders-new",
                },
            ),
            part("a7", "S3", "aws", aws={"operation": "GetObject"}),
        ],
    },
    {
        "trace_id": "1-581cf771-a006649127e371903a2de979",
        "id": "b1",
        "name": "orders",
        "parent_id": "a2",
        "start_time": T0,
        "end_time": T0 + 1.0,
    },
    {
        "trace_id": "1-581cf771-a006649127e371903a2de979",
        "id": "c1",
        "name": "DynamoDB",
        "parent_id": "a5",
        "start_time": T0,
        "end_time": T0 + 1.0,
        "inferred": True,
    },
]


@pytest.mark.parametrize("form", ["documents", "lines", "answer", "request"])
def test_xray_shows_who_calls_whom(tmp_path: Path, form: str) -> None:
    documents = [json.dumps(s) for s in SEGMENTS]
    text = {
        "documents": json.dumps(SEGMENTS),
        "lines": "\n".join(documents),
        "answer": json.dumps(
            {
                "Traces": [
                    {
                        "Id": "1-581cf771",
                        "Duration": 1.0,
                        "Segments": [{"Id": "a1", "Document": d} for d in documents],
                    }
                ],
                "UnprocessedTraceIds": [],
            }
        ),
        "request": json.dumps({"TraceSegmentDocuments": documents}),
    }[form]
    found = read_traces([write(tmp_path / "x.json", text)], RESOURCES)
    assert links(found) == {
        ("service:shop", "fn-orders", "calls"),  # its own segment, not the host it was told
        ("service:shop", "db-1", "reads"),
        ("service:shop", "arn:queue", "writes"),
        ("service:shop", "database:dynamodb/carts", "writes"),
        ("service:shop", "aws:s3", "calls"),
    }
    assert {e.last_seen for e in found.edges} == {ENDED}
    assert (found.outcome, found.missed) == (Outcome.COMPLETE, "")
    assert not any(w in repr(found) for w in ("hunter2", "t0ken", "customers", "pan="))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"traceId": "t", "id": "1"}, "a span's localEndpoint has no serviceName"),
        ({"traceId": "t"}, "a span has no traceId or id"),
        ({"trace_id": "t", "id": "1"}, "a segment has no trace_id, id or name"),
        ({"trace_id": "t", "id": "1", "name": "n", "type": "subsegment"}, "without its segment"),
        ({"TraceSegmentDocuments": ["{"]}, "a segment's document is no JSON"),
        ({"Traces": [{"Segments": [{"Document": 7}]}]}, "a segment is no object"),
        ([{"spans": []}, {"name": "x"}], "is in none of the forms that are read"),
    ],
)
def test_what_is_in_no_form_is_one_refusal_that_names_what_is_read(
    tmp_path: Path, content: Any, said: str
) -> None:
    with pytest.raises(BadInput) as refused:
        read_traces([write(tmp_path / "u.json", json.dumps(content))], [])
    assert any(said in p for p in refused.value.problems)
    for form in ("OTLP", "Jaeger", "Zipkin", "X-Ray"):
        assert form in str(refused.value.remedy)


def test_broken_lines_are_counted_and_named_and_the_rest_is_read(tmp_path: Path) -> None:
    good = json.dumps({"resourceSpans": [SHOP]})
    text = "\n".join(
        [
            "garbage",
            good[: len(good) // 2],
            json.dumps({"resourceSpans": [7]}),
            '{"resourceSpans":[',
            json.dumps({"resourceSpans": [otlp("", otlp_span("X", 2))]}),
            json.dumps({"resourceSpans": [otlp("shop", {"spanId": "1"}, "no")]}),
            json.dumps({"resourceSpans": [ORDERS]}),
            good,
        ]
    )
    found = read_traces([write(tmp_path / "t.jsonl", text)], RESOURCES)
    assert links(found) == SEEN
    assert found.outcome is Outcome.TRUNCATED
    assert found.missed.startswith("7 records not readable: t.jsonl line 1: begins no JSON object;")
    assert "t.jsonl line 2: " in found.missed
    assert "t.jsonl line 3: is no object" in found.missed
    assert found.missed.endswith(", and more")


def test_a_file_cut_off_keeps_what_came_before(tmp_path: Path) -> None:
    rng = random.Random(1)
    noise = [otlp("shop", otlp_span(f"{rng.getrandbits(64):x}", 2)) for _ in range(2000)]
    whole = gzip.compress(json.dumps({"resourceSpans": [SHOP, ORDERS, *noise]}).encode())
    path = tmp_path / "t.json.gz"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    found = read_traces([path], RESOURCES)
    assert links(found) == SEEN
    assert found.outcome is Outcome.TRUNCATED
    assert "is cut off" in found.missed


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe garbage",
        b"PAR1....PAR1",
        b"{}",
        b'{"resourceSpans": []}',
        b'{"resourceSpans": null}',
        b"[1, 2]",
        b'{"a": ' * 200_000,
        b"[" * 200_000,
        b'{"data": [{"spans": [{"traceID": 1}]}]}',
        gzip.compress(b"{}", mtime=0)[:12],
        b"null",
        b'"',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}',
        b'{"n": ' + b"9" * 5000 + b"}",
    ],
)
def test_nothing_readable_is_one_clear_refusal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        read_traces([path, path], [])
    assert refused.value.problems
    assert all("x.json" in p for p in refused.value.problems)
    assert "OTLP" in refused.value.remedy


def test_paths_that_are_no_files_are_all_named_before_anything_is_read(tmp_path: Path) -> None:
    for reader in (read_traces, read_flow_logs):
        with pytest.raises(BadInput) as refused:
            reader([tmp_path, tmp_path / "gone", write(tmp_path / "x", "")], [])  # type: ignore[operator]
        assert len(refused.value.problems) == 2
        with pytest.raises(BadInput):
            reader([], [])  # type: ignore[operator]


def test_a_caller_that_was_never_traced_is_a_gap(tmp_path: Path) -> None:
    text = json.dumps({"resourceSpans": [ORDERS]})
    found = read_traces([write(tmp_path / "t.json", text)], RESOURCES)
    assert found.outcome is Outcome.TRUNCATED
    assert found.missed == "the callers of 1 spans are in none of the files"


@settings(deadline=None)
@given(st.permutations([*SHOP["scopeSpans"][0]["spans"], *ORDERS["scopeSpans"][0]["spans"]]))
def test_the_order_of_spans_never_matters(spans: list[dict[str, Any]]) -> None:
    join = SpanJoin(Directory(RESOURCES))
    for span in spans:
        service = "shop" if span["spanId"].startswith("A") else "orders"
        for one in spans_of("resourceSpans", otlp(service, span)):
            assert isinstance(one, Span)
            join.add(one)
    assert {(e.from_id, e.to_id, str(e.kind)) for e in join.edges()} == SEEN
    assert (join.lost, join.orphans) == (0, 0)


def test_memory_is_bounded_and_what_it_cost_is_told() -> None:
    join = SpanJoin(Directory([]), most=10)
    for n in range(100):
        said = {"server.address": f"h{n}.example.org"}
        join.add(Span("t", f"c{n}", "", "shop", "client", None, said))
        join.add(Span("t", f"s{n}", f"gone{n}", "orders", "server", None, {}))
    assert len(join.edges()) == 10
    assert (join.lost, join.orphans) == (90, 10)
    assert join.left_out == 90


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(st.lists(_JSON, max_size=4), max_size=4), st.booleans(), st.integers(1, 30))
def test_a_stream_gives_what_json_holds_however_it_is_cut(
    values: list[list[Any]], pretty: bool, piece: int
) -> None:
    import io

    class Dripping(io.StringIO):
        def read(self, size: int | None = -1) -> str:
            return super().read(piece)

    text = "\n".join(
        json.dumps({"x": 1, "data": v, "y": {"data": [9]}}, indent=2 if pretty else None)
        for v in values
    )
    found = list(elements(Dripping(text), frozenset({"data"})))
    assert [e.value for e in found if isinstance(e, Element)] == [v for vs in values for v in vs]
    assert not any(isinstance(e, Broken) for e in found)


_WORDS = st.sampled_from(
    sorted(
        FORM_FIELDS
        | FORM_KEYS
        | {
            "Segments",
            "Document",
            "request",
            "url",
            "serviceName",
            "spans",
            "scopeSpans",
            "processes",
            "ipv4",
            "table_name",
            "queue_url",
        }
    )
)
_RECORDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=6),
    max_leaves=20,
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(["", *sorted(FORM_KEYS)]), _RECORDS)
def test_no_record_ever_makes_a_form_raise(key: str, record: Any) -> None:
    join = SpanJoin(Directory([]))
    for span in spans_of(key, record):
        if isinstance(span, Span):
            join.add(span)
        else:
            assert span
    join.edges()


@settings(deadline=None)
@given(st.text(alphabet='{}[]":,\n 1aresourceSpans', max_size=60))
def test_no_text_ever_makes_the_stream_raise_or_hang(text: str) -> None:
    import io

    list(elements(io.StringIO(text), frozenset({"resourceSpans", "a"})))
