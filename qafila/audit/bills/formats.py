"""Which format a bill is in, told by its columns, and which columns each format has to have.

Sources of the column names: FOCUS_Spec tags 1.0 to 1.4; the AWS data dictionaries of the legacy
Cost and Usage Report (CUR 1) and of Data Exports (CUR 2); Microsoft's "cost and usage details file
schema" for Enterprise, Customer and pay-as-you-go Agreements; Oracle's cost report schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from qafila.errors import BadInput

# Columns without which an amount cannot be placed; all three FOCUS versions have them.
REQUIRED = (
    "BilledCost",
    "BillingCurrency",
    "BillingPeriodStart",
    "ChargeCategory",
    "ServiceName",
)

# What each FOCUS version asks for in every row or on every bill (feature level "Mandatory").
MANDATORY = (
    *REQUIRED,
    "BillingAccountId",
    "BillingAccountName",
    "BillingPeriodEnd",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
)
_CONDITIONAL = (
    "AvailabilityZone",
    "ChargeFrequency",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedUnitPrice",
    "ListUnitPrice",
    "PricingCategory",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "SkuId",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
)
_NEW_IN_1_1 = (
    "CapacityReservationId",
    "CapacityReservationStatus",
    "CommitmentDiscountQuantity",
    "CommitmentDiscountUnit",
    "ServiceSubcategory",
    "SkuMeter",
    "SkuPriceDetails",
)
_NEW_IN_1_2 = (
    "BillingAccountType",
    "InvoiceId",
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "SubAccountType",
)
FOCUS_COLUMNS = (*MANDATORY, *_CONDITIONAL, *_NEW_IN_1_1, *_NEW_IN_1_2)
# Later versions are read as well: what they added is no defect of a bill. 1.3 names who provides a
# service in columns of its own, and 1.4 does without the two older ones.
_NEW_IN_1_3 = (
    "AllocatedMethodDetails",
    "AllocatedMethodId",
    "AllocatedResourceId",
    "AllocatedResourceName",
    "AllocatedTags",
    "ContractApplied",
    "HostProviderName",
    "ServiceProviderName",
)
_NEW_IN_1_4 = ("CommitmentProgramEligibilityDetails", "InvoiceDetailId")
_VERSIONS = (("1.4", _NEW_IN_1_4), ("1.3", _NEW_IN_1_3), ("1.2", _NEW_IN_1_2), ("1.1", _NEW_IN_1_1))
_REPLACED = {"ProviderName": "ServiceProviderName", "PublisherName": "ServiceProviderName"}
_KNOWN = frozenset(c.lower() for c in (*FOCUS_COLUMNS, *_NEW_IN_1_3, *_NEW_IN_1_4))

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
        "FOCUS",
        tuple((c,) for c in REQUIRED),
        tuple(c for c in FOCUS_COLUMNS if c != "Tags"),
        "export the bill as FOCUS 1.0, 1.1 or 1.2, CSV or Parquet.",
    ),
    _Family(
        CUR_1,
        (
            ("lineItem/UnblendedCost",),
            ("lineItem/CurrencyCode",),
            ("bill/BillingPeriodStartDate",),
            ("lineItem/LineItemType",),
            ("lineItem/ProductCode",),
        ),
        (
            "identity/LineItemId",
            "identity/TimeInterval",
            "bill/PayerAccountId",
            "bill/InvoiceId",
            "lineItem/UsageAccountId",
            "lineItem/UsageStartDate",
            "lineItem/UsageType",
            "lineItem/UsageAmount",
            "lineItem/Operation",
            "lineItem/LineItemDescription",
            "bill/BillingPeriodEndDate",
            "lineItem/UsageEndDate",
            "lineItem/UnblendedRate",
            "lineItem/BlendedCost",
            "lineItem/BlendedRate",
            "lineItem/NetUnblendedCost",
        ),
        "export the Cost and Usage Report again with its standard columns.",
    ),
    _Family(
        AZURE,
        (
            ("CostInBillingCurrency", "Cost", "PreTaxCost"),
            ("BillingCurrencyCode", "BillingCurrency", "Currency"),
            ("BillingPeriodStartDate", "Date", "UsageDateTime"),
            ("ChargeType",),
            ("MeterCategory", "ConsumedService"),
        ),
        (
            "MeterId",
            "MeterName",
            "MeterSubCategory",
            "MeterRegion",
            "SubscriptionId",
            "SubscriptionGuid",
            "ResourceGroup",
            "UnitOfMeasure",
            "EffectivePrice",
            "PricingModel",
            "CostCenter",
            "BillingPeriodEndDate",
            "PricingCurrency",
            "costInPricingCurrency",
            "costInUsd",
        ),
        "export the cost and usage details again from Cost Management, actual cost.",
    ),
    _Family(
        OCI,
        (
            ("cost/myCost",),
            ("cost/currencyCode",),
            ("lineItem/intervalUsageStart",),
            ("product/service",),
        ),
        (
            "lineItem/referenceNo",
            "lineItem/tenantId",
            "lineItem/intervalUsageEnd",
            "product/compartmentId",
            "usage/billedQuantity",
            "cost/productSku",
            "cost/unitPrice",
            "lineItem/isCorrection",
            "product/resourceId",
            "cost/myCostOverage",
        ),
        "take the file from the folder of cost reports, not from that of usage reports.",
    ),
)


def plain(column: str) -> str:
    """Return a column's name without case, slashes, underscores and spaces.

    ``lineItem/UnblendedCost`` of a CSV and ``line_item_unblended_cost`` of a Parquet file are one
    column.
    """
    return re.sub(r"[^a-z0-9]", "", column.lower())


def recognise(columns: Sequence[str], name: str) -> str:
    """Return the format that a bill's columns speak of, such as ``FOCUS 1.1`` or ``AWS CUR 2``.

    A FOCUS version is told by the columns that it added (FOCUS_Spec tags 1.0 to 1.4): 1.1 brought
    ``SkuMeter`` among others, 1.2 ``InvoiceId``, 1.3 ``ServiceProviderName``.

    Raises:
        BadInput: columns are missing; names each of them as this file would write it and, where
            one of the file's own columns looks like it, that one.
    """
    family = max(_FAMILIES, key=lambda f: _closeness(f, columns))
    close = _closeness(family, columns) >= _LEAST_CLOSENESS
    if not close:
        _refuse_googles_own(columns, name)
        family = _FAMILIES[0]
    focus = family.name == "FOCUS"
    present = {c.lower() for c in columns} if focus else {plain(c) for c in columns}
    missing = [
        names
        for names in _required(family, present)
        if not any((n.lower() if focus else plain(n)) in present for n in names)
    ]
    if missing:
        raise _refusal(family, columns, name, missing, close=close)
    if focus:
        found = (v for v, added in _VERSIONS if any(c.lower() in present for c in added))
        return f"FOCUS {next(found, '1.0')}"
    return _cur(columns, present) if family.name == CUR_1 else family.name


# Three columns that must be there, and one more that only this format has: else it is a stranger.
_LEAST_CLOSENESS = 7


def _required(family: _Family, present: set[str]) -> tuple[tuple[str, ...], ...]:
    """Return what has to be there; pay-as-you-go files of Azure hold usage and say no type."""
    if family.name == AZURE and {"pretaxcost", "usagedatetime"} <= present:
        return tuple(names for names in family.required if names != ("ChargeType",))
    return family.required


def _refusal(
    family: _Family,
    columns: Sequence[str],
    name: str,
    missing: Sequence[tuple[str, ...]],
    *,
    close: bool,
) -> BadInput:
    known = [n for names in (*family.required, family.telling) for n in names]
    strangers = (
        _strangers(columns, [*known, *FOCUS_COLUMNS], str.lower)
        if family.name == "FOCUS"
        else _strangers(columns, known, plain)
    )
    form = _cur(columns, {plain(c) for c in columns}) if family.name == CUR_1 else family.name
    written = _snake if form == CUR_2 or (form == CUR_1 and not _slashes(columns)) else str
    article = "a" if form == "FOCUS" else "an"
    return BadInput(
        f"{name} is not {article} {form} bill we can read"
        f"{':' if close else ', nor an AWS, Azure or OCI one:'}",
        [
            f"the column {' or '.join(map(written, names))} is missing{_renamed(names, strangers)}"
            for names in missing
        ],
        remedy=family.remedy,
    )


def _refuse_googles_own(columns: Sequence[str], name: str) -> None:
    """Refuse Google Cloud's own export by name: its credits stand in nested columns."""
    present = {c.lower() for c in columns}
    if {"cost", "credits"} <= present and {"sku.id", "sku"} & present:
        raise BadInput(
            f"{name} is Google Cloud's own billing export, which we do not read.",
            remedy="export the FOCUS view of it from BigQuery, as CSV or Parquet.",
        )


def _slashes(columns: Sequence[str]) -> bool:
    return any("/" in c for c in columns)


def _snake(column: str) -> str:
    """Return a CUR column as Parquet and Data Exports write it: ``line_item_currency_code``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.replace("/", "_")).lower()


def _cur(columns: Sequence[str], present: set[str]) -> str:
    """Tell a legacy report from a Data Export: the export keeps products and tags in one map."""
    maps = {"product", "resourcetags", "discount", "costcategory"} & present
    return CUR_1 if _slashes(columns) or (not maps and "productproductname" in present) else CUR_2


def _closeness(family: _Family, columns: Sequence[str]) -> int:
    names = {plain(c) for c in columns}
    needed = sum(any(plain(n) in names for n in group) for group in family.required)
    return 2 * needed + len({plain(c) for c in family.telling} & names)


def _strangers(
    columns: Sequence[str], known: Sequence[str], spelling: Callable[[str], str]
) -> list[str]:
    names = {spelling(c) for c in known}
    return [c for c in columns if spelling(c) not in names]


def _renamed(names: Sequence[str], strangers: Sequence[str]) -> str:
    """Return which of the columns that we do not know may be the missing one."""
    by_plain = {plain(c.rpartition("/")[2] or c): c for c in reversed(strangers)}
    for name in names:
        wanted = plain(name.rpartition("/")[2])
        close = get_close_matches(wanted, list(by_plain), n=1, cutoff=0.6)
        parts = [p for p in by_plain if p and (p in wanted or wanted in p)]
        parts.sort(key=lambda p: not p.endswith(wanted))  # ExtendedCost before CostOfWhat
        if close or parts:
            return f"; the column {by_plain[(close or parts)[0]]} may be it, renamed"
    return ""


def misplaced(columns: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return FOCUS columns that the specification does not know, and which one each may stand for.

    A vendor's own columns begin with ``x_`` (FOCUS 1.0, "Custom columns"). One that does not is
    a renamed one; where both neighbours begin with the same word and the name is its rest, such
    as ``Id`` between ``ServiceCategory`` and ``ServiceName``, ``ServiceId`` is meant.
    """
    found = []
    for place, column in enumerate(columns):
        if column.lower() in _KNOWN or column.lower().startswith("x_"):
            continue
        before = columns[place - 1] if place else ""
        after = columns[place + 1] if place + 1 < len(columns) else ""
        one, other = _first_word(before), _first_word(after)
        meant = one + column if one and one == other and not column.startswith(one) else None
        found.append((column, meant))
    return found


def lacking(columns: Sequence[str]) -> list[str]:
    """Return the columns that FOCUS asks for in every bill and this one does not have.

    Who provides and who publishes may stand in the column that took their place in FOCUS 1.3.
    """
    present = {c.lower() for c in columns}
    return [
        c
        for c in MANDATORY
        if c.lower() not in present and _REPLACED.get(c, c).lower() not in present
    ]


def _first_word(column: str) -> str:
    matched = re.match(r"[A-Z][a-z]+", column)
    return matched.group() if matched and column.lower() in _KNOWN else ""
