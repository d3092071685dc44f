"""Bills: exact totals, currencies apart, closed against open, and mistakes named at once."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.bills.formats import recognise
from qafila.audit.bills.model import Period, exact, main_currency, money
from qafila.audit.bills.read import read_bill
from qafila.demo.bill import COLUMNS, GHOST, PRICES, UNBILLED, write_bill
from qafila.demo.estate import Estate
from qafila.demo.estate_plan import Seeded
from qafila.errors import BadInput
from tests.support.bill_files import HEAD, bill_of, shared


def test_the_real_focus_1_0_sample_is_exact() -> None:
    bill = read_bill(shared("focus_1_0_sample.csv"))
    assert (bill.format, bill.rows, bill.currencies) == ("FOCUS 1.0", 1000, ("USD",))
    assert bill.total("USD") == Decimal("20.520226728990")
    vendors: dict[str, Decimal] = {}
    for spend in bill.vendors:
        vendors[spend.subject] = vendors.get(spend.subject, Decimal(0)) + spend.amount
    assert vendors == {
        "AWS": Decimal("18.006638618400"),
        "Microsoft": Decimal("1.976514185860"),
        "Oracle": Decimal("0.537073924730"),
    }
    services = {}
    for spend in bill.services:
        amount, rows = services.get(spend.subject, (Decimal(0), 0))
        services[spend.subject] = (amount + spend.amount, rows + spend.rows)
    assert services["Amazon Elastic Compute Cloud"] == (Decimal("16.041693050500"), 554)
    assert services["Amazon Relational Database Service"] == (Decimal("0.753227085200"), 13)
    assert all(p.closed is None for p in bill.periods)


def test_the_synthetic_focus_1_2_sample_is_exact_and_closed() -> None:
    bill = read_bill(shared("focus_1_2_synthetic_aws.csv"))
    assert (bill.format, bill.rows) == ("FOCUS 1.2", 1000)
    assert bill.total("USD") == Decimal("21301.98951951092125")
    assert len({s.subject for s in bill.services}) == 8
    assert [(p.month, p.closed) for p in bill.periods] == [("2026-05", True)]


def test_the_real_aws_report_is_exact_and_open() -> None:
    bill = read_bill(shared("aws_cur_anonymous_export.csv"))
    assert (bill.format, bill.rows) == ("AWS CUR 1", 1281)
    assert bill.total("USD") == Decimal("1.682308697400")
    assert bill.sums(bill.categories, "USD") == {
        "Usage": (Decimal("1.602308697400"), 1269),
        "Tax": (Decimal("0.08"), 12),
    }
    services = bill.sums(bill.services, "USD")
    assert services["AmazonS3"] == (Decimal("1.440565356500"), 799)
    assert services["awskms"] == (Decimal("0.240555557400"), 52)
    assert [(p.month, p.state) for p in bill.periods] == [("2023-11", "open")]


def test_another_file_is_refused_with_every_missing_column(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read_bill(bill_of(tmp_path, "1,2", head="name,age"))
    assert len(refused.value.problems) == 5


def test_the_focus_columns_are_those_of_the_specification() -> None:
    matrix = shared("focus_columns_1_0_to_1_2.csv").read_text().splitlines()[1:]
    assert {line.split(",")[0] for line in matrix} == set(COLUMNS)
    assert len(COLUMNS) == len(set(COLUMNS)) == 57


def test_two_currencies_are_never_added(tmp_path: Path) -> None:
    bill = read_bill(
        bill_of(
            tmp_path,
            "10.10,EUR,2026-05-01,Usage,a",
            "20.20,USD,2026-05-01T00:00:00Z,Usage,a",
            "0.3,USD,2026-05-01 00:00:00,Usage,b",
        )
    )
    assert bill.currencies == ("USD", "EUR")
    assert (bill.total("USD"), bill.total("EUR")) == (Decimal("20.5"), Decimal("10.1"))
    assert main_currency(bill, "EUR") == "EUR"
    assert main_currency(bill, "MAD") == "USD"


def test_a_month_is_closed_only_when_every_line_has_an_invoice(tmp_path: Path) -> None:
    lines = [
        "1,USD,2026-04-01,Usage,a,INV-1",
        "2,USD,2026-05-01,Usage,a,INV-2",
        "3,USD,2026-05-01,Usage,a,",
        "4,USD,2026-06-01,Usage,a,NULL",
    ]
    bill = read_bill(bill_of(tmp_path, *lines, head=HEAD + ",InvoiceId"))
    assert [(p.month, p.state) for p in bill.periods] == [
        ("2026-04", "closed"),
        ("2026-05", "open"),
        ("2026-06", "open"),
    ]
    reference, newest = bill.reference_period("USD"), bill.newest_period("USD")
    assert reference is not None
    assert newest is not None
    assert (reference.month, newest.month) == ("2026-04", "2026-06")
    assert [(d.count, d.of) for d in bill.defects if d.kind == "partly-invoiced"] == [(1, 2)]


def test_where_no_month_is_closed_the_one_before_the_last_is_looked_at(tmp_path: Path) -> None:
    lines = ["2,USD,2026-05-01,Usage,a", "4,USD,2026-06-01,Usage,a", "1,EUR,2026-06-01,Usage,a"]
    bill = read_bill(bill_of(tmp_path, *lines, head=HEAD))
    found = {c: bill.reference_period(c) for c in ("USD", "EUR", "MAD")}
    assert {c: p and p.month for c, p in found.items()} == {
        "USD": "2026-05",
        "EUR": "2026-06",
        "MAD": None,
    }


@pytest.mark.parametrize(
    ("description", "route"),
    [
        ("$0.010 per GB - regional data transfer - in/out/between EC2 AZs", "cross-AZ"),
        ("$0.090 per GB - first 10 TB / month data transfer out", "internet out"),
        ("$0.000 per GB - data transfer in per month", "internet in"),
        ("$0.02 per GB - EU (Paris) data transfer to EU (Ireland)", "inter-region"),
        ("$0.00 per GB data transfer out of EU (Paris) to CloudFront", "CDN"),
        ("$0.045 per GB Data Processed by NAT Gateways", "NAT processing"),
        ("Bandwidth Inter-Region", "inter-region"),
        ("data transfer of another sort", "other transfer"),
        ("$0.096 per On Demand Linux m6i.large Instance Hour", None),
    ],
)
def test_a_transfer_line_is_routed_by_the_price_lists_words(
    tmp_path: Path, description: str, route: str | None
) -> None:
    bill = read_bill(
        bill_of(
            tmp_path,
            f'2,USD,2026-05-01,Usage,a,"{description}"',
            "6,USD,2026-05-01,Usage,a,machine",
            "5,USD,2026-05-01,Tax,a,machine",
            head=HEAD + ",ChargeDescription",
        )
    )
    assert [s.subject for s in bill.network] == ([route] if route else [])
    # network 2 of usage 2 + 6; tax is not usage
    assert bill.network_share(bill.periods[0]) == (0.25 if route else 0.0)


def test_parquet_and_csv_give_the_same(tmp_path: Path) -> None:
    csv = bill_of(
        tmp_path, "0.1,USD,2026-05-01,Usage,a", "0.20000000000000000003,USD,2026-05-01,Usage,b"
    )
    parquet = tmp_path / "bill.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * REPLACE (BilledCost::DECIMAL(38, 20) AS BilledCost,"
            f" BillingPeriodStart::TIMESTAMP AS BillingPeriodStart)"
            f" FROM read_csv('{csv}', all_varchar = true)) TO '{parquet}' (FORMAT parquet)"
        )
    one, other = read_bill(csv), read_bill(parquet)
    assert one.periods == other.periods
    assert one.total("USD") == Decimal("0.30000000000000000003")


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read_bill(
            bill_of(
                tmp_path,
                '"12,50",USD,2026-05-01,Usage,a',
                "1,,2026-05-01,Usage,a",
                "1,USD,May 2026,Usage,a",
            )
        )
    assert refused.value.problems == (
        "1 of 3 lines have no BilledCost that can be read",
        "1 of 3 lines have no BillingPeriodStart that can be read",
        "1 of 3 lines have no BillingCurrency that can be read",
    )


def test_an_empty_bill_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="it has no lines"):
        read_bill(bill_of(tmp_path))
    with pytest.raises(BadInput, match="there is no bill at"):
        read_bill(tmp_path / "none.csv")


def test_the_version_is_told_by_its_columns() -> None:
    required = HEAD.split(",")
    assert recognise(required, "b") == "FOCUS 1.0"
    assert recognise([*required, "SkuMeter"], "b") == "FOCUS 1.1"
    assert recognise([*required, "SkuMeter", "InvoiceId"], "b") == "FOCUS 1.2"


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=20, min_value=-(10**15), max_value=10**15
    )
)
def test_an_exact_amount_never_loses_a_digit_nor_shows_an_exponent(amount: Decimal) -> None:
    text = exact(amount)
    assert Decimal(text) == amount
    assert "E" not in text


def test_money_and_state_are_for_readers() -> None:
    assert money(Decimal("1234.5"), "EUR") == "1,234.50 EUR"
    period = Period("EUR", date(2026, 5, 1), Decimal(1), Decimal(0), 1, None)
    assert period.state == "not known"


@pytest.fixture
def estate() -> Estate:
    seeded = (
        Seeded("i-01", "web", "instance", "t3.medium", "shop"),
        Seeded("i-02", UNBILLED, "instance", "c6i.xlarge", "orders"),
        Seeded("vol-01", "disk", "volume", "gp3", "shop", 310),
        Seeded("arn:aws:sqs:eu-west-3:1:q", "q", "queue", "", "shop"),
    )
    return Estate("http://127.0.0.1:1", ("eu-west-3",), "id", "secret", seeded)


def test_the_demo_bill_is_the_same_for_the_same_seed_and_says_it_is_synthetic(
    tmp_path: Path, estate: Estate
) -> None:
    one = write_bill(tmp_path / "1.csv", estate, date(2026, 11, 24))
    two = write_bill(tmp_path / "2.csv", estate, date(2026, 11, 24))
    assert one.read_bytes() == two.read_bytes()
    bill = read_bill(one)
    assert [(p.month, p.state) for p in bill.periods] == [
        ("2026-10", "closed"),
        ("2026-11", "open"),
    ]
    assert bill.issuers == ("synthetic",)
    billed = {i.resource_id: i.in_period(date(2026, 10, 1)) for i in bill.items}
    assert "i-02" not in billed
    assert billed[GHOST] == PRICES["m6i.xlarge"].usd * 24 * 31
    # 310 GiB for one month of 31 days at 0.08
    assert billed["vol-01"] == Decimal("24.8")
    assert all(p.source for p in PRICES.values())


@pytest.mark.parametrize("day", [1, 2, 31])
def test_the_demo_bill_has_an_open_month_on_any_day(
    tmp_path: Path, estate: Estate, day: int
) -> None:
    bill = read_bill(write_bill(tmp_path / "b.csv", estate, date(2027, 1, day)))
    assert [(p.month, p.state) for p in bill.periods] == [
        ("2026-12", "closed"),
        ("2027-01", "open"),
    ]
