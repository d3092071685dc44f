"""What an audit asks of each pair: its ends together, in another region, at another provider."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.dependencies.traffic import Traffic
from qafila.audit.estate import Edge, Resource
from qafila.audit.network_cost.gravity import Asked, WhatIf
from qafila.audit.network_cost.ledger import Charge, Ledger, ledger_of
from qafila.audit.network_cost.questions import (
    ASKED,
    ask_what_if,
    exchanged,
    observed_days,
    parting,
    row_of,
)
from qafila.decision.egress import parse_tariffs
from qafila.decision.network_kinds import Kind
from tests.support.price_book import EGRESS

TARIFFS = parse_tariffs(EGRESS)
MAY = date(2026, 5, 1)
T0 = datetime(2026, 5, 1, tzinfo=UTC)
GIB = 1 << 30


def instance(identifier: str, zone: str) -> Resource:
    return Resource(identifier, "ec2:instance", identifier, zone[:-1], facts={"zone": zone})


def traffic(start: str, end: str, gigabytes: int, back: int = 0) -> Traffic:
    last = T0 + timedelta(days=15)
    return Traffic(start, end, 443, gigabytes * GIB, back * GIB, T0, last)


API, DB = instance("api", "eu-west-3a"), instance("db", "eu-west-3b")


def line(kind: Kind, gigabytes: int, **changes: object) -> Charge:
    said: dict[str, object] = {
        "currency": "USD",
        "start": MAY,
        "category": "Usage",
        "vendor": "AWS",
        "service": "Amazon EC2",
        "region": "eu-west-3",
        "usage_type": None,
        "description": None,
        "unit": "GB",
        "from_region": None,
        "to_region": None,
        "kind": kind,
        "amount": Decimal(1),
        "quantity": Decimal(gigabytes),
        "measured": 1,
        "rows": 1,
    }
    return Charge(**(said | changes))  # type: ignore[arg-type]


def asked(rows: tuple[WhatIf, ...]) -> dict[tuple[str, str], tuple[Asked, Decimal | None]]:
    return {(r.move.id, str(r.move.to)): (r.asked, r.after.amount) for r in rows}


def test_either_end_is_asked_together_in_another_region_and_at_other_providers() -> None:
    rows = ask_what_if([API, DB], [], [traffic("api", "db", 500)], Ledger(), None, TARIFFS)
    # 500 GB in 15 days are 1 000 a month; 0.01 on both sides today
    assert {r.before.amount for r in rows} == {Decimal(20)}
    assert asked(rows) == {
        ("api", "aws eu-west-3b"): (Asked.TOGETHER, Decimal(0)),
        ("db", "aws eu-west-3a"): (Asked.TOGETHER, Decimal(0)),
        ("api", "aws eu-central-1"): (Asked.ANOTHER_REGION, Decimal(20)),  # Frankfurt sends: 0.02
        ("db", "aws eu-central-1"): (Asked.ANOTHER_REGION, Decimal(20)),
        # api sends: 100 free, 900 · 0.087; 1 000 · 0.12; the first ten terabytes are free
        ("api", "azure germanywestcentral"): (Asked.ANOTHER_PROVIDER, Decimal("78.3")),
        ("api", "gcp europe-west3"): (Asked.ANOTHER_PROVIDER, Decimal(120)),
        ("api", "oci eu-frankfurt-1"): (Asked.ANOTHER_PROVIDER, Decimal(0)),
        # db only receives, AWS sends: 100 free, 900 · 0.09
        ("db", "azure germanywestcentral"): (Asked.ANOTHER_PROVIDER, Decimal(81)),
        ("db", "gcp europe-west3"): (Asked.ANOTHER_PROVIDER, Decimal(81)),
        ("db", "oci eu-frankfurt-1"): (Asked.ANOTHER_PROVIDER, Decimal(81)),
    }
    assert {r.flow.source for r in rows} == {
        "flow logs of 15 days from 2026-05-01, as a month of 30"
    }


def test_a_pair_in_two_regions_is_asked_about_a_third() -> None:
    far = instance("db", "eu-central-1a")
    rows = ask_what_if([API, far], [], [traffic("api", "db", 5)], Ledger(), None, TARIFFS)
    regions = {str(r.move.to) for r in rows if r.asked is Asked.ANOTHER_REGION}
    assert regions == {"aws eu-west-1"}


def test_a_bill_alone_gives_routes_by_service_and_account_with_their_month() -> None:
    ledger = ledger_of(
        [
            line(Kind.INTERNET_OUT, 1100, account="111"),
            line(Kind.INTERNET_OUT, 100, account="222"),
            line(Kind.INTER_REGION, 50, usage_type="EUW3-USE1-AWS-Out-Bytes"),
            line(Kind.CROSS_ZONE, 10),
            line(Kind.NAT_PROCESSING, 7),
            line(Kind.INTERNET_OUT, 0),
            line(Kind.INTERNET_OUT, 5, region=None),
            line(Kind.INTERNET_OUT, 5, start=date(2026, 4, 1)),
        ]
    )
    rows = ask_what_if([], [], [], ledger, MAY, TARIFFS)
    flows = {(r.flow.from_id, r.flow.to_id): r.flow for r in rows}
    assert {k: exchanged(f) for k, f in flows.items()} == {
        ("Amazon EC2 in eu-west-3 of 111", "internet"): 1100,
        ("Amazon EC2 in eu-west-3 of 222", "internet"): 100,
        ("Amazon EC2 in eu-west-3", "its other end in us-east-1"): 50,
        ("Amazon EC2 in eu-west-3", "its other end in another zone of eu-west-3"): 5,
    }
    assert {(f.source, r.period) for r in rows for f in [r.flow]} == {
        ("bill of 2026-05", "2026-05")
    }
    told = [row_of(r, {}) for r in rows]
    one_zone = [t for t in told if t["route_before"] == "inter-region" and t["asked"] == "together"]
    assert {(t["before"], t["after"], t["route_after"]) for t in one_zone} == {
        ("1", "0", "within a region")  # 50 · 0.02
    }
    assert all("both ends in one zone" in t["assumes"] for t in one_zone)
    # of 111 leave 1 100 on top of 100 + 5 (no region, but billed): 1 100 · 0.09
    [gcp] = [t for t in told if t["from"].endswith("111") and t["where"] == "gcp europe-west3"]
    assert (gcp["before"], gcp["after"]) == ("99", "131.24")  # 1 024 · 0.12 + 76 · 0.11


def test_pairs_without_bytes_are_asked_about_together_alone_and_have_no_figure() -> None:
    web = instance("web", "eu-west-3a")
    edges = [Edge("web", "db", "calls", "environment DB", 0.8)]
    rows = ask_what_if([API, DB, web], edges, [traffic("api", "db", 1)], Ledger(), None, TARIFFS)
    unmeasured = [r for r in rows if r.flow.from_id == "web"]
    assert unmeasured
    assert all(r.change is None and "not measured" in r.why for r in unmeasured)
    assert all(row_of(r, {})["gigabytes"] is None for r in unmeasured)
    assert {r.asked for r in unmeasured} <= {Asked.TOGETHER, Asked.ANOTHER_ZONE}
    assert ask_what_if([API, DB, web], edges, [], Ledger(), None, TARIFFS) == ()


def test_the_director_is_told_what_parting_would_cost() -> None:
    rows = ask_what_if(
        [API, DB],
        [],
        [traffic("api", "db", 500, back=100), traffic("api", "internet", 9_000)],
        Ledger(),
        None,
        TARIFFS,
    )
    # db answers 200 GB from AWS: 100 · 0.09; api sends 1 000 from Google: 0.12; from Oracle: free
    expected = (
        "orders-api and db exchange 1,200.0 GB a month (flow logs of 15 days from 2026-05-01, ",
        "as a month of 30): 24.00 USD today; 24.00 USD with one of them in aws eu-central-1; ",
        "9.00 USD to 129.00 USD with one of them at another provider ",
        "(oci eu-frankfurt-1, gcp europe-west3)",
    )
    assert parting(rows, {"api": "orders-api"}) == ["".join(expected)]
    assert parting([], {}) == []


def test_of_very_many_pairs_the_dearest_and_the_largest_are_asked_about() -> None:
    near = [instance(f"n{n}", "eu-west-3a") for n in range(2 * ASKED)]
    far = instance("far", "eu-west-3b")
    seen = [traffic("n0", r.id, 100 + n) for n, r in enumerate(near) if n]  # free, in one zone
    seen.append(traffic("n0", "far", 1))  # the only pair that costs anything, and the smallest
    rows = ask_what_if([*near, far], [], seen, Ledger(), None, TARIFFS)
    asked_about = {(r.flow.from_id, r.flow.to_id) for r in rows}
    assert ("n0", "far") in asked_about
    assert ("n0", near[-1].id) in asked_about
    assert len(asked_about) <= 2 * ASKED
    assert ("n0", "n1") not in asked_about or len(seen) <= 2 * ASKED


def test_days_are_never_less_than_an_hour() -> None:
    assert observed_days([]) is None
    assert observed_days([Traffic("a", "b", 1, 1, 1, T0, T0)]) == 1 / 24
    assert observed_days([traffic("a", "b", 1)]) == 15


zones = st.sampled_from(
    ["eu-west-3a", "eu-west-3b", "eu-central-1a", "us-east-1a", "me-central-1a"]
)
pairs = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde"), st.integers(0, 10**6)),
    max_size=6,
)


@given(st.fixed_dictionaries(dict.fromkeys("abcde", zones)), pairs)
def test_of_every_estate(placed: dict[str, str], seen: list[tuple[str, str, int]]) -> None:
    """Each measured pair is asked about both ends; no move is to where the end stands; figures
    are never below nothing; a row without one says why."""
    resources = [instance(name, zone) for name, zone in placed.items()]
    moving = [traffic(a, b, gb) for a, b, gb in seen if a != b]
    rows = ask_what_if(resources, [], moving, Ledger(), None, TARIFFS)
    for row in rows:
        here = row.flow.origin if row.move.id == row.flow.from_id else row.flow.destination
        assert row.move.to != here
        assert (row.change is None) == bool(row.why)
        assert all(c.amount is None or c.amount >= 0 for c in (row.before, row.after))
        assert row.assumes
    for flow in {r.flow for r in rows}:
        mine = [r for r in rows if r.flow == flow]
        assert len({(r.move.id, r.move.to) for r in mine}) == len(mine)
        if exchanged(flow) and flow.origin != flow.destination:
            for end in (flow.from_id, flow.to_id):
                kinds = {r.asked for r in mine if r.move.id == end}
                assert {Asked.TOGETHER, Asked.ANOTHER_REGION, Asked.ANOTHER_PROVIDER} <= kinds
