"""AWS, Azure and OCI bills become the same lines as FOCUS ones, every amount exact."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from qafila.audit.bills.read import read_bill
from qafila.audit.bills.relation import open_bill
from tests.support.bill_files import AZURE_EA, AZURE_MCA, CUR_2, OCI, shared, text_bill


def test_an_azure_enterprise_bill_is_read_with_its_refund_apart(tmp_path: Path) -> None:
    bill = read_bill(text_bill(tmp_path, AZURE_EA))
    assert (bill.format, bill.rows, bill.currencies) == ("Azure cost details", 5, ("EUR",))
    # 4.8 + 0.0000007 + 500 - 100 + 0.01
    assert bill.total("EUR") == Decimal("404.8100007")
    charges = {name: amount for name, (amount, _) in bill.sums(bill.categories, "EUR").items()}
    assert charges == {
        "Purchase": Decimal(500),
        "Usage": Decimal("4.8000007"),
        "Adjustment": Decimal("0.01"),
        "Refund": Decimal(-100),
    }
    assert [(p.start, p.state) for p in bill.periods] == [(date(2026, 5, 1), "not known")]
    assert [v.subject for v in bill.vendors] == ["Microsoft"]


def test_an_azure_line_keeps_its_day_its_tags_and_its_commitment(tmp_path: Path) -> None:
    with open_bill(text_bill(tmp_path, AZURE_EA)) as bill:
        rows = bill.query(
            "SELECT charge_start, region, resource, meter, quantity, unit, account, tags,"
            " commitment FROM line ORDER BY charge_start"
        )
    assert rows[0][:7] == (
        datetime(2026, 5, 13),
        "francecentral",
        "/subscriptions/sub-1/vm/web",
        "D4 v5",
        Decimal(24),
        "1 Hour",
        "sub-1",
    )
    assert json.loads(rows[0][7]) == {"env": "prod"}
    assert [r[8] for r in rows] == [None, None, "res-1", "res-1", None]


def test_an_azure_customer_agreement_closes_by_its_invoice(tmp_path: Path) -> None:
    bill = read_bill(text_bill(tmp_path, AZURE_MCA))
    assert [(p.month, p.state) for p in bill.periods] == [
        ("2026-04", "closed"),
        ("2026-05", "open"),
    ]
    assert bill.total("EUR") == Decimal("0.5")


def test_an_amortised_azure_export_says_that_it_is_no_invoice(tmp_path: Path) -> None:
    text = AZURE_EA.replace(",Purchase,", ",UnusedReservation,")
    bill = read_bill(text_bill(tmp_path, text))
    assert [d.count for d in bill.defects if d.kind == "amortised-export"] == [1]


def test_an_oci_report_is_read_by_the_month_of_its_hours(tmp_path: Path) -> None:
    bill = read_bill(text_bill(tmp_path, OCI, "report.csv.gz"))
    assert (bill.format, bill.rows) == ("OCI cost report", 3)
    assert bill.total("EUR") == Decimal("0.88")
    # The correction stands apart from usage; a month is never known to be closed.
    assert {k: a for k, (a, _) in bill.sums(bill.categories, "EUR").items()} == {
        "Usage": Decimal("0.89"),
        "Correction": Decimal("-0.01"),
    }
    assert [(p.month, p.state) for p in bill.periods] == [("2026-05", "not known")]
    assert not [d for d in bill.defects if d.kind == "negative-usage"]
    with open_bill(tmp_path / "report.csv.gz") as opened:
        tags = opened.query("SELECT tags FROM line ORDER BY line_id")
    assert [json.loads(t[0]) if t[0] else None for t in tags] == [
        {"cost.team": "shop"},
        None,
        {"cost.team": "shop"},
    ]


def test_a_data_export_amortises_plans_and_reservations(tmp_path: Path) -> None:
    bill = read_bill(text_bill(tmp_path, CUR_2))
    assert (bill.format, bill.rows) == ("AWS CUR 2", 7)
    # 0.096 - 0.096 + 0.1 + 0.04 - 0.01 + 0 + 0.08
    assert bill.total("USD") == Decimal("0.21")
    (month,) = bill.commitments
    # covered 0.06, plan not used 0.1 - 0.06, transfer 0.04, refund -0.01, covered 0.05, fee 0.03
    assert month.amortised == Decimal("0.21")
    assert (month.purchased, month.used, month.rows) == (Decimal("0.18"), Decimal("0.11"), 5)
    charges = {name: amount for name, (amount, _) in bill.sums(bill.categories, "USD").items()}
    assert charges == {
        "Purchase": Decimal("0.18"),
        "Usage": Decimal("0.04"),
        "Refund": Decimal("-0.01"),
    }
    assert [(p.month, p.state) for p in bill.periods] == [("2026-05", "closed")]


def test_a_line_of_a_data_export_has_its_route_and_tags(tmp_path: Path) -> None:
    with open_bill(text_bill(tmp_path, CUR_2)) as bill:
        rows = bill.query(
            "SELECT usage_type, from_region, to_region, tags, operation FROM line"
            " WHERE line_id LIKE 'l-1|%' OR line_id LIKE 'l-4|%' ORDER BY line_id"
        )
    assert json.loads(rows[0][3]) == {"user_app": "shop"}
    assert rows[1] == ("EUW3-EUW1-AWS-Out-Bytes", "eu-west-3", "eu-west-1", None, "Out")


def test_a_legacy_report_with_tags_in_columns_finds_the_untagged(tmp_path: Path) -> None:
    head = (
        "identity/LineItemId,bill/InvoiceId,bill/BillingPeriodStartDate,lineItem/LineItemType,"
        "lineItem/ProductCode,lineItem/CurrencyCode,lineItem/UnblendedCost,resourceTags/user:App,"
        "resourceTags/user:Team\n"
    )
    lines = (
        "1,,2026-05-01T00:00:00Z,Usage,AmazonS3,USD,0.5,shop,\n"
        "2,,2026-05-01T00:00:00Z,Usage,AmazonS3,USD,0.25,,\n"
    )
    path = text_bill(tmp_path, head + lines)
    (untagged,) = (d for d in read_bill(path).defects if d.kind == "untagged")
    assert (untagged.count, untagged.of, untagged.amount) == (1, 2, Decimal("0.25"))
    with open_bill(path) as opened:
        assert opened.query("SELECT tags FROM line WHERE line_id = '1'") == [
            ('{"user:App":"shop"}',)
        ]


def test_floating_point_parquet_is_read_by_its_shortest_text(tmp_path: Path) -> None:
    path = tmp_path / "cur.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT 'p' AS product_product_name, NULL::VARCHAR AS bill_invoice_id,
                TIMESTAMP '2026-05-01' AS bill_billing_period_start_date,
                'Usage' AS line_item_line_item_type, 'AmazonS3' AS line_item_product_code,
                'USD' AS line_item_currency_code, cost::DOUBLE AS line_item_unblended_cost
                FROM (VALUES (0.1), (0.2), (0.0000000004)) AS costs(cost))
                TO '{path}' (FORMAT parquet)"""
        )
    bill = read_bill(path)
    assert bill.format == "AWS CUR 1"
    assert bill.total("USD") == Decimal("0.3000000004")
    assert [d.kind for d in bill.defects if d.kind == "floating-point"] == ["floating-point"]


@pytest.mark.parametrize(
    "name", ["focus_1_0_sample.csv", "focus_1_2_synthetic_aws.csv", "aws_cur_anonymous_export.csv"]
)
def test_a_real_bill_is_the_same_as_parquet_and_gzip(tmp_path: Path, name: str) -> None:
    path = shared(name)
    parquet, packed = tmp_path / "bill.parquet", tmp_path / "bill.csv.gz"
    with duckdb.connect() as connection:
        read = f"read_csv('{path}', all_varchar = true, header = true)"
        connection.execute(f"COPY (SELECT * FROM {read}) TO '{parquet}' (FORMAT parquet)")
    text_bill(tmp_path, path.read_text(), packed.name)
    bill = read_bill(path)
    for other in (read_bill(parquet), read_bill(packed)):
        assert (other.format, other.rows, other.periods) == (bill.format, bill.rows, bill.periods)
        assert other.services == bill.services
        assert {d.kind for d in other.defects} == {d.kind for d in bill.defects}


def test_bills_of_several_vendors_are_one_relation(tmp_path: Path) -> None:
    paths = [
        text_bill(tmp_path, AZURE_EA, "azure.csv"),
        text_bill(tmp_path, OCI, "oci.csv"),
        text_bill(tmp_path, CUR_2, "aws.csv"),
    ]
    bill = read_bill(paths)
    assert bill.format == "AWS CUR 2 + Azure cost details + OCI cost report"
    assert (bill.total("EUR"), bill.total("USD")) == (Decimal("405.6900007"), Decimal("0.21"))
    # Of the two in euros, neither can tell whether May is closed.
    assert {(p.currency, p.state) for p in bill.periods} == {
        ("EUR", "not known"),
        ("USD", "closed"),
    }
