"""The network ledger: sums that add up, routes in the direction of the bytes, volumes or none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.network_cost.ledger import Charge, Transfer, ends_of, gigabytes_of, ledger_of
from qafila.audit.network_cost.regions import BILLING_CODES, pair_of_text, pair_of_usage_type
from qafila.decision.network_kinds import Kind

MAY, JUNE = date(2026, 5, 1), date(2026, 6, 1)


def charge(kind: Kind = Kind.INTERNET_OUT, **changes: object) -> Charge:
    values: dict[str, object] = {
        "currency": "USD",
        "start": MAY,
        "category": "Usage",
        "vendor": "AWS",
        "service": "AmazonEC2",
        "region": "eu-west-3",
        "usage_type": None,
        "description": None,
        "unit": "GB",
        "from_region": None,
        "to_region": None,
        "kind": kind,
        "amount": Decimal(9),
        "quantity": Decimal(100),
        "measured": 1,
        "rows": 1,
    }
    return Charge(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("usage_type", "pair"),
    [
        ("EUW3-USE1-AWS-Out-Bytes", ("eu-west-3", "us-east-1")),
        ("CAN1-MEC1-AWS-In-Bytes", ("me-central-1", "ca-central-1")),  # came in from there
        ("EU-EUC1-AWS-Out-ABytes-T1", ("eu-west-1", "eu-central-1")),
        ("USE1-XYZ9-AWS-Out-Bytes", ("us-east-1", "XYZ9")),  # not known: kept as it is
        ("EUW3-DataTransfer-Out-Bytes", None),
    ],
)
def test_a_usage_type_tells_the_direction(usage_type: str, pair: tuple[str, str] | None) -> None:
    assert pair_of_usage_type(usage_type) == pair


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        (
            "EC2 · $0.02 per GB - EU (London) data transfer to EU (Ireland)",
            ("eu-west-2", "eu-west-1"),
        ),
        (
            "$0.00 per GB - US West (Oregon) data transfer from EU (Germany)",
            ("eu-central-1", "us-west-2"),
        ),
        (
            "$0.02 per GB - US West (Oregon) data transfer to US East (Northern Virginia)",
            ("us-west-2", "us-east-1"),
        ),
        (
            "USD 0.147 per GB for USE1-AWS-Out-Bytes in Africa (Cape Town)",
            ("af-south-1", "us-east-1"),
        ),
        ("USD 0.0 per GB for USE2-AWS-In-Bytes in EU (Stockholm)", ("us-east-2", "eu-north-1")),
        ("Bandwidth Inter-Region", None),
    ],
)
def test_a_description_tells_the_direction(text: str, pair: tuple[str, str] | None) -> None:
    assert pair_of_text(text) == pair


@pytest.mark.parametrize(
    ("given_charge", "ends"),
    [
        (charge(), ("eu-west-3", "internet")),
        (charge(Kind.INTERNET_IN), ("internet", "eu-west-3")),
        (charge(Kind.CROSS_ZONE), ("eu-west-3", "eu-west-3")),
        (charge(Kind.NAT_PROCESSING), ("eu-west-3", "NAT gateway")),
        (charge(Kind.CDN, service="AmazonCloudFront"), ("CDN", "internet")),
        (charge(Kind.CDN, usage_type="EUW3-CloudFront-Out-Bytes"), ("eu-west-3", "CDN")),
        (charge(Kind.OTHER), ("eu-west-3", "not known")),
        (charge(region=None, usage_type="EUW3-DataTransfer-Out-Bytes"), ("eu-west-3", "internet")),
        (charge(region=None, usage_type="DataTransfer-Out-Bytes"), ("us-east-1", "internet")),
        (charge(region=None), ("not known", "internet")),
        # columns name the account's own region first, whichever way the bytes went
        (charge(Kind.INTER_REGION, from_region="a", to_region="b"), ("a", "b")),
        (
            charge(Kind.INTER_REGION, usage_type="AWS-In-Bytes", from_region="a", to_region="b"),
            ("b", "a"),
        ),
    ],
)
def test_a_charge_has_two_ends(given_charge: Charge, ends: tuple[str, str]) -> None:
    assert ends_of(given_charge) == ends


@pytest.mark.parametrize(
    ("quantity", "unit", "gigabytes"),
    [
        ("3", "GB", "3"),
        ("3", "1 GB", "3"),
        ("2", "TB", "2048"),
        ("1073741824", "Bytes", "1"),
        ("512", "MiB", "0.5"),
        ("3", "100 GB", None),
        ("3", "Hrs", None),
        ("3", None, None),
    ],
)
def test_a_volume_is_read_or_not_known(
    quantity: str, unit: str | None, gigabytes: str | None
) -> None:
    found = gigabytes_of(Decimal(quantity), unit)
    assert found == (None if gigabytes is None else Decimal(gigabytes))


def test_a_ledger_holds_routes_volumes_and_what_stands_beside() -> None:
    ledger = ledger_of(
        [
            charge(amount=Decimal("1.5"), quantity=Decimal(10), rows=2, measured=2),
            charge(amount=Decimal("0.5"), quantity=None, measured=0, unit=None),
            charge(Kind.NAT_HOURS, amount=Decimal(30), quantity=Decimal(720), unit="Hrs"),
            charge(Kind.OTHER, amount=Decimal(2), usage_type="EUW3-S3RTC-Out-Bytes"),
            charge(category="Credit", amount=Decimal(-1), usage_type="DataTransfer-Out-Bytes"),
            charge(currency="EUR", amount=Decimal(7)),
            charge(start=JUNE, amount=Decimal(8)),
        ]
    )
    out, other, hours = sorted(ledger.of("USD", MAY), key=lambda t: t.amount)
    assert (out.amount, out.gigabytes, out.rows, out.unmeasured) == (Decimal(2), Decimal(10), 3, 1)
    assert (other.kind, hours.kind, hours.gigabytes) == (Kind.OTHER, Kind.NAT_HOURS, None)
    assert ledger.amount("USD", MAY) == Decimal(4)  # hours are kept apart
    assert ledger.amount("USD", MAY, Kind.NAT_HOURS) == Decimal(30)
    assert [(u.said, u.amount) for u in ledger.unclassified] == [
        ("EUW3-S3RTC-Out-Bytes", Decimal(2))
    ]
    assert [(u.said, u.amount) for u in ledger.beside] == [
        ("Credit: DataTransfer-Out-Bytes", Decimal(-1))
    ]
    assert ledger.amount("EUR", MAY) == Decimal(7)
    assert ledger.gigabytes("AWS", JUNE, Kind.INTERNET_OUT) == Decimal(100)
    assert ledger.gigabytes("Oracle", JUNE, Kind.INTERNET_OUT) is None


charges = st.builds(
    charge,
    st.sampled_from(Kind),
    currency=st.sampled_from(["USD", "EUR"]),
    start=st.sampled_from([MAY, JUNE]),
    category=st.sampled_from(["Usage", "Credit", "Tax"]),
    service=st.sampled_from(["a", "b"]),
    region=st.none() | st.sampled_from(["eu-west-3", "us-east-1"]),
    usage_type=st.none() | st.sampled_from(["EUW3-USE1-AWS-In-Bytes", "x"]),
    amount=st.decimals(-(10**15), 10**15, places=20),
    quantity=st.none() | st.decimals(0, 10**6, places=6),
    measured=st.integers(0, 3),
    rows=st.integers(3, 9),
    account=st.none() | st.sampled_from(["1", "2"]),
)


def whole(amounts: Iterable[Decimal]) -> Fraction:
    """Add up as fractions: a check that cannot round."""
    return sum(map(Fraction, amounts), Fraction(0))


@given(st.lists(charges, max_size=15))
def test_no_line_is_ever_dropped_and_no_digit_is_lost(lines: list[Charge]) -> None:
    ledger = ledger_of(lines)
    for currency in ("USD", "EUR"):
        held = [t for t in ledger.transfers if t.currency == currency]
        beside = [u for u in ledger.beside if u.currency == currency]
        assert whole(t.amount for t in held) + whole(u.amount for u in beside) == whole(
            c.amount for c in lines if c.currency == currency
        )
        assert sum(t.rows for t in held) + sum(u.rows for u in beside) == sum(
            c.rows for c in lines if c.currency == currency
        )
    assert all(0 <= t.unmeasured <= t.rows for t in ledger.transfers)


@given(st.lists(charges, max_size=15))
def test_accounts_are_told_apart_and_add_up_to_what_one_account_would_be(
    lines: list[Charge],
) -> None:
    ledger, alone = ledger_of(lines), ledger_of(replace(c, account=None) for c in lines)
    routes: dict[tuple[object, ...], list[Transfer]] = {}
    for t in ledger.transfers:
        routes.setdefault(
            (t.currency, t.start, t.vendor, t.service, t.kind, t.origin, t.destination), []
        ).append(t)
    assert len(routes) == len(alone.transfers)
    for whole_route in alone.transfers:
        t = whole_route
        parts = routes[t.currency, t.start, t.vendor, t.service, t.kind, t.origin, t.destination]
        assert len({p.account for p in parts}) == len(parts)
        assert whole(p.amount for p in parts) == whole([t.amount])
        assert sum(p.rows for p in parts) == t.rows
        known = [p.gigabytes for p in parts if p.gigabytes is not None]
        assert (whole(known) if known else None) == (
            None if t.gigabytes is None else whole([t.gigabytes])
        )
    for account in (None, "1", "2"):
        said = [c for c in lines if c.account == account and c.category == "Usage"]
        held = [t for t in ledger.transfers if t.account == account]
        assert whole(t.amount for t in held) == whole(c.amount for c in said)
    assert ledger.accounts == tuple(
        sorted({c.account for c in lines if c.account and c.category == "Usage"})
    )


@given(st.lists(charges, max_size=12), st.randoms())
def test_the_order_of_lines_never_matters(lines: list[Charge], dice: object) -> None:
    shuffled = list(lines)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ledger_of(lines) == ledger_of(shuffled)


def test_region_codes_are_region_codes() -> None:
    assert all("-" in region and region == region.lower() for region in BILLING_CODES.values())
