"""Traces and flow logs: the published forms, broken ones, and what never comes out of them."""

from __future__ import annotations

import gzip
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.core.dependencies import Directory, Traffic
from qafila.core.dependencies.flows import Flow, FlowSums
from qafila.core.dependencies.spans import Span, SpanJoin
from qafila.core.estate import Collected, Outcome, Resource
from qafila.errors import BadInput
from tasks.observing import read_flow_logs, read_traces
from tasks.observing.flow_fields import DEFAULT, FIELDS, Columns
from tasks.observing.json_stream import Broken, Element, elements
from tasks.observing.span_formats import FIELDS as FORM_FIELDS
from tasks.observing.span_formats import KEYS as FORM_KEYS
from tasks.observing.span_formats import spans_of

T0 = 1_760_000_000  # 2025-10-09T08:53:20Z
ENDED = datetime(2025, 10, 9, 8, 53, 21, tzinfo=UTC)


def resource(
    identifier: str, kind: str = "ec2:instance", name: str = "", **facts: object
) -> Resource:
    return Resource(identifier, kind, name or identifier, "eu-west-3", None, {}, facts)


def otlp_span(own: str, kind: int, parent: str = "", **said: Any) -> dict[str, Any]:
    return {
        "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": own, "parentSpanId": parent,
        "name": "any", "kind": kind, "startTimeUnixNano": f"{T0}000000000",
        "endTimeUnixNano": f"{T0 + 1}000000000",
        "attributes": [
            {"key": k.replace("_", "."),
             "value": {"intValue": str(v)} if isinstance(v, int) else {"stringValue": v}}
            for k, v in said.items()
        ],
    }  # fmt: skip


def otlp(service: str, *spans: Any) -> dict[str, Any]:
    named = [{"key": "service.name", "value": {"stringValue": service}}] if service else []
    return {
        "resource": {"attributes": named},
        "scopeSpans": [{"scope": {"name": "lib"}, "spans": list(spans)}],
    }


SHOP = otlp(
    "shop",
    otlp_span("A1", 3, server_address="orders.internal.example.org", server_port=8080),
    otlp_span("A2", 3, db_system="postgresql", server_address="DB.example.org",
              db_statement="SELECT secret FROM card WHERE pan = '4111111111111111'"),
    otlp_span("A3", 3, db_system_name="postgresql", server_address="db.example.org",
              db_operation_name="INSERT"),
    otlp_span("A4", 4, messaging_destination_name="orders-new"),
    otlp_span("A5", 3, url_full="https://user:hunter2@api.example.org/v1?token=t0ken"),
    otlp_span("A6", 3, server_address="bedrock-runtime.eu-west-3.amazonaws.com"),
    otlp_span("A7", 3, server_address="localhost"),
    otlp_span("A8", 1),
)  # fmt: skip
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
        .replace("resourceSpans", "resource_spans").replace("scopeSpans", "scope_spans")
        .replace("traceId", "trace_id").replace("parentSpanId", "parent_span_id"),
        "array": json.dumps([{"resourceSpans": [SHOP]}, {"resourceSpans": [ORDERS]}]),
    }[form]  # fmt: skip
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
    return json.dumps({"data": [{"traceID": "t1", "spans": spans, "processes": processes}],
                       "total": 0, "limit": 0, "errors": None})  # fmt: skip


def jaeger_span(own: str, process: str, kind: str, parent: str = "", **tags: str) -> dict[str, Any]:
    said = [{"key": "span.kind", "type": "string", "value": kind}]
    said += [{"key": k.replace("_", "."), "type": "string", "value": v} for k, v in tags.items()]
    return {
        "traceID": "t1", "spanID": own, "processID": process, "operationName": "any",
        "references": [{"refType": "CHILD_OF", "traceID": "t1", "spanID": parent}] * bool(parent),
        "startTime": T0 * 1_000_000, "duration": 1_000_000, "tags": said, "logs": [],
    }  # fmt: skip


def test_a_jaeger_export_shows_the_same(tmp_path: Path) -> None:
    text = jaeger(
        jaeger_span("1", "p1", "client", peer_service="orders"),
        jaeger_span("2", "p2", "server", parent="1"),
        jaeger_span("3", "p2", "client", db_type="sql", peer_hostname="db.example.org",
                    db_statement="update stock set n = 1"),
    )  # fmt: skip
    found = read_traces([write(tmp_path / "j.json", text)], RESOURCES)
    assert links(found) == {("service:shop", "fn-orders", "calls"), ("fn-orders", "db-1", "writes")}
    assert {e.last_seen for e in found.edges} == {ENDED}
    assert found.outcome is Outcome.COMPLETE


def zipkin_span(own: str, kind: str, service: str, parent: str = "", **more: Any) -> dict[str, Any]:
    return {
        "traceId": "T1", "id": own, "kind": kind, "name": "any",
        "timestamp": T0 * 1_000_000, "duration": 1_000_000,
        "localEndpoint": {"serviceName": service, "ipv4": "10.0.0.5"},
        **({"parentId": parent} if parent else {}), **more,
    }  # fmt: skip


ZIPKIN = [
    zipkin_span("1", "CLIENT", "shop", remoteEndpoint={"serviceName": "gateway"}),
    zipkin_span("2", "SERVER", "orders", "1"),
    zipkin_span("3", "CLIENT", "orders", "2", tags={"sql.query": "update card set pan = 4111"},
                remoteEndpoint={"ipv4": "10.0.1.9", "serviceName": "db.example.org"}),
    zipkin_span("4", "CLIENT", "shop", tags={"http.url": "https://u:hunter2@api.example.org/?t=t0"},
                remoteEndpoint={"ipv4": "8.8.8.8"}),
    zipkin_span("5", "PRODUCER", "shop", tags={"messaging.destination": "orders-new"}),
    zipkin_span("7", "CLIENT", "shop"), zipkin_span("7", "SERVER", "stock", shared=True),
]  # fmt: skip


@pytest.mark.parametrize("form", ["spans", "traces", "lines"])
def test_zipkin_shows_who_calls_whom(tmp_path: Path, form: str) -> None:
    text = {
        "spans": json.dumps(ZIPKIN), "traces": json.dumps([ZIPKIN[:3], ZIPKIN[3:]], indent=1),
        "lines": "\n".join(map(json.dumps, ZIPKIN)),
    }[form]  # fmt: skip
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
    return {"id": own, "name": name, "start_time": T0 + 0.5, "end_time": T0 + 1.0,
            **({"namespace": namespace} if namespace else {}), **more}  # fmt: skip


SEGMENTS = [
    {
        "trace_id": "1-581cf771-a006649127e371903a2de979", "id": "a1", "name": "shop",
        "start_time": T0, "end_time": T0 + 1.0,
        "subsegments": [
            part("a2", "orders.example.org", "remote",
                 http={"request": {"url": "https://orders.example.org/x?t=t0ken"}}),
            part("a3", "local work", subsegments=[
                part("a4", "ebdb@db.example.org", "remote", sql={
                    "url": "jdbc:postgresql://db.example.org:5432/ebdb",
                    "database_type": "PostgreSQL", "user": "hunter2",
                    "sanitized_query": "SELECT  *  FROM  customers  WHERE  pan=?;"}),
            ]),
            part("a5", "DynamoDB", "aws", aws={"operation": "PutItem", "table_name": "carts"}),
            part("a6", "SQS", "aws", aws={"operation": "SendMessage",
                 "queue_url": "https://sqs.eu-west-3.amazonaws.com/123456789012/orders-new"}),
            part("a7", "S3", "aws", aws={"operation": "GetObject"}),
        ],
    },
    {"trace_id": "1-581cf771-a006649127e371903a2de979", "id": "b1", "name": "orders",
     "parent_id": "a2", "start_time": T0, "end_time": T0 + 1.0},
    {"trace_id": "1-581cf771-a006649127e371903a2de979", "id": "c1", "name": "DynamoDB",
     "parent_id": "a5", "start_time": T0, "end_time": T0 + 1.0, "inferred": True},
]  # fmt: skip


@pytest.mark.parametrize("form", ["documents", "lines", "answer", "request"])
def test_xray_shows_who_calls_whom(tmp_path: Path, form: str) -> None:
    documents = [json.dumps(s) for s in SEGMENTS]
    text = {
        "documents": json.dumps(SEGMENTS), "lines": "\n".join(documents),
        "answer": json.dumps({"Traces": [{"Id": "1-581cf771", "Duration": 1.0, "Segments": [
            {"Id": "a1", "Document": d} for d in documents]}], "UnprocessedTraceIds": []}),
        "request": json.dumps({"TraceSegmentDocuments": documents}),
    }[form]  # fmt: skip
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
    text = "\n".join([
        "garbage", good[: len(good) // 2], json.dumps({"resourceSpans": [7]}), '{"resourceSpans":[',
        json.dumps({"resourceSpans": [otlp("", otlp_span("X", 2))]}),
        json.dumps({"resourceSpans": [otlp("shop", {"spanId": "1"}, "no")]}),
        json.dumps({"resourceSpans": [ORDERS]}), good,
    ])  # fmt: skip
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
    [b"", b"\x00\xff\xfe garbage", b"PAR1....PAR1", b"{}", b'{"resourceSpans": []}',
     b'{"resourceSpans": null}', b"[1, 2]", b'{"a": ' * 200_000, b"[" * 200_000,
     b'{"data": [{"spans": [{"traceID": 1}]}]}', gzip.compress(b"{}")[:12], b"null", b'"',
     b'{"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}', b'{"n": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
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
)  # fmt: skip


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


_WORDS = st.sampled_from(sorted(
    FORM_FIELDS | FORM_KEYS | {"Segments", "Document", "request", "url", "serviceName", "spans",
                               "scopeSpans", "processes", "ipv4", "table_name", "queue_url"}
))  # fmt: skip
_RECORDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=6)
    ),
    max_leaves=20,
)  # fmt: skip


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


# --- flow logs -------------------------------------------------------------------------------

HEADER_5 = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start "
    "end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr "
    "region az-id flow-direction traffic-path"
)
HOSTS = [
    resource("web", private_ip="10.0.0.5", public_ip="52.47.1.2"),
    resource("db", "rds:instance", private_ips=["10.0.1.9"]),
    resource("eni-9", "ec2:network-interface", private_ips=["10.0.0.77"], attached_to="web"),
]


def v2(src: str, dst: str, ports: str, size: int, eni: str = "eni-1", action: str = "ACCEPT",
       at: int = T0) -> str:  # fmt: skip
    return f"2 123456789012 {eni} {src} {dst} {ports} 6 10 {size} {at} {at + 60} {action} OK"


def v5(
    src: str, dst: str, ports: str, size: int, flags: int, eni: str = "eni-1", pkt: str = ""
) -> str:
    packet = pkt or f"{src} {dst}"
    return (
        f"5 123456789012 {eni} {src} {dst} {ports} 6 10 {size} {T0} {T0 + 60} ACCEPT OK vpc-1 "
        f"subnet-1 i-1 {flags} IPv4 {packet} eu-west-3 euw3-az1 egress 1"
    )


def test_flow_logs_show_who_asked_whom_and_how_much(tmp_path: Path) -> None:
    text = "\n".join([
        v2("10.0.0.5", "10.0.1.9", "40001 5432", 1_000),
        v2("10.0.1.9", "10.0.0.5", "5432 40001", 9_000),
        v2("10.0.0.5", "10.0.1.9", "40001 5432", 1_000, "eni-2"),  # the same, at the other end
        v2("10.0.1.9", "10.0.0.5", "5432 40001", 9_000, "eni-2"),
        v2("10.0.0.77", "10.0.1.9", "40002 5432", 500, at=T0 + 600),  # its second address
        v2("8.8.8.8", "10.0.0.5", "51000 443", 70),
        v2("1.1.1.1", "10.0.0.5", "51001 443", 30),
        v2("10.0.0.5", "10.0.3.7", "40003 6379", 5),
        v2("10.0.0.5", "10.0.1.9", "40004 22", 99, action="REJECT"),
        "2 123456789012 eni-1 - - - - - - - 1760000000 1760000060 - NODATA",
        v2("10.0.0.5", "169.254.169.254", "40005 80", 5),
    ])  # fmt: skip
    found = read_flow_logs([write(tmp_path / "f.log.gz", text, packed=True)], HOSTS)
    assert [
        (t.from_id, t.to_id, t.port, t.sent_bytes, t.received_bytes) for t in found.traffic
    ] == [
        ("internet", "web", 443, 100, 0),
        ("web", "db", 5432, 1_500, 9_000),
        ("web", "host:10.0.3.7", 6379, 5, 0),
    ]
    assert {(e.from_id, e.to_id, e.source, e.confidence) for e in found.collected.edges} == {
        ("internet", "web", "flow logs, port 443", 0.8),
        ("web", "db", "flow logs, port 5432", 0.8),
        ("web", "host:10.0.3.7", "flow logs, port 6379", 0.8),
    }
    by_end = {e.to_id: e.last_seen for e in found.collected.edges}
    assert by_end["db"] == datetime.fromtimestamp(T0 + 660, UTC)
    assert found.collected.missed == (
        "no traffic in 1 interval of eni-1 (NODATA); "
        "1 private addresses belong to no resource: 10.0.3.7"
    )
    assert found.records == {"accepted": 9, "rejected": 1, "NODATA": 1}


def test_the_opening_packet_says_who_asked_whatever_the_ports(tmp_path: Path) -> None:
    text = "\n".join([
        HEADER_5,
        v5("10.0.0.5", "10.0.1.9", "33000 50051", 10, 3),  # SYN and FIN: opened here
        v5("10.0.1.9", "10.0.0.5", "50051 33000", 20, 19),  # SYN-ACK: the answer
        v5("10.0.1.9", "10.0.0.5", "45000 46000", 7, 0),  # nobody can say
        # through a NAT gateway: the packet's own addresses count
        v5("10.0.0.5", "10.0.9.9", "40000 443", 11, 2, pkt="10.0.0.5 8.8.4.4"),
    ])  # fmt: skip
    found = read_flow_logs([write(tmp_path / "f", text)], HOSTS)
    assert [
        (t.from_id, t.to_id, t.port, t.sent_bytes, t.received_bytes) for t in found.traffic
    ] == [
        ("web", "db", 0, 0, 7),
        ("web", "db", 50051, 10, 20),
        ("web", "internet", 443, 11, 0),
    ]
    assert {(e.from_id, e.to_id, e.source, e.confidence) for e in found.collected.edges} == {
        ("web", "db", "flow logs, port 50051", 0.9),
        ("web", "internet", "flow logs, port 443", 0.9),
    }
    assert found.collected.outcome is Outcome.COMPLETE


def test_lines_in_another_order_and_from_cloudwatch_are_read(tmp_path: Path) -> None:
    custom = "srcaddr dstaddr dstport srcport bytes end action protocol"
    text = f"{custom}\n10.0.0.5 10.0.1.9 5432 40000 12 {T0} ACCEPT 6\n"
    stamped = f"2025-10-09T08:53:20.000Z {v2('10.0.0.5', '10.0.1.9', '40000 5432', 30)}"
    found = read_flow_logs(
        [write(tmp_path / "custom", text), write(tmp_path / "stamped", stamped)], HOSTS
    )
    assert [t.sent_bytes for t in found.traffic] == [30]  # each interface sums apart: the larger
    assert "may be counted twice" in found.collected.missed


def test_bad_lines_of_flow_logs_are_counted_and_named(tmp_path: Path) -> None:
    good = v2("10.0.0.5", "10.0.1.9", "40001 5432", 1)
    text = "\n".join([
        good, "x y z", good.replace("10.0.0.5", "10.0.0.555"), good.replace(" 1 ", " -1 "),
        good.replace("ACCEPT", "MAYBE"), good.replace("40001", "4ooo1"), good + " more",
        "2 123456789012 eni-1 - - - - - - - 1760000000 1760000060 - SKIPDATA",
    ])  # fmt: skip
    found = read_flow_logs([write(tmp_path / "f", text)], HOSTS).collected
    assert len(found.edges) == 1
    assert found.outcome is Outcome.TRUNCATED
    assert "6 records not readable: f line 2: 3 fields, not 14; " in found.missed
    assert "AWS could not record all in 1 interval of eni-1 (SKIPDATA)" in found.missed


def test_a_flow_log_cut_off_keeps_what_came_before(tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = [v2("10.0.0.5", "10.0.1.9", f"{rng.randrange(1024, 65000)} 443", rng.randrange(10**9))
            for _ in range(5000)]  # fmt: skip
    whole = gzip.compress("\n".join(rows).encode())
    path = tmp_path / "f.gz"
    path.write_bytes(whole[: len(whole) // 2])
    found = read_flow_logs([path], HOSTS).collected
    assert found.edges
    assert "is cut off after line" in found.missed


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1\x00\x00", b"PAR1....PAR1", gzip.compress(b"PAR1...."),
     b"version srcaddr dstaddr\n2 10.0.0.1 10.0.0.2\n", b"\xff" * 100_000,
     b'{"resourceSpans": []}', b"\n\n"],
)  # fmt: skip
def test_what_is_no_flow_log_is_one_clear_refusal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        read_flow_logs([path], HOSTS)
    assert refused.value.problems
    assert "flow logs" in refused.value.remedy


def parquet(path: Path, names: list[str], rows: list[str], codec: str = "gzip") -> Path:
    """Write records as AWS delivers them: names with underscores, no value where text has "-"."""
    whole = {"version", "srcport", "dstport", "protocol", "packets", "bytes", "start", "end",
             "tcp-flags", "traffic-path"}  # fmt: skip
    with duckdb.connect() as database:
        columns = ", ".join(
            f'"{n.replace("-", "_")}" {"BIGINT" if n in whole else "VARCHAR"}' for n in names
        )
        database.execute(f"CREATE TABLE flow ({columns})")
        marks = ", ".join("?" * len(names))
        database.executemany(
            f"INSERT INTO flow VALUES ({marks})",
            [[None if v == "-" else v for v in row.split()] for row in rows],
        )
        database.execute(f"COPY flow TO '{path}' (FORMAT parquet, COMPRESSION {codec})")
    return path


ROWS_5 = [
    v5("10.0.0.5", "10.0.1.9", "33000 50051", 10, 3),
    v5("10.0.1.9", "10.0.0.5", "50051 33000", 20, 19),
    v5("10.0.0.5", "10.0.9.9", "40000 443", 11, 2, pkt="10.0.0.5 8.8.4.4"),
    v5("10.0.0.5", "10.0.1.9", "40004 22", 99, 2).replace("ACCEPT", "REJECT"),
    f"5 123456789012 eni-1 - - - - - - - {T0} {T0 + 60} - NODATA - - - - - - - - - - -",
    f"5 123456789012 eni-2 - - - - - - - {T0} {T0 + 60} - SKIPDATA - - - - - - - - - - -",
]


@pytest.mark.parametrize("form", ["gzip", "snappy", "gzip twice", "shuffled"])
def test_parquet_says_what_the_text_says(tmp_path: Path, form: str) -> None:
    names, rows = HEADER_5.split(), ROWS_5
    if form == "shuffled":
        order = list(range(len(names)))
        random.Random(3).shuffle(order)
        names = [names[n] for n in order]
        rows = [" ".join(row.split()[n] for n in order) for row in ROWS_5]
    path = parquet(tmp_path / "f.parquet", names, rows, "snappy" if form == "snappy" else "gzip")
    if form == "gzip twice":
        path.write_bytes(gzip.compress(path.read_bytes()))
    text = read_flow_logs([write(tmp_path / "f.log", "\n".join([HEADER_5, *ROWS_5]))], HOSTS)
    found = read_flow_logs([path], HOSTS)
    assert found == text
    assert found.records == {"accepted": 3, "rejected": 1, "NODATA": 1, "SKIPDATA": 1}
    assert found.collected.missed == (
        "AWS could not record all in 1 interval of eni-2 (SKIPDATA); "
        "no traffic in 1 interval of eni-1 (NODATA)"
    )


@settings(max_examples=20, deadline=None)
@given(st.permutations(HEADER_5.split()), st.sampled_from(["-", "_"]))
def test_fields_are_found_by_name_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], mark: str
) -> None:
    names = HEADER_5.split()
    place = [names.index(name) for name in order]
    lines = [" ".join(row.split()[n] for n in place) for row in ROWS_5]
    folder = tmp_path_factory.mktemp("flows")
    told = " ".join(order).replace("-", mark)
    found = read_flow_logs([write(folder / "a", "\n".join([told, *lines]))], HOSTS)
    plain = read_flow_logs([write(folder / "b", "\n".join([HEADER_5, *ROWS_5]))], HOSTS)
    assert found == plain


def test_every_field_of_versions_2_to_5_has_its_name() -> None:
    assert {n for names in FIELDS.values() for n in names} == set(HEADER_5.split()) | {
        "sublocation-type", "sublocation-id", "pkt-src-aws-service", "pkt-dst-aws-service",
    }  # fmt: skip
    assert not Columns(DEFAULT).missing
    assert Columns(["version", "srcaddr"]).missing == [
        "dstaddr", "srcport", "dstport", "bytes", "action", "end",
    ]  # fmt: skip


def test_a_service_of_aws_is_not_taken_for_the_internet(tmp_path: Path) -> None:
    header = "srcaddr dstaddr srcport dstport bytes end action interface-id pkt-dst-aws-service"
    text = "\n".join([
        header,
        f"10.0.0.5 52.95.154.1 40000 443 100 {T0} ACCEPT eni-1 S3",
        f"10.0.0.5 52.47.9.9 40000 443 10 {T0} ACCEPT eni-1 EC2",  # anybody's instance
        f"10.0.0.5 8.8.8.8 40000 443 1 {T0} ACCEPT eni-1 -",
        f"10.0.0.5 10.0.1.9 40000 443 7 {T0} ACCEPT eni-1 S3",  # ours, whatever it says
    ])  # fmt: skip
    found = read_flow_logs([write(tmp_path / "f", text)], HOSTS)
    assert {(t.from_id, t.to_id): t.sent_bytes for t in found.traffic} == {
        ("web", "aws:s3"): 100, ("web", "internet"): 11, ("web", "db"): 7,
    }  # fmt: skip


def test_a_parquet_file_cut_off_or_without_the_fields_is_named(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "f.parquet", HEADER_5.split(), ROWS_5)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-40])
    other = parquet(tmp_path / "other.parquet", ["version", "srcaddr"], ["5 10.0.0.5"])
    found = read_flow_logs([whole, cut, other], HOSTS)
    assert len(found.traffic) == 2
    assert found.collected.outcome is Outcome.TRUNCATED
    assert "cut.parquet is cut off after record 0: the Parquet file is damaged" in (
        found.collected.missed
    )
    assert "other.parquet line 1: the columns lack dstaddr, srcport" in found.collected.missed
    for alone in (cut, other):
        with pytest.raises(BadInput) as refused:
            read_flow_logs([alone], HOSTS)
        assert refused.value.problems
        assert all(alone.name in p for p in refused.value.problems)


_ADDRESSES = st.sampled_from(["10.0.0.5", "10.0.0.77", "10.0.1.9", "10.0.3.7", "8.8.8.8"])
_PORTS = st.sampled_from([443, 5432, 40_000, 50_000])
_FLOWS = st.lists(
    st.builds(
        Flow, _ADDRESSES, _ADDRESSES, _PORTS, _PORTS, st.integers(0, 1000), st.just("eni-1"),
        st.integers(T0, T0 + 9), st.integers(T0 + 10, T0 + 20), st.sampled_from([0, 2, 18, 19, 3]),
        st.just(""), st.just(""),
    ),
    max_size=20,
)  # fmt: skip


@settings(deadline=None)
@given(_FLOWS, st.randoms())
def test_bytes_are_never_lost_nor_made_and_order_is_nothing(flows: list[Flow], shuffled) -> None:  # type: ignore[no-untyped-def]
    directory = Directory(HOSTS)
    sums = FlowSums(directory)
    for flow in flows:
        sums.add(flow)
    node = {"10.0.0.5": "web", "10.0.0.77": "web", "10.0.1.9": "db"}
    counted = sum(
        f.size_bytes for f in flows
        if node.get(f.source, f.source) != node.get(f.destination, f.destination)
    )  # fmt: skip
    assert sum(t.sent_bytes + t.received_bytes for t in sums.traffic()) == counted
    again = list(flows)
    shuffled.shuffle(again)
    other = FlowSums(directory)
    for flow in again:
        other.add(flow)
    assert other.traffic() == sums.traffic()
    assert other.edges() == sums.edges()


def test_pairs_beyond_the_bound_are_told_in_bytes() -> None:
    sums = FlowSums(Directory([]), most=3)
    for n in range(10):
        sums.add(Flow(f"10.0.0.{n}", "10.9.9.9", 40_000, 80, 5, "e", T0, T0, 0))
    assert isinstance(sums.traffic()[0], Traffic)
    assert sum(t.sent_bytes for t in sums.traffic()) + sums.left_out_bytes <= 50
    assert len(sums.traffic()) <= 3
