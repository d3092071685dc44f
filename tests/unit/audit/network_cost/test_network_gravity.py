"""Data gravity: what a move would change, never a figure where bytes or prices are not known."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.dependencies.traffic import Traffic
from qafila.audit.estate import Edge, Resource
from qafila.audit.network_cost.flow_price import cost_of
from qafila.audit.network_cost.flows import flows_of, place_of, pool_of
from qafila.audit.network_cost.gravity import Asked, what_if
from qafila.audit.network_cost.ledger import Charge, ledger_of
from qafila.audit.network_cost.places import (
    EVERY_ZONE,
    THE_INTERNET,
    Flow,
    Move,
    Place,
    moves_together,
    route_between,
)
from qafila.decision.egress import Tariffs, parse_tariffs
from qafila.decision.network_kinds import Kind
from tests.support.price_book import EGRESS

TARIFFS = parse_tariffs(EGRESS)
A, B = Place("aws", "eu-west-3", "eu-west-3a"), Place("aws", "eu-west-3", "eu-west-3b")
FRANKFURT, OHIO = Place("aws", "eu-central-1", "eu-central-1a"), Place("aws", "us-east-2")
GCP, OCI = Place("gcp", "europe-west9"), Place("oci", "eu-frankfurt-1")
DUBAI = Place("aws", "me-central-1", "me-central-1a")
WHEN = datetime(2026, 5, 1, tzinfo=UTC)


def flow(
    origin: Place | None = A,
    destination: Place | None = B,
    sent: str | None = "1000",
    received: str | None = "0",
) -> Flow:
    return Flow(
        "api",
        "db",
        origin,
        destination,
        None if sent is None else Decimal(sent),
        None if received is None else Decimal(received),
        "test",
    )


@pytest.mark.parametrize(
    ("origin", "destination", "route"),
    [
        (A, A, Kind.WITHIN_REGION),
        (A, B, Kind.CROSS_ZONE),
        (A, FRANKFURT, Kind.INTER_REGION),
        (A, GCP, Kind.CROSS_CLOUD),
        (A, THE_INTERNET, Kind.INTERNET_OUT),
        (THE_INTERNET, A, Kind.INTERNET_IN),
        (A, Place("aws", "eu-west-3"), None),
        (A, Place("aws", "eu-west-3", EVERY_ZONE), Kind.WITHIN_REGION),
    ],
)
def test_a_route_is_told_by_its_places(
    origin: Place, destination: Place, route: Kind | None
) -> None:
    assert route_between(origin, destination) is route


@pytest.mark.parametrize(
    ("given_flow", "to", "before", "after"),
    [
        (flow(), A, "20", "0"),  # 1000 · 0.01 on both sides; then in one zone
        (flow(), FRANKFURT, "20", "20"),  # 1000 · 0.02, Paris sends
        (flow(sent="500", received="500"), GCP, "20", "96"),  # 400 · 0.09 and 500 · 0.12
        (flow(sent="0", received="2000"), OCI, "40", "0"),  # OCI sends: 10 240 GB are free
        (flow(A, THE_INTERNET), B, "81", "81"),  # 900 · 0.09
    ],
)
def test_what_a_move_changes(given_flow: Flow, to: Place, before: str, after: str) -> None:
    end = "api" if given_flow.destination == THE_INTERNET else "db"
    (row,) = what_if([given_flow], [Move(end, to)], TARIFFS)
    assert (row.before.amount, row.after.amount) == (Decimal(before), Decimal(after))
    assert row.change == Decimal(after) - Decimal(before)
    assert all("(20" in s for s in (*row.before.sources, *row.after.sources))  # each with its date


@pytest.mark.parametrize(
    ("given_flow", "to", "why"),
    [
        (flow(sent=None), A, "bytes of this pair were not measured"),
        (flow(received=None), A, "bytes of this pair were not measured"),
        (flow(destination=None), A, "it is not known where db stands"),
        (
            flow(destination=Place("aws", "eu-west-3")),
            A,
            "it is not known in which zone of eu-west-3 one end stands",
        ),
        (flow(DUBAI), A, "no price is known for inter-region from aws me-central-1a"),
    ],
)
def test_what_is_not_known_has_no_figure(given_flow: Flow, to: Place, why: str) -> None:
    (row,) = what_if([given_flow], [Move("db", to)], TARIFFS)
    assert row.change is None
    assert why in row.why


places = st.none() | st.sampled_from([A, B, FRANKFURT, OHIO, GCP, OCI, DUBAI, THE_INTERNET])
volumes = st.none() | st.decimals(0, 10**6, places=3)


@given(
    places,
    places,
    volumes,
    volumes,
    st.sampled_from([A, B, FRANKFURT, OHIO, GCP, OCI]),
    st.decimals(0, 10**6, places=0),
)
def test_a_figure_is_never_made_up(
    origin: Place | None,
    destination: Place | None,
    sent: Decimal | None,
    received: Decimal | None,
    to: Place,
    pooled: Decimal,
) -> None:
    measured = Flow("api", "db", origin, destination, sent, received)
    pool = {(v, Kind.INTERNET_OUT): pooled for v in ("aws", "gcp", "oci")}
    for row in what_if([measured], [Move("db", to)], TARIFFS, pool):
        assert (row.change is None) == bool(row.why)
        if None in (sent, received, origin, destination):
            assert row.before.amount is None
        for cost in (row.before, row.after):
            assert cost.amount is None or cost.amount >= 0
            assert (cost.amount is None) or cost.amount == 0 or cost.sources
    nothing = what_if([measured], [Move("db", to)], Tariffs(()), pool)
    assert all(r.before.amount in (None, 0) and r.after.amount in (None, 0) for r in nothing)


def test_tiers_count_the_whole_month() -> None:
    out = flow(A, THE_INTERNET, "1000")
    pool = {("aws", Kind.INTERNET_OUT): Decimal(200_000)}
    (row,) = what_if([out], [Move("api", FRANKFURT)], TARIFFS, pool)
    assert row.before.amount == Decimal(50)  # the last 1 000 of 200 000 cost 0.05 each


@given(
    st.sampled_from([Place("aws", "eu-central-1"), Place("aws", "us-east-1")]),
    st.decimals(0, 10**6, places=3),
    st.decimals(0, 10**6, places=0),
)
def test_a_move_that_changes_neither_route_nor_price_changes_nothing(
    to: Place, sent: Decimal, besides: Decimal
) -> None:
    """Whatever the month holds: the flow is never priced on top of itself."""
    out = Flow("api", "internet", A, THE_INTERNET, sent)
    pool = {("aws", Kind.INTERNET_OUT): besides + sent}
    (row,) = what_if([out], [Move("api", to)], TARIFFS, pool)
    assert row.change == 0
    assert row.before.amount == row.after.amount


@given(
    st.decimals(0, 10**6, places=3),
    st.decimals(0, 10**6, places=3),
    st.decimals(0, 10**6, places=3),
)
def test_more_bytes_never_cost_less_wherever_the_end_stands(
    few: Decimal, more: Decimal, besides: Decimal
) -> None:
    for to in (A, B, FRANKFURT, OHIO, GCP, OCI):
        pool = {(v, Kind.INTERNET_OUT): besides for v in ("aws", "gcp", "oci")}
        costs = [
            cost_of(Flow("api", "db", A, to, sent, sent), TARIFFS, pool).amount
            for sent in (few, few + more)
        ]
        assert costs[0] is not None
        assert costs[1] is not None
        assert 0 <= costs[0] <= costs[1]


@pytest.mark.parametrize(
    ("end", "to", "asked"),
    [
        ("db", A, Asked.TOGETHER),
        ("api", B, Asked.TOGETHER),
        ("db", Place("aws", "eu-west-3", "eu-west-3c"), Asked.ANOTHER_ZONE),
        ("db", FRANKFURT, Asked.ANOTHER_REGION),
        ("api", GCP, Asked.ANOTHER_PROVIDER),
    ],
)
def test_a_row_says_where_the_end_is_put_and_what_is_taken_for_granted(
    end: str, to: Place, asked: Asked
) -> None:
    (row,) = what_if([flow()], [Move(end, to)], TARIFFS, {}, "2026-05")
    assert row.asked is asked
    assert "list prices without discount" in row.assumes
    assert "the bill of 2026-05" in row.assumes
    assert ("over the internet" in row.assumes) == (asked is Asked.ANOTHER_PROVIDER)
    (alone,) = what_if([flow()], [Move(end, to)], TARIFFS)
    assert "from the first gigabyte" in alone.assumes


def test_zone_names_of_two_accounts_are_never_compared() -> None:
    resources = [
        Resource("a", "ec2:instance", "a", "eu-west-3", facts={"zone": "eu-west-3a"}, account="1"),
        Resource("b", "ec2:instance", "b", "eu-west-3", facts={"zone": "eu-west-3a"}, account="2"),
        Resource("q", "sqs:queue", "q", "eu-west-3", account="2"),
    ]
    seen = [Traffic("a", end, 443, 1 << 30, 0, WHEN, WHEN) for end in "bq"]
    to_b, to_q = flows_of(resources, [], seen, observed_days=30)
    rows = what_if([to_b], [Move("a", FRANKFURT)], TARIFFS)
    assert rows[0].why == "it is not known in which zone of eu-west-3 one end stands"
    assert to_q.destination == Place("aws", "eu-west-3", EVERY_ZONE)


def test_moves_worth_asking_about() -> None:
    moves = moves_together([flow(), flow(A, THE_INTERNET)], [FRANKFURT])
    assert moves == [Move("api", B), Move("api", FRANKFURT), Move("db", A), Move("db", FRANKFURT)]


def test_flows_come_from_what_was_seen_and_pairs_without_bytes_say_so() -> None:
    resources = [
        Resource("i-a", "ec2:instance", "a", "eu-west-3", facts={"zone": "eu-west-3a"}),
        Resource("i-b", "ec2:instance", "b", "eu-west-3", facts={"zone": "eu-west-3b"}),
        Resource("queue", "sqs:queue", "q", "eu-west-3"),
        Resource("pod", "kubernetes:deployment", "p", "default"),
    ]
    edges = [
        Edge("i-b", "i-a", "calls", "trace", 0.9),  # the same pair, seen the other way round
        Edge("i-a", "queue", "writes", "environment QUEUE", 0.8),
        Edge("i-a", "pod", "network-allows", "sg", 0.4),  # permission moves no bytes
    ]
    seen = Traffic("i-a", "i-b", 5432, 10 << 30, 20 << 30, WHEN, WHEN)
    flows = flows_of(resources, edges, [seen], observed_days=15)
    assert [(f.from_id, f.to_id, f.sent_gb, f.received_gb) for f in flows] == [
        ("i-a", "i-b", 20, 40),
        ("i-a", "queue", None, None),
    ]
    assert flows[0].source == "flow logs of 15 days from 2026-05-01, as a month of 30"
    assert place_of(resources[3]) is None
    assert flows[1].destination == Place("aws", "eu-west-3", EVERY_ZONE)


def test_the_pool_is_the_ledgers() -> None:
    line = Charge(
        "USD",
        date(2026, 5, 1),
        "Usage",
        "AWS",
        "EC2",
        "eu-west-3",
        None,
        None,
        "GB",
        None,
        None,
        Kind.INTERNET_OUT,
        Decimal(9),
        Decimal(100),
        1,
        1,
    )
    pool = pool_of(ledger_of([line]), date(2026, 5, 1))
    assert pool == {("aws", Kind.INTERNET_OUT): Decimal(100)}
    assert pool_of(ledger_of([line]), date(2026, 6, 1)) == {}
