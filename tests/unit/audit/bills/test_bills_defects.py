"""Every defect of a bill by one line that has it, and none of them in a clean bill."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from qafila.audit.bills.read import read_bill
from tests.support.bill_files import AZURE_EA, HEAD, bill_of, text_bill

ROOT = Path(__file__).parents[4]

# All that FOCUS asks for, twice: a clean bill of two days.
COLUMNS = (
    "BilledCost",
    "BillingCurrency",
    "BillingPeriodStart",
    "ChargeCategory",
    "ServiceName",
    "BillingAccountId",
    "BillingAccountName",
    "BillingPeriodEnd",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ListUnitPrice",
    "ResourceId",
    "Tags",
    "InvoiceId",
)
LINE = {
    "BilledCost": "0.5",
    "BillingCurrency": "EUR",
    "BillingPeriodStart": "2026-05-01",
    "ChargeCategory": "Usage",
    "ServiceName": "compute",
    "BillingAccountId": "a-1",
    "ChargePeriodStart": "2026-05-01T00:00:00Z",
    "ChargePeriodEnd": "2026-05-01T01:00:00Z",
    "ContractedCost": "0.5",
    "EffectiveCost": "0.5",
    "InvoiceIssuerName": "V",
    "ListCost": "0.5",
    "PricingQuantity": "2",
    "ListUnitPrice": "0.25",
    "PricingUnit": "h",
    "ProviderName": "V",
    "PublisherName": "V",
    "ServiceCategory": "Compute",
    "ResourceId": "r-1",
    "Tags": '"{""owner"": ""o""}"',
    "InvoiceId": "I-1",
}
OTHER = LINE | {
    "ResourceId": "r-2",
    "ChargePeriodStart": "2026-05-02T00:00:00Z",
    "ChargePeriodEnd": "2026-05-02T01:00:00Z",
}


def bill(folder: Path, *lines: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    rows = [",".join(line.get(c, "") for c in columns) for line in lines]
    return bill_of(folder, *rows, head=",".join(columns))


def test_a_clean_bill_has_no_defect(tmp_path: Path) -> None:
    assert read_bill(bill(tmp_path, LINE, OTHER)).defects == ()


# kind · what differs on the second line · lines (or cells, days) it counts · its money
ON_A_LINE = (
    ("untagged", {"Tags": ""}, 1, "0.5"),
    ("untagged", {"Tags": "{}", "BilledCost": "-2", "ChargeCategory": "Credit"}, 1, "-2"),
    ("no-resource-id", {"ResourceId": ""}, 1, "0.5"),
    ("no-account-id", {"BillingAccountId": ""}, 1, None),
    ("no-service-name", {"ServiceName": ""}, 1, None),
    ("literal-null", {"ChargeDescription": "NULL", "PricingUnit": "NULL"}, 2, None),
    ("negative-usage", {"BilledCost": "-1"}, 1, "-1"),
    ("unknown-category", {"ChargeCategory": "Gift"}, 1, None),
    ("unknown-category", {"ChargeCategory": ""}, 1, None),
    ("sum-mismatch", {"PricingQuantity": "3"}, 1, "0.5"),
    ("duplicate-lines", OTHER | LINE, 1, "0.5"),
    (
        "missing-days",
        {"ChargePeriodStart": "2026-05-05T00:00:00Z", "ChargePeriodEnd": "2026-05-05T01:00:00Z"},
        3,
        None,
    ),
    ("partly-invoiced", {"InvoiceId": ""}, 1, None),
    ("time-without-zone", {"ChargePeriodStart": "2026-05-02T00:00:00"}, 1, None),
    ("local-time", {"ChargePeriodStart": "2026-05-02T00:00:00+02:00"}, 1, None),
    ("rounded-column", {"EffectiveCost": "1", "BilledCost": "0.75"}, 2, None),
    ("rounded-amounts", {"BilledCost": "1e-50"}, 1, None),
)


@pytest.mark.parametrize(("kind", "changed", "count", "amount"), ON_A_LINE)
def test_a_line_with_a_defect_is_counted_with_its_money(
    tmp_path: Path, kind: str, changed: dict[str, str], count: int, amount: str | None
) -> None:
    first = {**LINE, "EffectiveCost": "2"} if kind == "rounded-column" else LINE
    found = {d.kind: d for d in read_bill(bill(tmp_path, first, OTHER | changed)).defects}
    assert found[kind].count == count
    assert found[kind].amount == (None if amount is None else Decimal(amount))
    if amount is not None:
        assert found[kind].currency == "EUR"


def test_price_times_quantity_is_compared_within_one_per_cent(tmp_path: Path) -> None:
    near = OTHER | {"ListCost": "0.504"}  # 0.25 · 2 = 0.5, apart by 0.8 %
    assert read_bill(bill(tmp_path, LINE, near)).defects == ()


def test_a_missing_and_a_renamed_column_are_told_by_name(tmp_path: Path) -> None:
    columns = tuple(c for c in COLUMNS if c not in ("ChargeDescription", "Tags"))
    read = read_bill(bill(tmp_path, LINE, OTHER, columns=(*columns, "Extra")))
    found = {d.kind: d for d in read.defects}
    assert (found["missing-columns"].count, found["missing-columns"].subject) == (
        1,
        "ChargeDescription",
    )
    assert found["renamed-column"].subject == "Extra"
    assert "is not known" in found["no-tags"].sentence


def other_defects(folder: Path) -> set[str]:
    """Return the kinds that take another format to show."""
    text = bill_of(folder, "1,5;EUR;2026-05-01;Usage;a", head=HEAD.replace(",", ";"))
    kinds = {d.kind for d in read_bill(text).defects}
    joined = f"{HEAD}\n1,EUR,2026-05-01,Usage,a\n{HEAD}\r\n2,EUR,2026-05-01,Usage,b\r\n"
    kinds |= {d.kind for d in read_bill(text_bill(folder, joined, "joined.csv")).defects}
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT 0.1::DOUBLE AS BilledCost, 'EUR' AS BillingCurrency,"
            f" DATE '2026-05-01' AS BillingPeriodStart, 'Usage' AS ChargeCategory,"
            f" 'a' AS ServiceName) TO '{folder / 'b.parquet'}' (FORMAT parquet)"
        )
    kinds |= {d.kind for d in read_bill(folder / "b.parquet").defects}
    azure = AZURE_EA.replace(",Purchase,", ",UnusedReservation,")
    return kinds | {d.kind for d in read_bill(text_bill(folder, azure, "azure.csv")).defects}


def test_every_defect_that_the_documents_name_has_a_test_here(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/audit-from-a-bill-alone.md").read_text()
    table = page.split("## Defects")[1].split("##")[0]
    named = set(re.findall(r"[a-z-]+", " ".join(re.findall(r"^\| (`.*?`) \|", table, re.M))))
    apart = {"missing-columns", "renamed-column", "no-tags"}
    assert named == {row[0] for row in ON_A_LINE} | apart | (
        other_defects(tmp_path)
        & {
            "decimal-comma",
            "floating-point",
            "amortised-export",
            "mixed-line-ends",
            "repeated-head",
        }
    )
    assert "amortised-export" in named
