"""Egress tiers: right, monotonic, continuous."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.decision.egress import Tariff, Tier, parse_tariffs, tariff
from qafila.decision.network_kinds import Kind
from qafila.errors import BadInput
from tests.support.price_book import BOOK, EGRESS

AWS = BOOK.tariffs["aws"]
VOLUMES = st.decimals(min_value=0, max_value=10**7, places=3, allow_nan=False)


@pytest.mark.parametrize(
    ("gigabytes", "cost"),
    [
        ("0", "0"),
        ("100", "0"),  # the free tier
        ("10340", "921.60"),  # 10 240 · 0.09
        ("51300", "4403.20"),  # and 40 960 · 0.085
        ("61440", "5113.00"),  # 60 TB: and 10 140 · 0.07
        ("153700", "11571.20"),  # and 102 400 · 0.07 in all
        ("153800", "11576.20"),  # and 100 · 0.05
    ],
)
def test_aws_tiers(gigabytes: str, cost: str) -> None:
    assert AWS.cost(Decimal(gigabytes)) == Decimal(cost)


@given(a=VOLUMES, b=VOLUMES)
def test_more_never_costs_less(a: Decimal, b: Decimal) -> None:
    low, high = sorted((a, b))
    for name, each in BOOK.tariffs.items():
        assert each.cost(low) <= each.cost(high), name


@given(a=VOLUMES, step=st.decimals(min_value=0, max_value=1, places=3, allow_nan=False))
def test_a_small_step_never_jumps(a: Decimal, step: Decimal) -> None:
    for name, each in BOOK.tariffs.items():
        assert 0 <= each.cost(a + step) - each.cost(a) <= step * each.dearest, name


@st.composite
def any_tariffs(draw: st.DrawFn) -> Tariff:
    """Return any tariff that is not refused, dearer tiers after cheaper ones among them."""
    rates = st.decimals(0, 10, places=4)
    sizes = draw(st.lists(st.decimals(Decimal("0.001"), 10**5, places=3), max_size=5))
    tiers = [Tier(draw(rates), size) for size in sizes]
    return tariff("any", [*tiers, Tier(draw(rates), None)])


@given(any_tariffs(), VOLUMES, VOLUMES)
def test_of_every_tariff_that_is_not_refused(each: Tariff, before: Decimal, more: Decimal) -> None:
    """It never falls, never jumps at a border, and a month costs the same in one piece or two."""
    grain, border = Decimal("1e-9"), Decimal(0)
    assert 0 <= each.added(before, more) <= more * each.dearest
    assert each.cost(before) + each.added(before, more) == each.cost(before + more)
    for tier in each.tiers[:-1]:
        border += tier.size_gb or 0
        below, at, above = (each.cost(border + d) for d in (-grain, Decimal(0), grain))
        assert 0 <= at - below <= grain * each.dearest
        assert 0 <= above - at <= grain * each.dearest


@pytest.mark.parametrize(
    ("tiers", "problem"),
    [
        ([], "no tier"),
        ([Tier(Decimal(1), Decimal(10))], "the last tier has an end"),
        ([Tier(Decimal(1), None), Tier(Decimal(1), None)], "needs a size_gb"),
        ([Tier(Decimal(-1), None)], "negative"),
    ],
)
def test_tiers_that_leave_a_gap_are_refused(tiers: list[Tier], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        tariff("t", tiers)


TARIFFS = parse_tariffs(EGRESS)
GIGABYTES = st.decimals(min_value=0, max_value=10**7, places=3, allow_nan=False)


@pytest.mark.parametrize("name", sorted(BOOK.tariffs))
def test_a_tariff_is_continuous_at_every_border_and_zero_at_zero(name: str) -> None:
    each, border, grain = BOOK.tariffs[name], Decimal(0), Decimal("1e-9")
    assert each.cost(Decimal(0)) == 0
    for tier in each.tiers[:-1]:
        border += tier.size_gb or 0
        below, at, above = (each.cost(border + d) for d in (-grain, Decimal(0), grain))
        assert 0 <= at - below <= grain * each.dearest
        assert 0 <= above - at <= grain * each.dearest


@given(before=GIGABYTES, more=GIGABYTES)
def test_one_more_gigabyte_never_costs_less_than_nothing_nor_more_than_the_dearest(
    before: Decimal, more: Decimal
) -> None:
    for name, each in BOOK.tariffs.items():
        assert 0 <= each.added(before, more) <= more * each.dearest, name
        assert each.cost(before) + each.added(before, more) == each.cost(before + more), name


@pytest.mark.parametrize(
    ("vendor", "region", "gigabytes", "cost"),
    [
        ("aws", "eu-west-3", "61440", "5113.00"),
        ("aws", "eu-west-3", "10240", "912.60"),  # ten terabytes are not free: 10 140 · 0.09
        ("aws", "ap-northeast-1", "100", "0"),
        ("aws", "ap-northeast-1", "10340", "1167.36"),  # 10 240 · 0.114
        ("oci", "eu-frankfurt-1", "10240", "0"),  # the first ten terabytes are
        ("oci", "eu-frankfurt-1", "11240", "8.50"),
        ("oci", "me-jeddah-1", "11240", "50"),
        ("oci", "ap-tokyo-1", "11240", "25"),
        ("azure", "francecentral", "10335", "890.445"),  # 10 235 · 0.087
        ("azure", "westus2", "51295", "4290.125"),  # and 40 960 · 0.083
        ("gcp", "europe-west9", "10240", "1136.64"),  # 1 024 · 0.12 + 9 216 · 0.11
    ],
)
def test_internet_out_by_vendor_and_region(
    vendor: str, region: str, gigabytes: str, cost: str
) -> None:
    found = TARIFFS.find(vendor, Kind.INTERNET_OUT, region, "")
    assert found is not None
    assert found.added(Decimal(0), Decimal(gigabytes)) == Decimal(cost)


@pytest.mark.parametrize(
    ("vendor", "route", "origin", "destination", "rate"),
    [
        ("aws", Kind.INTER_REGION, "us-east-1", "us-east-2", "0.01"),
        ("aws", Kind.INTER_REGION, "us-east-1", "eu-west-3", "0.02"),
        ("aws", Kind.INTER_REGION, "ap-northeast-1", "eu-west-1", "0.09"),
        ("aws", Kind.CROSS_ZONE, "eu-west-3", "eu-west-3", "0.02"),  # 0.01 on either side
        ("gcp", Kind.CROSS_ZONE, "europe-west9", "europe-west9", "0.01"),  # the sender alone
        ("gcp", Kind.INTER_REGION, "europe-west9", "us-east1", "0.05"),
        ("aws", Kind.WITHIN_REGION, "eu-west-3", "eu-west-3", "0"),
        ("aws", Kind.INTER_REGION, "us-east-2", "us-east-1", "0.01"),
        ("aws", Kind.INTER_REGION, "eu-west-3", "eu-central-1", "0.02"),  # 15.00 for 750 GB
        ("aws", Kind.INTER_REGION, "eu-west-1", "eu-west-3", "0.02"),
        ("aws", Kind.INTER_REGION, "eu-north-1", "us-west-1", "0.02"),
        ("aws", Kind.INTER_REGION, "af-south-1", "eu-west-3", "0.147"),  # 110.25 for 750 GB
        ("aws", Kind.INTER_REGION, "sa-east-1", "us-east-1", "0.138"),  # 103.50 for 750 GB
        ("aws", Kind.INTER_REGION, "me-south-1", "eu-west-3", "0.1105"),  # 82.88 for 750 GB
        ("aws", Kind.INTER_REGION, "me-central-1", "eu-west-3", None),  # not known: not made up
        ("azure", Kind.INTER_REGION, "westeurope", "francecentral", "0.02"),
        ("azure", Kind.INTER_REGION, "westeurope", "eastus", "0.05"),
        ("azure", Kind.INTER_REGION, "westeurope", "eastasia", None),
        ("azure", Kind.INTER_REGION, "brazilsouth", "eastus", None),
        ("azure", Kind.CROSS_ZONE, "westeurope", "westeurope", "0"),
    ],
)
def test_other_routes(
    vendor: str, route: Kind, origin: str, destination: str, rate: str | None
) -> None:
    found = TARIFFS.find(vendor, route, origin, destination)
    cost = None if found is None else found.added(Decimal(5), Decimal(1))
    assert cost == (None if rate is None else Decimal(rate))


def test_no_price_is_assumed() -> None:
    assert not [x.tariff.name for x in TARIFFS.listings if "assum" in x.source.lower()]


def test_every_listing_has_a_source_and_a_date() -> None:
    assert all(x.source and x.as_of and x.currency == "USD" for x in TARIFFS.listings)
    assert {x.tariff.name for x in TARIFFS.listings} == set(BOOK.tariffs)


def test_rows_that_cannot_be_used_are_named_together() -> None:
    with pytest.raises(BadInput) as refused:
        parse_tariffs(
            '[[tariff]]\ntariff = "gone"\nvendor = "aws"\nroute = "internet out"\n'
            'origins = ["*"]\n[[tariff]]\ntariff = "t"\nvendor = "aws"\nroute = "by ship"\n'
            '[[tier]]\ntariff = "t"\namount = "1"\ncurrency = "USD"\n'
            'source = "s"\nas_of = 2026-01-01\n'
        )
    assert len(refused.value.problems) == 3
