"""Flow logs: text and Parquet, broken ones, and what never comes out of them."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.audit.dependencies.directory import Directory
from qafila.audit.dependencies.flows import Flow, FlowSums
from qafila.audit.dependencies.traffic import Traffic
from qafila.audit.estate import Outcome
from qafila.audit.traffic.flow_fields import DEFAULT, FIELDS, Columns
from qafila.audit.traffic.flow_logs import read_flow_logs
from qafila.errors import BadInput
from tests.unit.audit.test_observing import T0, resource, write

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


def v2(
    src: str,
    dst: str,
    ports: str,
    size: int,
    eni: str = "eni-1",
    action: str = "ACCEPT",
    at: int = T0,
) -> str:
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
    text = "\n".join(
        [
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
        ]
    )
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
    text = "\n".join(
        [
            HEADER_5,
            v5("10.0.0.5", "10.0.1.9", "33000 50051", 10, 3),  # SYN and FIN: opened here
            v5("10.0.1.9", "10.0.0.5", "50051 33000", 20, 19),  # SYN-ACK: the answer
            v5("10.0.1.9", "10.0.0.5", "45000 46000", 7, 0),  # nobody can say
            # through a NAT gateway: the packet's own addresses count
            v5("10.0.0.5", "10.0.9.9", "40000 443", 11, 2, pkt="10.0.0.5 8.8.4.4"),
        ]
    )
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
    text = "\n".join(
        [
            good,
            "x y z",
            good.replace("10.0.0.5", "10.0.0.555"),
            good.replace(" 1 ", " -1 "),
            good.replace("ACCEPT", "MAYBE"),
            good.replace("40001", "4ooo1"),
            good + " more",
            "2 123456789012 eni-1 - - - - - - - 1760000000 1760000060 - SKIPDATA",
        ]
    )
    found = read_flow_logs([write(tmp_path / "f", text)], HOSTS).collected
    assert len(found.edges) == 1
    assert found.outcome is Outcome.TRUNCATED
    assert "6 records not readable: f line 2: 3 fields, not 14; " in found.missed
    assert "AWS could not record all in 1 interval of eni-1 (SKIPDATA)" in found.missed


def test_a_flow_log_cut_off_keeps_what_came_before(tmp_path: Path) -> None:
    rng = random.Random(2)
    rows = [
        v2("10.0.0.5", "10.0.1.9", f"{rng.randrange(1024, 65000)} 443", rng.randrange(10**9))
        for _ in range(5000)
    ]
    whole = gzip.compress("\n".join(rows).encode())
    path = tmp_path / "f.gz"
    path.write_bytes(whole[: len(whole) // 2])
    found = read_flow_logs([path], HOSTS).collected
    assert found.edges
    assert "is cut off after line" in found.missed


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1\x00\x00",
        b"PAR1....PAR1",
        gzip.compress(b"PAR1....", mtime=0),
        b"version srcaddr dstaddr\n2 10.0.0.1 10.0.0.2\n",
        b"\xff" * 100_000,
        b'{"resourceSpans": []}',
        b"\n\n",
    ],
)
def test_what_is_no_flow_log_is_one_clear_refusal(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        read_flow_logs([path], HOSTS)
    assert refused.value.problems
    assert "flow logs" in refused.value.remedy


def parquet(path: Path, names: list[str], rows: list[str], codec: str = "gzip") -> Path:
    """Write records as AWS delivers them: names with underscores, no value where text has "-"."""
    whole = {
        "version",
        "srcport",
        "dstport",
        "protocol",
        "packets",
        "bytes",
        "start",
        "end",
        "tcp-flags",
        "traffic-path",
    }
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
        "sublocation-type",
        "sublocation-id",
        "pkt-src-aws-service",
        "pkt-dst-aws-service",
    }
    assert not Columns(DEFAULT).missing
    assert Columns(["version", "srcaddr"]).missing == [
        "dstaddr",
        "srcport",
        "dstport",
        "bytes",
        "action",
        "end",
    ]


def test_a_service_of_aws_is_not_taken_for_the_internet(tmp_path: Path) -> None:
    header = "srcaddr dstaddr srcport dstport bytes end action interface-id pkt-dst-aws-service"
    text = "\n".join(
        [
            header,
            f"10.0.0.5 52.95.154.1 40000 443 100 {T0} ACCEPT eni-1 S3",
            f"10.0.0.5 52.47.9.9 40000 443 10 {T0} ACCEPT eni-1 EC2",  # anybody's instance
            f"10.0.0.5 8.8.8.8 40000 443 1 {T0} ACCEPT eni-1 -",
            f"10.0.0.5 10.0.1.9 40000 443 7 {T0} ACCEPT eni-1 S3",  # ours, whatever it says
        ]
    )
    found = read_flow_logs([write(tmp_path / "f", text)], HOSTS)
    assert {(t.from_id, t.to_id): t.sent_bytes for t in found.traffic} == {
        ("web", "aws:s3"): 100,
        ("web", "internet"): 11,
        ("web", "db"): 7,
    }


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
        Flow,
        _ADDRESSES,
        _ADDRESSES,
        _PORTS,
        _PORTS,
        st.integers(0, 1000),
        st.just("eni-1"),
        st.integers(T0, T0 + 9),
        st.integers(T0 + 10, T0 + 20),
        st.sampled_from([0, 2, 18, 19, 3]),
        st.just(""),
        st.just(""),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(_FLOWS, st.randoms())
def test_bytes_are_never_lost_nor_made_and_order_is_nothing(flows: list[Flow], shuffled) -> None:  # type: ignore[no-untyped-def]
    directory = Directory(HOSTS)
    sums = FlowSums(directory)
    for flow in flows:
        sums.add(flow)
    node = {"10.0.0.5": "web", "10.0.0.77": "web", "10.0.1.9": "db"}
    counted = sum(
        f.size_bytes
        for f in flows
        if node.get(f.source, f.source) != node.get(f.destination, f.destination)
    )
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
