"""Small bills in each vendor's published columns, written by hand; they come from no account."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "billing"
HEAD = "BilledCost,BillingCurrency,BillingPeriodStart,ChargeCategory,ServiceName"

# Enterprise Agreement, "cost and usage details file schema": no invoice id, month/day/year, tags
# without braces.
_EA = {
    "InvoiceSectionName": "dept",
    "SubscriptionId": "sub-1",
    "ResourceGroup": "rg",
    "ResourceLocation": "francecentral",
    "Date": "",
    "ProductName": "",
    "MeterCategory": "",
    "MeterSubCategory": "",
    "MeterId": "m-1",
    "MeterName": "",
    "UnitOfMeasure": "1 Hour",
    "Quantity": "1",
    "EffectivePrice": "",
    "CostInBillingCurrency": "",
    "ConsumedService": "",
    "ResourceId": "",
    "Tags": "",
    "ReservationId": "",
    "ChargeType": "Usage",
    "BillingCurrencyCode": "EUR",
    "BillingPeriodStartDate": "05/01/2026",
    "BillingPeriodEndDate": "05/31/2026",
}
_VM = "/subscriptions/sub-1/vm/web"

# Microsoft Customer Agreement: lower-case names, ISO dates, an invoice id once it is invoiced.
_MCA = {
    "invoiceId": "",
    "billingPeriodStartDate": "",
    "date": "",
    "subscriptionId": "sub-1",
    "meterCategory": "Storage",
    "meterId": "m",
    "meterName": "LRS",
    "quantity": "10",
    "unitOfMeasure": "1 GB",
    "costInBillingCurrency": "",
    "billingCurrency": "EUR",
    "pricingCurrency": "USD",
    "chargeType": "Usage",
    "tags": "",
    "resourceId": "/disk/1",
}

_OCI = {
    "lineItem/referenceNo": "",
    "lineItem/tenantId": "tenancy-1",
    "lineItem/intervalUsageStart": "2026-05-01T00:00Z",
    "lineItem/intervalUsageEnd": "2026-05-01T01:00Z",
    "product/service": "COMPUTE",
    "product/compartmentId": "c-1",
    "product/region": "eu-paris-1",
    "product/resourceId": "vm-1",
    "usage/billedQuantity": "",
    "cost/productSku": "B1",
    "product/Description": "A1 OCPU",
    "cost/unitPrice": "0.01",
    "cost/myCost": "",
    "cost/myCostOverage": "0",
    "cost/currencyCode": "EUR",
    "cost/billingUnitReadable": "ONE OCPU HOURS",
    "lineItem/isCorrection": "false",
    "lineItem/backreferenceNo": "",
    "tags/cost.team": "shop",
}

# Data Exports, CUR 2: underscores, and maps of products and tags as JSON.
_CUR_2 = {
    "identity_line_item_id": "",
    "identity_time_interval": "2026-05-01T00:00:00Z/2026-05-01T01:00:00Z",
    "bill_invoice_id": "INV-5",
    "bill_invoicing_entity": "Amazon Web Services",
    "bill_payer_account_id": "p",
    "bill_billing_period_start_date": "2026-05-01 00:00:00",
    "line_item_usage_account_id": "a-1",
    "line_item_line_item_type": "Usage",
    "line_item_usage_start_date": "2026-05-01T00:00:00Z",
    "line_item_usage_end_date": "2026-05-01T01:00:00Z",
    "line_item_product_code": "AmazonEC2",
    "line_item_usage_type": "",
    "line_item_operation": "",
    "line_item_usage_amount": "1",
    "line_item_currency_code": "USD",
    "line_item_unblended_rate": "",
    "line_item_unblended_cost": "0",
    "line_item_line_item_description": "",
    "line_item_resource_id": "",
    "product": '{"product_name": "EC2"}',
    "product_from_region_code": "",
    "product_to_region_code": "",
    "resource_tags": "{}",
    "savings_plan_savings_plan_a_r_n": "",
    "savings_plan_savings_plan_effective_cost": "",
    "savings_plan_total_commitment_to_date": "",
    "savings_plan_used_commitment": "",
    "reservation_reservation_a_r_n": "",
    "reservation_effective_cost": "",
    "reservation_unused_recurring_fee": "",
    "reservation_unused_amortized_upfront_fee_for_billing_period": "",
}


def _csv(usual: Mapping[str, str], rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(usual), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**usual, **row} for row in rows)
    return text.getvalue()


def _ea(day: str, cost: str, **others: str) -> dict[str, str]:
    return {"Date": f"05/{day}/2026", "CostInBillingCurrency": cost, **others}


AZURE_EA = "\ufeff" + _csv(
    _EA,
    [
        _ea(
            "13",
            "4.8",
            Quantity="24",
            EffectivePrice="0.2",
            MeterCategory="Virtual Machines",
            MeterName="D4 v5",
            ResourceId=_VM,
            Tags='"env": "prod"',
        ),
        _ea(
            "14",
            "7E-07",
            Quantity="3.5E-05",
            EffectivePrice="0.02",
            MeterCategory="Bandwidth",
            MeterName="Inter-Region Out",
            ResourceId=_VM,
        ),
        _ea(
            "20",
            "500",
            MeterCategory="Virtual Machines",
            ReservationId="res-1",
            ChargeType="Purchase",
        ),
        _ea(
            "21",
            "-100",
            MeterCategory="Virtual Machines",
            ReservationId="res-1",
            ChargeType="Refund",
        ),
        _ea("31", "0.01", MeterCategory="Adjustment", ChargeType="RoundingAdjustment"),
    ],
)

AZURE_MCA = _csv(
    _MCA,
    [
        {
            "invoiceId": "G-1",
            "billingPeriodStartDate": "2026-04-01",
            "date": "2026-04-02",
            "costInBillingCurrency": "0.2",
            "tags": '{"env": "prod"}',
        },
        {
            "billingPeriodStartDate": "2026-05-01",
            "date": "2026-05-02",
            "costInBillingCurrency": "0.3",
        },
    ],
)

OCI = _csv(
    _OCI,
    [
        {"lineItem/referenceNo": "ref-1", "usage/billedQuantity": "4", "cost/myCost": "0.04"},
        {
            "lineItem/referenceNo": "ref-2",
            "usage/billedQuantity": "100",
            "cost/myCost": "0.85",
            "cost/myCostOverage": "0.85",
            "cost/unitPrice": "0.0085",
            "product/service": "NETWORK",
            "lineItem/intervalUsageStart": "2026-05-31T23:00Z",
            "lineItem/intervalUsageEnd": "2026-06-01T00:00Z",
            "tags/cost.team": "",
        },
        {
            "lineItem/referenceNo": "ref-3",
            "usage/billedQuantity": "-1",
            "cost/myCost": "-0.01",
            "lineItem/isCorrection": "true",
            "lineItem/backreferenceNo": "ref-1",
        },
    ],
)


def _aws(number: int, kind: str, cost: str, **others: str) -> dict[str, str]:
    return {
        "identity_line_item_id": f"l-{number}",
        "line_item_line_item_type": kind,
        "line_item_unblended_cost": cost,
        **others,
    }


CUR_2 = _csv(
    _CUR_2,
    [
        _aws(
            1,
            "SavingsPlanCoveredUsage",
            "0.096",
            line_item_resource_id="i-1",
            resource_tags='{"user_app": "shop"}',
            savings_plan_savings_plan_a_r_n="arn:sp",
            savings_plan_savings_plan_effective_cost="0.06",
        ),
        _aws(2, "SavingsPlanNegation", "-0.096", savings_plan_savings_plan_a_r_n="arn:sp"),
        _aws(
            3,
            "SavingsPlanRecurringFee",
            "0.1",
            line_item_product_code="ComputeSavingsPlans",
            savings_plan_savings_plan_a_r_n="arn:sp",
            savings_plan_used_commitment="0.06",
            savings_plan_total_commitment_to_date="0.1",
        ),
        _aws(
            4,
            "Usage",
            "0.04",
            line_item_resource_id="i-1",
            line_item_operation="Out",
            line_item_usage_type="EUW3-EUW1-AWS-Out-Bytes",
            line_item_usage_amount="2",
            line_item_unblended_rate="0.02",
            product_from_region_code="eu-west-3",
            product_to_region_code="eu-west-1",
        ),
        _aws(5, "Refund", "-0.01"),
        _aws(
            6,
            "DiscountedUsage",
            "0",
            line_item_product_code="AmazonRDS",
            reservation_reservation_a_r_n="arn:ri",
            reservation_effective_cost="0.05",
        ),
        _aws(
            7,
            "RIFee",
            "0.08",
            line_item_product_code="AmazonRDS",
            reservation_reservation_a_r_n="arn:ri",
            reservation_unused_recurring_fee="0.02",
            reservation_unused_amortized_upfront_fee_for_billing_period="0.01",
        ),
    ],
)


def shared(name: str) -> Path:
    """Return a public sample, or skip where it is not on this machine."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the public sample {name} is not on this machine")
    return path


def text_bill(folder: Path, text: str, name: str = "bill.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def bill_of(folder: Path, *lines: str, head: str = HEAD, name: str = "bill.csv") -> Path:
    return text_bill(folder, "\n".join([head, *lines]) + "\n", name)
