"""The network ledger on real bills, and on the demo's."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from qafila.audit.bills.network_lines import MOST_ACCOUNTS, load_tariffs
from qafila.audit.bills.read import read_bill
from qafila.audit.network_cost.ledger import OTHER_ACCOUNTS
from qafila.audit.network_cost.rules import kind_of, text_of
from qafila.decision.network_kinds import Kind
from qafila.demo.bill import write_bill
from qafila.demo.estate import Estate
from qafila.demo.estate_plan import Seeded

SHARED = Path(__file__).parents[4].parent / "shared" / "data" / "billing"
SEPTEMBER = date(2024, 9, 1)


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the public sample {name} is not on this machine")
    return path


def rows_of(path: Path) -> list[dict[str, str | None]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {k: None if v in ("", "NULL") else v for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def test_the_real_bills_541_data_transfer_lines_are_all_placed_and_exact() -> None:
    usage, transfer, said = Decimal(0), Decimal(0), 0
    for row in rows_of(shared("focus_1_0_sample.csv")):
        if (row["ProviderName"], row["ChargeCategory"]) != ("AWS", "Usage"):
            continue
        amount = Decimal(str(row["BilledCost"]))
        usage += amount
        if "data transfer" not in str(row["ChargeDescription"]).lower():
            continue
        text = text_of(row["ServiceName"], row["ChargeDescription"], None)
        kind = kind_of(None, text, row["ServiceName"], row["ConsumedUnit"])
        assert kind not in (None, Kind.OTHER)
        said += 1
        transfer += amount
    assert (said, transfer) == (541, Decimal("0.3755679"))
    assert f"{transfer / usage:.2%}" == "1.82%"


def test_the_real_bills_ledger() -> None:
    bill = read_bill(shared("focus_1_0_sample.csv"))
    ledger = bill.ledger
    aws = [t for t in ledger.transfers if t.vendor == "AWS"]
    found = {
        kind: (
            sum((t.amount for t in aws if t.kind is kind), Decimal(0)),
            sum(t.rows for t in aws if t.kind is kind),
        )
        for kind in Kind
        if any(t.kind is kind for t in aws)
    }
    assert found == {
        Kind.INTERNET_OUT: (Decimal("0.3518730286"), 169),
        Kind.INTERNET_IN: (Decimal(0), 212),
        Kind.INTER_REGION: (Decimal("0.0047192682"), 84),
        Kind.CROSS_ZONE: (Decimal("0.0068094198"), 58),
        Kind.CDN: (Decimal("0.0121664182"), 26),
        Kind.NAT_PROCESSING: (Decimal("0.0021106845"), 4),
        Kind.NAT_HOURS: (Decimal("0.422"), 9),
    }
    # 541 lines say "data transfer"; eight more name a usage type, four pay for NAT processing
    assert sum(rows for kind, (_, rows) in found.items() if kind.by_bytes) == 541 + 8 + 4
    assert ledger.unclassified == ledger.beside == ()
    assert all(t.unmeasured == 0 for t in aws)
    nat = [t for t in aws if t.kind is Kind.NAT_PROCESSING]
    assert sum((t.gigabytes or 0 for t in nat), Decimal(0)) == Decimal("0.0469040983")
    assert {(t.origin, t.destination) for t in aws if t.kind is Kind.INTER_REGION} >= {
        ("us-west-2", "us-east-1"),
        ("eu-central-1", "us-west-2"),
        ("us-east-1", "us-west-2"),
        ("us-east-2", "eu-north-1"),
        ("af-south-1", "us-east-1"),
    }
    assert {s.subject for s in bill.network} == {k.value for k in found if k.by_bytes} | {
        Kind.LOAD_BALANCER.value
    }  # Azure's


def test_aws_own_word_for_each_transfer_agrees_with_ours() -> None:
    words = {
        "AWS Inbound": Kind.INTERNET_IN,
        "AWS Outbound": Kind.INTERNET_OUT,
        "InterRegion Inbound": Kind.INTER_REGION,
        "InterRegion Outbound": Kind.INTER_REGION,
        "IntraRegion": Kind.CROSS_ZONE,
        "IntraRegion-xAZ-In": Kind.CROSS_ZONE,
        "IntraRegion-xAZ-Out": Kind.CROSS_ZONE,
        None: None,
    }
    seen: Counter[str | None] = Counter()
    for row in rows_of(shared("aws_cur_anonymous_export.csv")):
        if row["lineItem/LineItemType"] != "Usage":
            continue
        service = row["lineItem/ProductCode"]
        text = text_of(service, row["lineItem/LineItemDescription"], row["product/productFamily"])
        kind = kind_of(row["lineItem/UsageType"], text, service, row["pricing/unit"])
        assert kind is words[row["product/transferType"]]
        seen[row["product/transferType"]] += 1
    assert sum(n for word, n in seen.items() if word) == 446


def test_the_direction_of_a_real_inbound_line() -> None:
    ledger = read_bill(shared("aws_cur_anonymous_export.csv")).ledger
    routes = {(t.origin, t.destination) for t in ledger.transfers if t.kind is Kind.INTER_REGION}
    assert {("me-central-1", "ca-central-1"), ("ca-central-1", "us-east-1")} <= routes


def test_the_demos_bill(tmp_path: Path) -> None:
    estate = Estate(
        "http://127.0.0.1",
        ("eu-west-3",),
        "k",
        "s",
        (
            Seeded("i-01", "orders-api-1", "instance", "m6i.large", "orders"),
            Seeded("i-02", "shop-web-1", "instance", "t3.medium", "shop"),
        ),
    )
    bill = read_bill(write_bill(tmp_path / "bill.csv", estate, date(2026, 11, 20)))
    october = date(2026, 10, 1)
    kinds = {t.kind: t for t in bill.ledger.of("USD", october)}
    assert set(kinds) == {Kind.CROSS_ZONE, Kind.INTERNET_OUT, Kind.NAT_PROCESSING}
    cross = kinds[Kind.CROSS_ZONE]
    assert (cross.origin, cross.destination) == ("eu-west-3", "eu-west-3")
    assert cross.gigabytes is not None
    assert cross.amount == cross.gigabytes * Decimal("0.01")
    # each byte between zones is billed at both ends: half of the gigabytes, on two sides
    listing = load_tariffs().find("aws", Kind.CROSS_ZONE, cross.origin, cross.destination)
    assert listing is not None
    assert listing.added(Decimal(0), cross.gigabytes / 2) == cross.amount


def test_who_talks_across_zones_is_named_where_the_bill_names_a_resource(tmp_path: Path) -> None:
    estate = Estate(
        "http://127.0.0.1",
        ("eu-west-3",),
        "k",
        "s",
        (
            Seeded("i-01", "orders-api-1", "instance", "m6i.large", "orders"),
            Seeded("i-02", "shop-web-1", "instance", "t3.medium", "shop"),
        ),
    )
    ledger = read_bill(write_bill(tmp_path / "bill.csv", estate, date(2026, 11, 20))).ledger
    october = date(2026, 10, 1)
    talkers = {
        t.resource: t for t in ledger.talkers if (t.start, t.kind) == (october, Kind.CROSS_ZONE)
    }
    assert set(talkers) == {"i-01", "i-02"}
    assert talkers["i-01"].amount > 10 * talkers["i-02"].amount  # the planted chatter
    assert sum((t.amount for t in talkers.values()), Decimal(0)) == ledger.amount(
        "USD", october, Kind.CROSS_ZONE
    )


HEAD = (
    "BilledCost,BillingCurrency,BillingPeriodStart,ChargeCategory,ProviderName,ServiceName,"
    "SubAccountId,RegionId,ChargeDescription,ConsumedQuantity,ConsumedUnit"
)


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    return path


OUT = "USD,2026-05-01,Usage,AWS,Amazon EC2,{},eu-west-3,data transfer out to the internet,{},GB"


def test_one_route_of_several_accounts_is_told_apart(tmp_path: Path) -> None:
    lines = [
        "0.1," + OUT.format("111", 1),
        "0.2," + OUT.format("111", 2),
        "0.3," + OUT.format("222", 4),
        "0.7," + OUT.format("", 8),
    ]
    ledger = read_bill(written(tmp_path / "bill.csv", lines)).ledger
    found = {(t.account, t.kind, t.amount, t.gigabytes, t.rows) for t in ledger.transfers}
    assert found == {
        ("111", Kind.INTERNET_OUT, Decimal("0.3"), Decimal(3), 2),
        ("222", Kind.INTERNET_OUT, Decimal("0.3"), Decimal(4), 1),
        (None, Kind.INTERNET_OUT, Decimal("0.7"), Decimal(8), 1),
    }
    assert ledger.accounts == ("111", "222")
    assert ledger.amount("USD", date(2026, 5, 1)) == Decimal("1.3")


def test_accounts_beyond_the_dearest_are_one_and_the_total_stays_exact(tmp_path: Path) -> None:
    lines = [f"0.{n:03}," + OUT.format(f"{n:04}", 1) for n in range(1, MOST_ACCOUNTS + 6)]
    ledger = read_bill(written(tmp_path / "bill.csv", lines)).ledger
    [others] = [t for t in ledger.transfers if t.account == OTHER_ACCOUNTS]
    assert (others.amount, others.rows) == (Decimal("0.015"), 5)  # 1 to 5 thousandths
    assert len(ledger.accounts) == MOST_ACCOUNTS + 1
    assert "0006" in ledger.accounts
    whole = sum((Decimal(line.split(",")[0]) for line in lines), Decimal(0))
    assert ledger.amount("USD", date(2026, 5, 1)) == whole


def test_the_real_bills_accounts_add_up() -> None:
    rows = rows_of(shared("focus_1_0_sample.csv"))
    ledger = read_bill(shared("focus_1_0_sample.csv")).ledger
    named = {str(r["SubAccountId"]) for r in rows if r["SubAccountId"]}
    assert len(ledger.accounts) > 1
    assert set(ledger.accounts) <= named


def test_what_a_bill_costs_by_its_own_tags_adds_up(tmp_path: Path) -> None:
    head = "BilledCost,BillingCurrency,BillingPeriodStart,ChargeCategory,ServiceName,Tags"
    lines = [
        '1.5,USD,2026-05-01,Usage,a,"{""App"": ""shop"", ""Team"": ""web""}"',
        '2.5,USD,2026-05-01,Usage,a,"{""user:application"": ""shop""}"',
        "4,USD,2026-05-01,Tax,a,",
        '8,USD,2026-05-01,Usage,a,"{broken"',
        '16,USD,2026-05-01,Usage,a,"{""app"": 7}"',
    ]
    path = tmp_path / "bill.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    tagged = [(s.key, s.state.value, s.value, s.amount, s.count) for s in read_bill(path).tagged]
    assert tagged == [
        ("app", "untagged", "", Decimal(28), 3),
        ("app", "tagged", "shop", Decimal(4), 2),
        ("owner", "untagged", "", Decimal("30.5"), 4),
        ("owner", "tagged", "web", Decimal("1.5"), 1),
    ]


def test_the_real_bills_tags() -> None:
    bill = read_bill(shared("focus_1_0_sample.csv"))
    for key in ("owner", "app"):
        rows = [s for s in bill.tagged if s.key == key]
        assert sum(s.count for s in rows) == 1000
        assert sum((s.amount for s in rows), Decimal(0)) == bill.total("USD")
