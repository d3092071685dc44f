"""What costs money for nothing: told only where it was measured and seen."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.bills.model import Bill, BilledItem, Period, Spend
from qafila.audit.estate import Collected, Edge, Outcome, Resource
from qafila.audit.findings import look_closer, pairs_across_zones, watch_the_network
from qafila.audit.network_cost.ledger import Ledger, Talker
from qafila.decision.network_kinds import Kind

TODAY, MAY = date(2026, 11, 27), date(2026, 5, 1)
PARIS = "eu-west-3"


def thing(
    identifier: str, kind: str, size: int | None = None, tags: object = None, **facts: object
) -> Resource:
    return Resource(identifier, kind, identifier, PARIS, size, tags or {}, facts)  # type: ignore[arg-type]


def busy(of: str, kind: str = "ec2:instance", **facts: object) -> Resource:
    return thing(f"u:{of}", "cloudwatch:utilisation", of=of, of_kind=kind, **facts)


IDLE = {
    "measured_days": 30,
    "cpu_maximum_percent": 2.5,
    "network_in_bytes": 3e6,
    "network_out_bytes": 3e6,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, True),
        ({"cpu_maximum_percent": 5.0}, False),
        ({"network_in_bytes": 150e6}, False),  # 5 MB a day and more
        ({"measured_days": 13}, False),  # too short to tell
        ({"cpu_maximum_percent": None}, False),  # not measured is not idle
        ({"network_out_bytes": None}, False),
    ],
)
def test_an_instance_is_idle_by_what_was_measured(changes: dict[str, object], said: bool) -> None:
    web = thing("i-01", "ec2:instance", type="m6i.large", state="running")
    found = look_closer([web, busy("i-01", **(IDLE | changes))], [])
    assert [f.kind for f in found] == (["idle instance"] if said else [])
    if said:
        assert "CPU at most 2.5 %, 0.2 MB a day" in found[0].sentence


def test_an_instance_that_was_not_measured_or_is_stopped_is_not_idle() -> None:
    stopped = thing("i-01", "ec2:instance", type="m6i.large", state="stopped")
    unseen = thing("i-02", "ec2:instance", type="m6i.large", state="running")
    assert look_closer([stopped, busy("i-01", **IDLE), unseen], []) == []


def test_facts_laid_beside_the_resource_are_read_as_well() -> None:
    web = thing("i-01", "ec2:instance", type="m6i.large", state="running", **IDLE)
    assert [f.kind for f in look_closer([web], [])] == ["idle instance"]


@pytest.mark.parametrize(("connections", "days", "said"), [(0, 7, 1), (0, 6, 0), (1, 30, 0)])
def test_a_database_that_nobody_asks(connections: int, days: int, said: int) -> None:
    database = Resource("arn:x", "rds:instance", "orders", PARIS, None, {}, {"state": "available"})
    measured = busy("orders", "rds:instance", connections_maximum=connections, measured_days=days)
    assert len(look_closer([database, measured], [])) == said


def test_unused_things_carry_what_they_were_billed() -> None:
    resources = [
        thing("vol-01", "ec2:volume", 500 << 30, state="available"),
        thing("eipalloc-01", "ec2:address", in_use=False),
        thing("eipalloc-02", "ec2:address", in_use=True),
        thing("eipalloc-03", "ec2:address"),  # not told
    ]
    items = [
        BilledItem(
            f"arn:aws:ec2:{PARIS}:1:elastic-ip/eipalloc-01",
            "EC2",
            PARIS,
            "USD",
            {MAY: Decimal("3.6")},
        )
    ]
    assert [(f.kind, f.resource, f.amount) for f in look_closer(resources, items)] == [
        ("orphan disk", "vol-01", None),
        ("unattached address", "eipalloc-01", Decimal("3.6")),
    ]


def test_gpus_are_told_by_what_was_described_or_by_their_family() -> None:
    resources = [
        thing("i-01", "ec2:instance", type="x9.large", gpus=1),
        thing("i-02", "ec2:instance", type="g5.xlarge", tags={"Name": "n"}),
        thing("i-03", "ec2:instance", type="g5.xlarge", tags={"team": "t"}),
        thing("nb", "sagemaker:notebook", type="ml.g5.xlarge"),
        thing("i-04", "ec2:instance", type="m6i.large", gpus=0),
    ]
    assert [f.resource for f in look_closer(resources, [])] == ["i-01", "i-02", "nb"]


@pytest.mark.parametrize(
    ("started", "volume", "as_of", "outcome", "kind"),
    [
        ("2026-01-01T00:00:00+00:00", "vol-01", TODAY, Outcome.COMPLETE, "old snapshot"),
        ("2026-01-01T00:00:00+00:00", "vol-01", None, Outcome.COMPLETE, None),  # no clock here
        ("2026-11-01T00:00:00+00:00", "vol-01", TODAY, Outcome.COMPLETE, None),
        ("2026-11-01T00:00:00+00:00", "vol-99", TODAY, Outcome.COMPLETE, "orphan snapshot"),
        ("2026-11-01T00:00:00+00:00", "vol-99", TODAY, Outcome.DENIED, None),
        ("not a date", "vol-01", TODAY, Outcome.COMPLETE, None),
    ],
)
def test_snapshots(
    started: str, volume: str, as_of: date | None, outcome: Outcome, kind: str | None
) -> None:
    resources = [
        thing("vol-01", "ec2:volume", 8 << 30, state="in-use"),
        thing("snap-01", "ec2:snapshot", 8 << 30, started=started, volume=volume),
    ]
    seen = [Collected("ec2", PARIS, outcome, (), (), 1)]
    found = look_closer(resources, [], as_of=as_of, collected=seen)
    assert [f.kind for f in found] == ([kind] if kind else [])


ZONED = [
    thing("i-a", "ec2:instance", zone="eu-west-3a", tags={"app": "orders"}),
    thing("i-b", "ec2:instance", zone="eu-west-3b", tags={"app": "orders"}),
    thing("db", "rds:instance", zone="eu-west-3a"),
    thing("far", "ec2:instance"),
]


def test_pairs_in_different_zones_are_named_the_surest_first() -> None:
    edges = [
        Edge("i-a", "i-b", "network-allows", "sg", 0.4),
        Edge("i-b", "db", "calls", "trace", 0.95),
        Edge("db", "i-b", "calls", "trace", 0.5),  # the same pair
        Edge("i-a", "db", "calls", "trace", 0.95),  # in one zone
        Edge("i-a", "far", "calls", "trace", 0.95),  # zone not known
        Edge("i-a", "i-b", "same-tag", "app", 0.2),
    ]
    assert pairs_across_zones(ZONED, edges) == [
        ("db (eu-west-3a)", "i-b of orders (eu-west-3b)"),
        ("i-a of orders (eu-west-3a)", "i-b of orders (eu-west-3b)"),
    ]


def test_chatter_between_zones_names_who_pays_and_who_could_be_talking() -> None:
    network = (Spend("USD", MAY, "cross-AZ", Decimal(12), 1),)
    talkers = (
        Talker("USD", MAY, "i-b", Kind.CROSS_ZONE, Decimal(10), Decimal(1000)),
        Talker("USD", MAY, "i-gone", Kind.CROSS_ZONE, Decimal(2), Decimal(200)),
        Talker("USD", MAY, "i-a", Kind.INTERNET_OUT, Decimal(99), Decimal(1)),
    )
    bill = Bill(
        "b",
        "FOCUS 1.2",
        9,
        (),
        (Period("USD", MAY, Decimal(100), Decimal(100), 9, True),),
        (),
        (),
        network,
        (),
        ledger=Ledger(talkers=talkers),
    )
    (found,) = watch_the_network(bill, "USD", ZONED, [Edge("i-b", "db", "calls", "trace", 0.95)])
    assert found.sentence == (
        "traffic between availability zones is 12.0 % of usage; most of it paid by i-b of orders "
        "10.00 USD, i-gone 2.00 USD; connected across zones: db (eu-west-3a) and "
        "i-b of orders (eu-west-3b)"
    )
    assert (found.amount, found.currency) == (Decimal(12), "USD")


facts = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(["running", "stopped", "available", None]),
        "type": st.sampled_from(["g5.xlarge", "m6i.large", None]),
        "in_use": st.booleans(),
        "started": st.text(max_size=12),
        "volume": st.just("vol-9"),
        "zone": st.text(max_size=3),
        "measured_days": st.none() | st.integers(0, 30),
        "cpu_maximum_percent": st.none() | st.floats(0, 100),
    },
)
kinds = st.sampled_from(
    [
        "ec2:instance",
        "ec2:volume",
        "ec2:snapshot",
        "ec2:address",
        "rds:instance",
        "cloudwatch:utilisation",
    ]
)


@given(
    st.lists(
        st.builds(
            Resource,
            st.text(min_size=1, max_size=4),
            kinds,
            st.text(max_size=4),
            st.just(PARIS),
            st.none() | st.integers(0, 10**12),
            st.just({}),
            facts,
        ),
        max_size=6,
    )
)
def test_whatever_a_service_tells_nothing_is_idle_without_network_figures(
    resources: list[Resource],
) -> None:
    found = look_closer(resources, [], as_of=TODAY)
    assert all(f.kind not in ("idle instance", "orphan snapshot") for f in found)
