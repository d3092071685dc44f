"""Which format a bill is in, told by its columns, and which columns each format has to have.

Sources of the column names: FOCUS_Spec tags 1.0, 1.1 and 1.2; the AWS data dictionaries of the
legacy Cost and Usage Report (CUR 1) and of Data Exports (CUR 2); Microsoft's "cost and usage
details file schema" for Enterprise and Customer Agreements; Oracle's cost report schema.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from qafila.errors import BadInput

# Columns without which an amount cannot be placed; all three FOCUS versions have them.
REQUIRED = (
    "BilledCost", "BillingCurrency", "BillingPeriodStart", "ChargeCategory", "ServiceName",
)  # fmt: skip

# What each FOCUS version asks for in every row or on every bill (feature level "Mandatory").
MANDATORY = (
    *REQUIRED, "BillingAccountId", "BillingAccountName", "BillingPeriodEnd", "ChargeClass",
    "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost",
    "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit",
    "ProviderName", "PublisherName", "ServiceCategory",
)  # fmt: skip
_CONDITIONAL = (
    "AvailabilityZone", "ChargeFrequency", "CommitmentDiscountCategory", "CommitmentDiscountId",
    "CommitmentDiscountName", "CommitmentDiscountStatus", "CommitmentDiscountType",
    "ConsumedQuantity", "ConsumedUnit", "ContractedUnitPrice", "ListUnitPrice",
    "PricingCategory", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType",
    "SkuId", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags",
)  # fmt: skip
_NEW_IN_1_1 = (
    "CapacityReservationId", "CapacityReservationStatus", "CommitmentDiscountQuantity",
    "CommitmentDiscountUnit", "ServiceSubcategory", "SkuMeter", "SkuPriceDetails",
)  # fmt: skip
_NEW_IN_1_2 = (
    "BillingAccountType", "InvoiceId", "PricingCurrency", "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "SubAccountType",
)  # fmt: skip
FOCUS_COLUMNS = (*MANDATORY, *_CONDITIONAL, *_NEW_IN_1_1, *_NEW_IN_1_2)

CUR_1, CUR_2 = "AWS CUR 1", "AWS CUR 2"
AZURE, OCI = "Azure cost details", "OCI cost report"


@dataclass(frozen=True)
class _Family:
    """One vendor's format: each needed column with the names it goes by, and its other names."""

    name: str
    required: tuple[tuple[str, ...], ...]
    telling: tuple[str, ...]  # columns that only this family has
    remedy: str


_FAMILIES = (
    _Family(
        "FOCUS", tuple((c,) for c in REQUIRED), tuple(c for c in FOCUS_COLUMNS if c != "Tags"),
        "export the bill as FOCUS 1.0, 1.1 or 1.2, CSV or Parquet.",
    ),
    _Family(
        CUR_1,
        (("lineItem/UnblendedCost",), ("lineItem/CurrencyCode",),
         ("bill/BillingPeriodStartDate",), ("lineItem/LineItemType",),
         ("lineItem/ProductCode",)),
        ("identity/LineItemId", "identity/TimeInterval", "bill/PayerAccountId", "bill/InvoiceId",
         "lineItem/UsageAccountId", "lineItem/UsageStartDate", "lineItem/UsageType",
         "lineItem/UsageAmount", "lineItem/Operation", "lineItem/LineItemDescription"),
        "export the Cost and Usage Report again with its standard columns.",
    ),
    _Family(
        AZURE,
        (("CostInBillingCurrency", "Cost", "PreTaxCost"),
         ("BillingCurrencyCode", "BillingCurrency", "Currency"),
         ("BillingPeriodStartDate", "Date", "UsageDateTime"), ("ChargeType",),
         ("MeterCategory", "ConsumedService")),
        ("MeterId", "MeterName", "MeterSubCategory", "MeterRegion", "SubscriptionId",
         "SubscriptionGuid", "ResourceGroup", "UnitOfMeasure", "EffectivePrice", "PricingModel"),
        "export the cost and usage details again from Cost Management, actual cost.",
    ),
    _Family(
        OCI,
        (("cost/myCost",), ("cost/currencyCode",), ("lineItem/intervalUsageStart",),
         ("product/service",)),
        ("lineItem/referenceNo", "lineItem/tenantId", "lineItem/intervalUsageEnd",
         "product/compartmentId", "usage/billedQuantity", "cost/productSku", "cost/unitPrice",
         "lineItem/isCorrection", "product/resourceId"),
        "take the file from the folder of cost reports, not from that of usage reports.",
    ),
)  # fmt: skip


def plain(column: str) -> str:
    """Return a column's name without case, slashes, underscores and spaces.

    ``lineItem/UnblendedCost`` of a CSV and ``line_item_unblended_cost`` of a Parquet file are one
    column.
    """
    return re.sub(r"[^a-z0-9]", "", column.lower())


def recognise(columns: Sequence[str], name: str) -> str:
    """Return the format that a bill's columns speak of, such as ``FOCUS 1.1`` or ``AWS CUR 2``.

    A FOCUS version is told by the columns that it added (FOCUS_Spec tags 1.0, 1.1 and 1.2): 1.1
    brought ``SkuMeter`` among others, 1.2 ``InvoiceId``.

    Raises:
        BadInput: columns are missing; names each of them and, where one of the file's own columns
            looks like it, that one.
    """
    family = max(_FAMILIES, key=lambda f: _closeness(f, columns))
    focus = family.name == "FOCUS"
    present = {c.lower() for c in columns} if focus else {plain(c) for c in columns}
    missing = [
        names for names in family.required
        if not any((n.lower() if focus else plain(n)) in present for n in names)
    ]  # fmt: skip
    if missing:
        known = [n for f in (family,) for names in (*f.required, f.telling) for n in names]
        strangers = _strangers(columns, [*known, *(FOCUS_COLUMNS if focus else ())])
        if _closeness(family, columns) == 0:
            raise BadInput(
                f"{name} is not a FOCUS bill we can read, nor an AWS, Azure or OCI one:",
                [f"the column {names[0]} is missing{_renamed(names, strangers)}"
                 for names in missing],
                remedy="export the bill as FOCUS 1.0, 1.1 or 1.2, CSV or Parquet.",
            )  # fmt: skip
        raise BadInput(
            f"{name} is not a{'' if focus else 'n'} {family.name} bill we can read:",
            [f"the column {' or '.join(names)} is missing{_renamed(names, strangers)}"
             for names in missing],
            remedy=family.remedy,
        )  # fmt: skip
    if focus:
        if any(c.lower() in present for c in _NEW_IN_1_2):
            return "FOCUS 1.2"
        return "FOCUS 1.1" if any(c.lower() in present for c in _NEW_IN_1_1) else "FOCUS 1.0"
    return _cur(columns, present) if family.name == CUR_1 else family.name


def _cur(columns: Sequence[str], present: set[str]) -> str:
    """Tell a legacy report from a Data Export: the export keeps products and tags in one map."""
    maps = {"product", "resourcetags", "discount", "costcategory"} & present
    slashes = any("/" in c for c in columns)
    return CUR_1 if slashes or (not maps and "productproductname" in present) else CUR_2


def _closeness(family: _Family, columns: Sequence[str]) -> int:
    names = {plain(c) for c in columns}
    needed = sum(any(plain(n) in names for n in group) for group in family.required)
    return 2 * needed + len({plain(c) for c in family.telling} & names)


def _strangers(columns: Sequence[str], known: Sequence[str]) -> list[str]:
    names = {c.lower() for c in known}
    return [c for c in columns if c.lower() not in names]


def _renamed(names: Sequence[str], strangers: Sequence[str]) -> str:
    """Return which of the columns that we do not know may be the missing one."""
    by_plain = {plain(c.rpartition("/")[2] or c): c for c in reversed(strangers)}
    for name in names:
        wanted = plain(name.rpartition("/")[2])
        close = get_close_matches(wanted, list(by_plain), n=1, cutoff=0.6)
        parts = [p for p in by_plain if p and (p in wanted or wanted in p)]
        if close or parts:
            return f"; the column {by_plain[(close or parts)[0]]} may be it, renamed"
    return ""


def misplaced(columns: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return FOCUS columns that the specification does not know, and which one each may stand for.

    A vendor's own columns begin with ``x_`` (FOCUS 1.0, "Custom columns"). One that does not is
    a renamed one; where both neighbours begin with the same word and the name is its rest, such
    as ``Id`` between ``ServiceCategory`` and ``ServiceName``, ``ServiceId`` is meant.
    """
    known = {c.lower() for c in FOCUS_COLUMNS}
    found = []
    for place, column in enumerate(columns):
        if column.lower() in known or column.lower().startswith("x_"):
            continue
        before = columns[place - 1] if place else ""
        after = columns[place + 1] if place + 1 < len(columns) else ""
        one, other = _first_word(before), _first_word(after)
        meant = one + column if one and one == other and not column.startswith(one) else None
        found.append((column, meant))
    return found


def _first_word(column: str) -> str:
    matched = re.match(r"[A-Z][a-z]+", column)
    return matched.group() if matched and column.lower() in _KNOWN else ""


_KNOWN = frozenset(c.lower() for c in FOCUS_COLUMNS)
