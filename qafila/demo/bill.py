"""A FOCUS 1.2 bill for the demo's account: synthetic, and saying so on every line.

Quantities are invented, prices are not: each carries the list it was read from. The lists at
hand are those of us-east-1, so the demo's Paris region is billed at Virginia's prices.

Planted for the audit to find: a resource that is billed and does not exist, an instance that
exists and is not billed, and traffic between availability zones that costs more than it should.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from qafila.demo.estate import Estate
from qafila.demo.estate_plan import Seeded

# FOCUS_Spec tag v1.2: its 57 columns, in the order in which exports write them.
COLUMNS = (
    "ProviderName",
    "PublisherName",
    "InvoiceIssuerName",
    "InvoiceId",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "BilledCost",
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
    "ListUnitPrice",
    "ContractedUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "BillingCurrency",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ServiceName",
    "ServiceCategory",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SkuPriceDetails",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "RegionId",
    "RegionName",
    "AvailabilityZone",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountCategory",
    "CommitmentDiscountType",
    "CommitmentDiscountStatus",
    "CommitmentDiscountQuantity",
    "CommitmentDiscountUnit",
    "CapacityReservationId",
    "CapacityReservationStatus",
    "Tags",
)
SYNTHETIC = "x_Synthetic"
GHOST = "i-0dec0de0000000001"
UNBILLED = "worker-2"
ACCOUNT = "123456789012"

KARPENTER = "aws/karpenter-provider-aws generated pricing, us-east-1, 2026-07-20"
SAMPLE = "FOCUS-Sample-Data FOCUS-1.0, unit prices of a real bill, us-east-1, 2024-09"
TOOLKIT = "focus-data-toolkit 0.14.1, seed 7, a synthetic bill, 2026-05"


@dataclass(frozen=True)
class Price:
    """One list price in USD with where it was read."""

    usd: Decimal
    unit: str
    source: str


PRICES = {
    "t3.medium": Price(Decimal("0.0416"), "Hours", KARPENTER),
    "m6i.large": Price(Decimal("0.096"), "Hours", KARPENTER),
    "m6i.xlarge": Price(Decimal("0.192"), "Hours", KARPENTER),
    "r6i.large": Price(Decimal("0.126"), "Hours", KARPENTER),
    "c6i.xlarge": Price(Decimal("0.17"), "Hours", KARPENTER),
    "g5.xlarge": Price(Decimal("1.006"), "Hours", KARPENTER),
    "g6.xlarge": Price(Decimal("0.8048"), "Hours", KARPENTER),
    "db.r6g.large": Price(Decimal("0.24"), "Hours", TOOLKIT),
    "gp2": Price(Decimal("0.10"), "GB-Months", SAMPLE),
    "gp3": Price(Decimal("0.08"), "GB-Months", SAMPLE),
    "balancer": Price(Decimal("0.0225"), "Hours", SAMPLE),
    "storage": Price(Decimal("0.023"), "GB-Months", SAMPLE),
    "function": Price(Decimal("0.0000002"), "Requests", SAMPLE),
    "queue": Price(Decimal("0.0000004"), "Requests", SAMPLE),
    "table": Price(Decimal("0.00000025"), "Requests", SAMPLE),
    "cross-AZ": Price(Decimal("0.01"), "GB", SAMPLE),
    "internet out": Price(Decimal("0.09"), "GB", SAMPLE),
    "NAT": Price(Decimal("0.045"), "GB", SAMPLE),
}
_SERVICES = {
    "instance": ("Amazon Elastic Compute Cloud", "Compute"),
    "volume": ("Amazon Elastic Compute Cloud", "Compute"),
    "database": ("Amazon Relational Database Service", "Databases"),
    "balancer": ("Elastic Load Balancing", "Networking"),
    "bucket": ("Amazon Simple Storage Service", "Storage"),
    "function": ("AWS Lambda", "Compute"),
    "table": ("Amazon DynamoDB", "Databases"),
    "queue": ("Amazon Simple Queue Service", "Integration"),
    "network": ("Amazon Virtual Private Cloud", "Networking"),
}
_TALKING = frozenset({"shop", "orders", "docs"})
_REQUESTS_A_DAY = {"function": 40_000, "queue": 150_000, "table": 400_000}


@dataclass(frozen=True)
class _Charge:
    subject: Seeded
    meter: str
    description: str
    price: Price
    quantity: Decimal


def write_bill(path: Path, estate: Estate, as_of: date, *, seed: int = 7) -> Path:
    """Write two months, a line a day and charge, to ``path``; the same for the same arguments.

    The month before ``as_of`` is closed and carries an invoice id; the current one is open, runs
    to the day before ``as_of`` (on the first of a month, to that day) and has none.
    """
    first = as_of.replace(day=1)
    previous = (first - timedelta(days=1)).replace(day=1)
    until = max(as_of, first + timedelta(days=1))
    dice = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    half_written = path.with_suffix(".part")
    with half_written.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, SYNTHETIC], restval="")
        writer.writeheader()
        for start, end in ((previous, first), (first, until)):
            invoice = f"SYNTHETIC-{start:%Y-%m}" if start == previous else ""
            for number in range((end - start).days):
                day = start + timedelta(days=number)
                for charge in _charges(estate, _days_in_month(start), dice):
                    writer.writerow(_line(charge, day, start, invoice, estate.regions[0]))
    return half_written.replace(path)


def _charges(estate: Estate, days: int, dice: random.Random) -> Iterator[_Charge]:
    """Yield one day's charges; machines cost their list price, usage varies by a fifth."""
    ghost = Seeded(GHOST, "old-etl", "instance", "m6i.xlarge", "orders")
    for subject in (*estate.seeded, ghost):
        if subject.name == UNBILLED:
            continue
        if subject.kind in ("instance", "database"):
            price = PRICES[subject.spec]
            text = f"${price.usd} per On Demand {subject.spec} instance hour"
            yield _Charge(subject, "Compute", text, price, Decimal(24))
        elif subject.kind == "volume":
            price = PRICES[subject.spec]
            text = f"${price.usd} per GB-month of {subject.spec} provisioned storage"
            share = Decimal(subject.size_gib) / days
            yield _Charge(subject, "Storage", text, price, share.quantize(Decimal("1e-12")))
        elif subject.kind == "balancer":
            price = PRICES["balancer"]
            text = f"${price.usd} per Application LoadBalancer-hour (or partial hour)"
            yield _Charge(subject, "Load Balancing", text, price, Decimal(24))
        elif subject.kind == "bucket":
            price = PRICES["storage"]
            text = f"${price.usd} per GB - first 50 TB / month of storage used"
            yield _Charge(subject, "Storage", text, price, Decimal("0.000001"))
        else:
            price = PRICES[subject.kind]
            requests = Decimal(int(_REQUESTS_A_DAY[subject.kind] * dice.uniform(0.8, 1.2)))
            yield _Charge(subject, "Requests", f"${price.usd:f} per request", price, requests)
    for subject in estate.seeded:
        if subject.name != UNBILLED and subject.app in _TALKING and subject.kind == "instance":
            yield from _traffic(subject, dice)
    gateway = Seeded("", "", "network", "", "")
    text = "$0.045 per GB Data Processed by NAT Gateways"
    yield _Charge(gateway, "Data Transfer", text, PRICES["NAT"], _gigabytes(dice, 30))


def _traffic(subject: Seeded, dice: random.Random) -> Iterator[_Charge]:
    across = "regional data transfer - in/out/between EC2 AZs or using elastic IPs or ELB"
    chatty = subject.app == "orders"  # the planted chatter
    yield _Charge(
        subject,
        "Data Transfer",
        f"$0.010 per GB - {across}",
        PRICES["cross-AZ"],
        _gigabytes(dice, 560 if chatty else 20),
    )
    if subject.app == "shop":
        text = "$0.090 per GB - first 10 TB / month data transfer out beyond the global free tier"
        yield _Charge(subject, "Data Transfer", text, PRICES["internet out"], _gigabytes(dice, 9))


def _line(charge: _Charge, day: date, month: date, invoice: str, region: str) -> dict[str, object]:
    cost, price = charge.price.usd * charge.quantity, charge.price
    service, category = _SERVICES[charge.subject.kind]
    tags = {"app": charge.subject.app} if charge.subject.app else {}
    identity = f"{charge.subject.kind}/{charge.subject.spec or charge.meter}"
    costs = dict.fromkeys(
        (
            "BilledCost",
            "EffectiveCost",
            "ListCost",
            "ContractedCost",
            "PricingCurrencyEffectiveCost",
        ),
        cost,
    )
    unit_prices = dict.fromkeys(
        (
            "ListUnitPrice",
            "ContractedUnitPrice",
            "PricingCurrencyContractedUnitPrice",
            "PricingCurrencyListUnitPrice",
        ),
        price.usd,
    )
    return {
        "ProviderName": "AWS",
        "PublisherName": "AWS",
        "InvoiceIssuerName": "synthetic",
        "InvoiceId": invoice,
        "BillingAccountId": ACCOUNT,
        "BillingAccountName": "northbazaar (synthetic)",
        "BillingAccountType": "Payer Account",
        "SubAccountId": ACCOUNT,
        "SubAccountName": "production",
        "SubAccountType": "Linked Account",
        "BillingPeriodStart": _midnight(month),
        "BillingPeriodEnd": _midnight(month + timedelta(days=_days_in_month(month))),
        "ChargePeriodStart": _midnight(day),
        "ChargePeriodEnd": _midnight(day + timedelta(days=1)),
        "ChargeCategory": "Usage",
        "ChargeDescription": charge.description,
        "ChargeFrequency": "Usage-Based",
        "PricingCategory": "Standard",
        "PricingQuantity": charge.quantity,
        "PricingUnit": price.unit,
        "PricingCurrency": "USD",
        "BillingCurrency": "USD",
        "ConsumedQuantity": charge.quantity,
        "ConsumedUnit": price.unit,
        "ServiceName": service,
        "ServiceCategory": category,
        "SkuId": identity,
        "SkuMeter": charge.meter,
        "SkuPriceId": f"{identity}/on-demand",
        "SkuPriceDetails": json.dumps({"x_PriceSource": price.source}),
        "ResourceId": charge.subject.id,
        "ResourceName": charge.subject.name,
        "ResourceType": charge.subject.kind if charge.subject.id else "",
        "RegionId": region,
        "RegionName": "EU (Paris)",
        "Tags": json.dumps(tags),
        SYNTHETIC: "true",
        **{column: f"{amount:f}" for column, amount in (costs | unit_prices).items()},
    }


def _gigabytes(dice: random.Random, mean: int) -> Decimal:
    return Decimal(f"{mean * dice.uniform(0.8, 1.2):.3f}")


def _days_in_month(first: date) -> int:
    return ((first + timedelta(days=32)).replace(day=1) - first).days


def _midnight(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"
