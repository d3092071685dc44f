"""Bills in the shapes of other people's exports: read as they are meant, no false alarms."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from qafila.audit.bills.formats import FOCUS_COLUMNS, lacking, recognise
from qafila.audit.bills.read import read_bill
from qafila.audit.bills.relation import open_bill
from qafila.errors import BadInput
from tests.support.bill_files import CUR_2, HEAD, bill_of, text_bill

IN_1_3 = (
    "ServiceProviderName",
    "HostProviderName",
    "ContractApplied",
    "AllocatedMethodId",
    "AllocatedMethodDetails",
    "AllocatedResourceId",
    "AllocatedResourceName",
    "AllocatedTags",
)

# Pay-as-you-go subscriptions: no charge type, no period, the currency's column is "Currency".
PAY_AS_YOU_GO = (
    "SubscriptionGuid,ResourceGroup,ResourceLocation,UsageDateTime,MeterCategory,"
    "MeterSubCategory,MeterId,MeterName,MeterRegion,UsageQuantity,ResourceRate,PreTaxCost,"
    "ConsumedService,ResourceType,InstanceId,Tags,OfferId,Currency,UnitOfMeasure\n"
    "s-1,rg,westeurope,2026-05-18,Storage,Tables,m,LRS,EU,10,0.05,0.5,x,y,/disk/1,,o,EUR,1 GB\n"
    's-1,rg,westeurope,2026-06-01,Storage,Tables,m,LRS,EU,20,0.05,1,x,y,/disk/1,"{ ""a"": ""b"" }",'
    "o,EUR,1 GB\n"
)

# An Enterprise file whose dates have no leading noughts and whose tags have no braces.
ENTERPRISE = (
    "SubscriptionId,Date,ProductName,MeterCategory,MeterId,MeterName,UnitOfMeasure,Quantity,"
    "EffectivePrice,CostInBillingCurrency,ConsumedService,ResourceId,Tags,ReservationId,ChargeType,"
    "PricingModel,BillingCurrencyCode,BillingPeriodStartDate,BillingPeriodEndDate,benefitId\n"
    's,9/2/2026,p,Virtual Machines,m,D2,1 Hour,24,0.1,2.4,c,/vm/1,"""env"": ""prod""",,Usage,'
    "OnDemand,CAD,9/1/2026,9/30/2026,\n"
    "s,9/3/2026,p,Virtual Machines,m,D2,1 Hour,24,{price},{cost},c,/vm/2,,r-1,Usage,{model},CAD,"
    "9/1/2026,9/30/2026,\n"
)


def kinds(path: Path) -> set[str]:
    return {d.kind for d in read_bill(path).defects}


def test_later_versions_of_focus_are_named_and_their_columns_are_no_defect(tmp_path: Path) -> None:
    row = dict.fromkeys((*FOCUS_COLUMNS, *IN_1_3), "") | {
        "BilledCost": "1.5",
        "BillingCurrency": "USD",
        "BillingPeriodStart": "2026-05-01",
        "ChargeCategory": "Usage",
        "ServiceName": "Cloud Storage",
        "ProviderName": "Google Cloud",
        "ServiceProviderName": "Google Cloud",
        "ResourceId": "b",
        "BillingAccountId": "1",
        "Tags": '"{""env"":""dev""}"',
        "InvoiceId": "I",
    }
    bill = read_bill(bill_of(tmp_path, ",".join(row.values()), head=",".join(row)))
    assert (bill.format, [d.kind for d in bill.defects]) == ("FOCUS 1.3", [])
    for gone in ("ProviderName", "PublisherName"):
        del row[gone]
    row["InvoiceDetailId"] = ""
    bill = read_bill(bill_of(tmp_path, ",".join(row.values()), head=",".join(row)))
    assert (bill.format, [d.kind for d in bill.defects]) == ("FOCUS 1.4", [])
    assert [v.subject for v in bill.vendors] == ["Google Cloud"]


def test_what_focus_asks_for_may_stand_where_a_later_version_puts_it() -> None:
    assert lacking([*FOCUS_COLUMNS]) == []
    without = [c for c in FOCUS_COLUMNS if c not in ("ProviderName", "PublisherName")]
    assert lacking(without) == ["ProviderName", "PublisherName"]
    assert lacking([*without, "ServiceProviderName"]) == []


def test_another_dataset_of_focus_is_refused_by_its_missing_columns() -> None:
    columns = [
        "BillingCurrency",
        "ContractCommitmentId",
        "ContractCommitmentCost",
        "ContractCommitmentPeriodStart",
        "ServiceProviderName",
    ]
    with pytest.raises(BadInput, match="not a FOCUS bill") as refused:
        recognise(columns, "commitments.csv")
    assert any("the column BilledCost is missing" in p for p in refused.value.problems)


def test_a_pay_as_you_go_file_of_azure_is_usage_by_the_month_of_its_days(tmp_path: Path) -> None:
    bill = read_bill(text_bill(tmp_path, PAY_AS_YOU_GO))
    assert (bill.format, bill.total("EUR")) == ("Azure cost details", Decimal("1.5"))
    assert [(p.month, p.amount, p.state) for p in bill.periods] == [
        ("2026-05", Decimal("0.5"), "not known"),
        ("2026-06", Decimal(1), "not known"),
    ]
    assert bill.sums(bill.categories, "EUR") == {"Usage": (Decimal("1.5"), 2)}
    assert [i.resource_id for i in bill.items] == ["/disk/1"]


def test_a_charge_type_missing_from_another_azure_file_is_still_named(tmp_path: Path) -> None:
    text = ENTERPRISE.format(price="0.1", cost="2.4", model="OnDemand")
    with pytest.raises(BadInput) as refused:
        read_bill(text_bill(tmp_path, text.replace(",ChargeType,", ",Kind,")))
    assert refused.value.problems == ("the column ChargeType is missing",)


def test_dates_without_leading_noughts_and_tags_without_braces_are_read(tmp_path: Path) -> None:
    path = text_bill(tmp_path, ENTERPRISE.format(price="0.1", cost="2.4", model="OnDemand"))
    bill = read_bill(path)
    assert [(p.month, p.amount) for p in bill.periods] == [("2026-09", Decimal("4.8"))]
    with open_bill(path) as opened:
        rows = opened.query("SELECT strftime(charge_start, '%d'), tags FROM line ORDER BY 1")
    assert rows == [("02", '{"env": "prod"}'), ("03", None)]


@pytest.mark.parametrize(
    ("price", "cost", "model", "amortised"),
    [
        ("0.06", "1.44", "Reservation", True),  # its share of the reservation
        ("0.06", "1.44", "SavingsPlan", True),
        ("0", "0", "Reservation", False),  # covered: in an actual-cost file it costs nothing
        ("0.1", "2.4", "OnDemand", False),  # the licence beside a reservation
        ("0.03", "0.72", "Spot", False),
    ],
)
def test_usage_at_a_commitments_price_shows_an_amortised_export(
    tmp_path: Path, price: str, cost: str, model: str, amortised: bool
) -> None:
    path = text_bill(tmp_path, ENTERPRISE.format(price=price, cost=cost, model=model))
    assert ("amortised-export" in kinds(path)) is amortised


def test_a_savings_plans_negation_is_neither_usage_below_zero_nor_nameless(tmp_path: Path) -> None:
    bill = read_bill(text_bill(tmp_path, CUR_2))
    found = {d.kind: d for d in bill.defects}
    assert "negative-usage" not in found
    assert found["no-resource-id"].count == 1  # the database hour; not the negation


def test_the_purchase_of_a_commitment_does_not_make_its_effective_cost_rounded(
    tmp_path: Path,
) -> None:
    head = HEAD + ",ProviderName,EffectiveCost,ListCost,ContractedCost"
    bought = "227.5,USD,2026-05-01,Purchase,a,V,0,300,228"
    assert "rounded-column" not in kinds(bill_of(tmp_path, bought, head=head))
    used = "0.5,USD,2026-05-01,Usage,a,V,{},0.75,0.5"
    assert "rounded-column" not in kinds(bill_of(tmp_path, bought, used.format("0.5"), head=head))
    (rounded,) = (
        d
        for d in read_bill(bill_of(tmp_path, bought, used.format("1"), head=head)).defects
        if d.kind == "rounded-column"
    )
    assert (rounded.subject, rounded.count) == ("EffectiveCost", 1)


def test_a_line_without_a_time_is_not_one_without_a_zone(tmp_path: Path) -> None:
    head = HEAD + ",ChargePeriodStart"
    assert "time-without-zone" not in kinds(
        bill_of(tmp_path, "1,EUR,2026-05-01T00:00:00Z,Tax,a,", head=head)
    )
    assert "time-without-zone" in kinds(
        bill_of(tmp_path, "1,EUR,2026-05-01,Tax,a,2026-05-01T00:00:00", head=head)
    )


def test_times_of_aws_are_utc_by_its_documents_and_no_doubt(tmp_path: Path) -> None:
    text = CUR_2.replace("T00:00:00Z", " 00:00:00").replace("T01:00:00Z", " 01:00:00")
    assert "time-without-zone" not in kinds(text_bill(tmp_path, text))
    text = CUR_2.replace("T00:00:00Z", "T00:00:00+02:00")
    assert "local-time" in kinds(text_bill(tmp_path, text))


@pytest.mark.parametrize(
    ("tags", "value"),
    [
        ('{"app": "shop"}', "shop"),
        ('"app": "shop"', "shop"),  # Azure
        ('[{"key": "app", "value": "shop"}]', "shop"),  # Google Cloud
        ('[{"key": "app"}, {"value": "shop"}, 3]', ""),
        ("{}", None),
        ("{ }", None),
        ("[]", None),
        ("", None),
        ("NULL", None),
    ],
)
def test_tags_are_read_in_every_shape_and_empty_ones_are_none(
    tmp_path: Path, tags: str, value: str | None
) -> None:
    doubled = tags.replace('"', '""')
    bill = read_bill(
        bill_of(tmp_path, f'1,EUR,2026-05-01,Usage,a,"{doubled}"', head=HEAD + ",Tags")
    )
    assert ("untagged" in {d.kind for d in bill.defects}) is (value is None)
    assert [t.value for t in bill.tagged if t.key == "app"] == [value or ""]


def test_a_column_of_data_exports_is_named_as_the_file_writes_it(tmp_path: Path) -> None:
    chosen = CUR_2.replace("bill_billing_period_start_date", "line_item_net_unblended_cost")
    with pytest.raises(BadInput, match="not an AWS CUR 2 bill") as refused:
        read_bill(text_bill(tmp_path, chosen))
    assert refused.value.problems == ("the column bill_billing_period_start_date is missing",)


def test_another_files_columns_are_not_taken_for_a_vendors() -> None:
    """Google Cloud's own export has a cost and a currency, as an Azure file has."""
    nested = [
        "billing_account_id",
        "service.description",
        "sku.id",
        "usage_start_time",
        "cost",
        "currency",
        "credits",
        "invoice.month",
    ]
    with pytest.raises(BadInput, match="Google Cloud's own billing export") as refused:
        recognise(nested, "gcp.csv")
    assert "FOCUS" in refused.value.remedy
    with pytest.raises(BadInput, match="nor an AWS, Azure or OCI one"):
        recognise(["Date", "Cost", "Currency", "Shop"], "shopping.csv")


def test_a_tag_column_with_a_backslash_is_a_name_like_any_other(tmp_path: Path) -> None:
    head = (
        "lineItem/referenceNo,lineItem/tenantId,lineItem/intervalUsageStart,product/service,"
        "product/region,cost/myCost,cost/currencyCode,tags/Dev\\red's.app"
    )
    path = bill_of(tmp_path, "1,t,2026-05-13T10:00Z,NETWORK,r,2.27205938461E-7,USD,shop", head=head)
    assert read_bill(path).total("USD") == Decimal("2.27205938461E-7")
    with open_bill(path) as opened:
        assert json.loads(opened.query("SELECT tags FROM line")[0][0]) == {"Dev\\red's.app": "shop"}


@pytest.mark.parametrize(
    "tags",
    [
        "MAP {'app': 'shop'}",  # Data Exports
        "[{'key': 'app', 'value': 'shop'}]",  # Google Cloud
        "{'app': 'shop'}::JSON",
        "{'app': 'shop', 'other': NULL}",
    ],
)
def test_tags_of_every_type_of_parquet_are_read(tmp_path: Path, tags: str) -> None:
    path = tmp_path / "bill.parquet"
    empty = {"M": "MAP {}", "[": "[]", "{": "NULL"}[tags[0]]
    line = (
        "SELECT 1.5 AS BilledCost, 'EUR' AS BillingCurrency, DATE '2026-05-01' AS"
        " BillingPeriodStart, 'Usage' AS ChargeCategory, 'a' AS ServiceName"
    )
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY ({line}, {tags} AS Tags, 1 AS ResourceId UNION ALL"
            f" {line}, {empty}, 2) TO '{path}' (FORMAT parquet)"
        )
    bill = read_bill(path)
    (untagged,) = (d for d in bill.defects if d.kind == "untagged")
    assert (untagged.count, untagged.amount) == (1, Decimal("1.5"))
    amounts = {t.value: t.amount for t in bill.tagged if t.key == "app"}
    assert amounts == {"": Decimal("1.5"), "shop": Decimal("1.5")}


def test_a_focus_bill_tells_what_was_paid_for_commitments_from_what_was_used_of_them(
    tmp_path: Path,
) -> None:
    head = HEAD + ",ProviderName,CommitmentDiscountId,ChargeClass,EffectiveCost"
    bill = read_bill(
        bill_of(
            tmp_path,
            "100,EUR,2026-05-01,Purchase,a,V,c-1,,0",
            "0,EUR,2026-05-01,Usage,a,V,c-1,,60.25",
            "0,EUR,2026-05-01,Usage,a,V,c-1,,9.75",  # not used: it is billed all the same
            "7,EUR,2026-05-01,Usage,a,V,,,7",
            "-3,EUR,2026-05-01,Credit,a,V,,,-3",
            "-2,EUR,2026-05-01,Usage,a,V,,Refund,-2",
            "20.5,EUR,2026-05-01,Tax,a,V,,,20.5",
            head=head,
        )
    )
    (month,) = bill.commitments
    # 60.25 + 9.75 + 7 - 3 - 2 + 20.5
    assert (month.billed, month.amortised) == (Decimal("122.5"), Decimal("92.5"))
    assert (month.purchased, month.used, month.rows) == (Decimal(100), Decimal(70), 3)
    assert {k: a for k, (a, _) in bill.sums(bill.categories, "EUR").items()} == {
        "Purchase": 100,
        "Tax": Decimal("20.5"),
        "Usage": 7,
        "Refund": -2,
        "Credit": -3,
    }
