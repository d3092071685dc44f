"""How each format becomes a line: one SQL expression for each column of the relation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qafila.audit.bills.columns import AMOUNT, Columns
from qafila.audit.bills.formats import AZURE, CUR_1, CUR_2, OCI

# Name and type of each column of the relation ``line``; see qafila/audit/bills/relation.py.
LINE: Mapping[str, str] = {
    "amount": AMOUNT,
    "currency": "VARCHAR",
    "period_start": "DATE",
    "category": "VARCHAR",
    "service": "VARCHAR",
    "description": "VARCHAR",
    "invoice": "VARCHAR",
    "issuer": "VARCHAR",
    "vendor": "VARCHAR",
    "region": "VARCHAR",
    "resource": "VARCHAR",
    "meter": "VARCHAR",
    "usage_type": "VARCHAR",
    "operation": "VARCHAR",
    "quantity": AMOUNT,
    "unit": "VARCHAR",
    "account": "VARCHAR",
    "tags": "VARCHAR",
    "charge_start": "TIMESTAMP",
    "charge_end": "TIMESTAMP",
    "list_cost": AMOUNT,
    "contracted_cost": AMOUNT,
    "effective_cost": AMOUNT,
    "from_region": "VARCHAR",
    "to_region": "VARCHAR",
    "commitment": "VARCHAR",
    "kind": "VARCHAR",
    "class": "VARCHAR",
    "line_id": "VARCHAR",
    "unit_price": AMOUNT,
    "priced_quantity": AMOUNT,
    "priced_cost": AMOUNT,
    "zone": "VARCHAR",
    "decimals": "USMALLINT",
    "literal_nulls": "UTINYINT",
    "fingerprint": "UBIGINT",
}


def expressions(form: str, columns: Columns) -> dict[str, str]:
    """Return the SQL of each column of ``line``; a column that the format lacks is NULL."""
    return dict.fromkeys(LINE, "NULL") | {
        "currency": f"upper({columns.text(*currency_columns(form))})",
        "literal_nulls": columns.literal_nulls(),
        "fingerprint": columns.fingerprint(),
        **_FORMATS.get(form, _focus)(columns),
    }


def names_invoices(form: str, columns: Columns) -> bool:
    """Tell whether this file has a column of invoice ids, so that a month can be closed."""
    return columns.find(*INVOICE.get(form, ("InvoiceId", "x_InvoiceId"))) is not None


INVOICE: Mapping[str, tuple[str, ...]] = {
    CUR_1: ("bill/InvoiceId",),
    CUR_2: ("bill/InvoiceId",),
    AZURE: ("invoiceId",),
    OCI: (),
}


def amount_columns(form: str) -> tuple[str, ...]:
    """Return the names of the column that holds what was billed."""
    return {
        CUR_1: ("lineItem/UnblendedCost",),
        CUR_2: ("lineItem/UnblendedCost",),
        AZURE: ("CostInBillingCurrency", "Cost", "PreTaxCost"),
        OCI: ("cost/myCost",),
    }.get(form, ("BilledCost",))


def currency_columns(form: str) -> tuple[str, ...]:
    """Return the names of the column that holds the currency of what was billed."""
    return {
        CUR_1: ("lineItem/CurrencyCode",),
        CUR_2: ("lineItem/CurrencyCode",),
        AZURE: ("BillingCurrencyCode", "BillingCurrency", "Currency"),
        OCI: ("cost/currencyCode",),
    }.get(form, ("BillingCurrency",))


def _focus(c: Columns) -> dict[str, str]:
    return {
        "amount": c.amount("BilledCost"),
        "period_start": c.day("BillingPeriodStart"),
        "category": c.text("ChargeCategory"),
        "service": c.text("ServiceName", otherwise="not named"),
        "description": c.text("ChargeDescription"),
        "invoice": c.text("InvoiceId", "x_InvoiceId"),
        "issuer": c.text("InvoiceIssuerName"),
        "vendor": c.text("ProviderName", "ServiceProviderName"),
        "region": c.text("RegionId"),
        "resource": c.text("ResourceId"),
        "meter": c.text("SkuMeter"),
        "usage_type": c.text("x_UsageType"),
        "operation": c.text("x_Operation"),
        "quantity": c.number("ConsumedQuantity"),
        "unit": c.text("ConsumedUnit"),
        "account": c.text("SubAccountId", "BillingAccountId"),
        "tags": c.tags("Tags"),
        "charge_start": c.moment("ChargePeriodStart"),
        "charge_end": c.moment("ChargePeriodEnd"),
        "list_cost": c.number("ListCost"),
        "contracted_cost": c.number("ContractedCost"),
        "effective_cost": c.number("EffectiveCost"),
        "commitment": c.text("CommitmentDiscountId"),
        "class": c.text("ChargeClass"),
        "unit_price": c.number("ListUnitPrice"),
        "priced_quantity": c.number("PricingQuantity"),
        "priced_cost": c.number("ListCost"),
        "zone": c.zone(
            "ChargePeriodStart" if c.find("ChargePeriodStart") else "BillingPeriodStart"
        ),
        "decimals": c.decimals("BilledCost"),
    }


def _cur(c: Columns) -> dict[str, str]:
    """Legacy report and Data Export alike: their columns differ in case and slashes only.

    Effective cost is the amortised cost of the AWS CUR Query Library: a covered hour costs its
    share of the commitment, a fee only what was not used, a negation nothing.
    """
    kind = c.text("lineItem/LineItemType")
    amount = c.number("lineItem/UnblendedCost")

    def amortised(*names: str) -> str:
        return f"coalesce({c.number(*names)}, 0)"

    return {
        "amount": c.amount("lineItem/UnblendedCost"),
        "period_start": c.day("bill/BillingPeriodStartDate"),
        "kind": kind,
        "category": f"""CASE
            WHEN {kind} IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage',
                            'SavingsPlanNegation') THEN 'Usage'
            WHEN {kind} IN ('Fee', 'RIFee', 'SavingsPlanRecurringFee',
                            'SavingsPlanUpfrontFee') THEN 'Purchase'
            WHEN {kind} = 'Tax' THEN 'Tax'
            WHEN {kind} = 'Credit' THEN 'Credit'
            WHEN {kind} IS NULL THEN NULL
            ELSE 'Adjustment' END""",
        "class": f"CASE WHEN {kind} = 'Refund' THEN 'Refund' END",
        "service": c.text("lineItem/ProductCode", otherwise="not named"),
        "description": c.text("lineItem/LineItemDescription"),
        "invoice": c.text("bill/InvoiceId"),
        "issuer": c.text("bill/InvoicingEntity", "bill/BillingEntity"),
        "vendor": "'AWS'",
        "region": c.text("product/regionCode", "product/region"),
        "resource": c.text("lineItem/ResourceId"),
        "meter": c.text("product/productFamily"),
        "usage_type": c.text("lineItem/UsageType"),
        "operation": c.text("lineItem/Operation"),
        "quantity": c.number("lineItem/UsageAmount"),
        "unit": c.text("pricing/unit"),
        "account": c.text("lineItem/UsageAccountId", "bill/PayerAccountId"),
        "tags": c.tags("resource_tags")
        if c.find("resource_tags")
        else c.tags_of_columns("resourceTags/"),
        "charge_start": c.moment("lineItem/UsageStartDate"),
        "charge_end": c.moment("lineItem/UsageEndDate"),
        "list_cost": c.number("pricing/publicOnDemandCost"),
        "effective_cost": f"""CASE {kind}
            WHEN 'DiscountedUsage' THEN {amortised("reservation/EffectiveCost")}
            WHEN 'SavingsPlanCoveredUsage'
                THEN {amortised("savingsPlan/SavingsPlanEffectiveCost")}
            WHEN 'SavingsPlanRecurringFee'
                THEN {amortised("savingsPlan/TotalCommitmentToDate")}
                   - {amortised("savingsPlan/UsedCommitment")}
            WHEN 'SavingsPlanNegation' THEN 0
            WHEN 'SavingsPlanUpfrontFee' THEN 0
            WHEN 'RIFee'
                THEN {amortised("reservation/UnusedAmortizedUpfrontFeeForBillingPeriod")}
                   + {amortised("reservation/UnusedRecurringFee")}
            ELSE {amount} END""",
        "from_region": c.text("product/fromRegionCode"),
        "to_region": c.text("product/toRegionCode"),
        "commitment": c.text("reservation/ReservationARN", "savingsPlan/SavingsPlanARN"),
        "line_id": "concat_ws('|', "
        f"{c.text('identity/LineItemId')}, {c.text('identity/TimeInterval')})"
        if c.find("identity/LineItemId")
        else "NULL",
        "unit_price": c.number("lineItem/UnblendedRate"),
        "priced_quantity": c.number("lineItem/UsageAmount"),
        "priced_cost": f"CASE WHEN {kind} = 'Usage' THEN {amount} END",
        # The data dictionary says that all times are UTC, so one without a zone is no doubt.
        "zone": f"nullif({c.zone('lineItem/UsageStartDate')}, 'none')",
        "decimals": c.decimals("lineItem/UnblendedCost"),
    }


def _azure(c: Columns) -> dict[str, str]:
    """Enterprise and Customer Agreement; dates are month/day/year or ISO 8601."""
    amount = amount_columns(AZURE)
    # The older pay-as-you-go file has no such column and holds usage alone.
    kind = c.text("ChargeType") if c.find("ChargeType") else "'Usage'"
    covered = f"coalesce({c.text('PricingModel')} IN ('Reservation', 'SavingsPlan'), FALSE)"
    period = (
        "BillingPeriodStartDate"
        if c.find("BillingPeriodStartDate")
        else c.find("Date", "UsageDateTime") or ""
    )
    started = c.day(period, month_first=True)
    when = c.moment("Date", "UsageDateTime", month_first=True)
    return {
        "amount": c.amount(*amount),
        "period_start": started
        if period == "BillingPeriodStartDate"
        else f"date_trunc('month', {started})",
        # Usage that a commitment covers costs nothing in an actual-cost file (Microsoft, "cost
        # and usage details": its effective price is 0 there), its share in an amortised one.
        "kind": f"""CASE
            WHEN {kind} = 'Usage' AND {covered} AND {c.number(*amount)} <> 0 THEN 'AmortisedUsage'
            ELSE {kind} END""",
        "category": f"""CASE
            WHEN {kind} IN ('Usage', 'UnusedReservation', 'UnusedSavingsPlan') THEN 'Usage'
            WHEN {kind} IN ('Purchase', 'Tax', 'Credit') THEN {kind}
            WHEN {kind} IS NULL THEN NULL
            ELSE 'Adjustment' END""",
        "class": f"CASE WHEN {kind} = 'Refund' THEN 'Refund' END",
        "service": c.text("MeterCategory", "ConsumedService", otherwise="not named"),
        "description": c.text("ProductName", "Product", "MeterName"),
        "invoice": c.text("invoiceId"),
        "issuer": "'Microsoft'",
        "vendor": "'Microsoft'",
        "region": c.text("ResourceLocation", "ResourceLocationNormalized"),
        "resource": c.text("ResourceId", "InstanceId", "InstanceName"),
        "meter": c.text("MeterName"),
        "usage_type": c.text("MeterSubCategory", "MeterSubcategory"),
        "operation": c.text("ConsumedService"),
        "quantity": c.number("Quantity", "UsageQuantity"),
        "unit": c.text("UnitOfMeasure"),
        "account": c.text("SubscriptionId", "SubscriptionGuid", "BillingAccountId"),
        "tags": c.tags("Tags"),
        "charge_start": when,
        "charge_end": f"{when} + INTERVAL 1 DAY",
        "list_cost": c.number("paygCostInBillingCurrency"),
        "commitment": c.text("ReservationId", "benefitId"),
        # In the pricing currency the price does not multiply to the cost in billing currency.
        **(
            {}
            if c.find("PricingCurrency", "PricingCurrencyCode")
            else {
                "unit_price": c.number("EffectivePrice"),
                "priced_quantity": c.number("Quantity"),
                "priced_cost": c.number(*amount),
            }
        ),
        "zone": c.zone("Date", "UsageDateTime"),
        "decimals": c.decimals(*amount),
    }


def _oci(c: Columns) -> dict[str, str]:
    """Cost report: ``myCost`` holds its overage already; there is no invoice, nor a period."""
    correction = f"lower({c.text('lineItem/isCorrection')}) = 'true'"
    return {
        "amount": c.amount("cost/myCost"),
        "period_start": f"date_trunc('month', {c.day('lineItem/intervalUsageStart')})",
        "category": "'Usage'",
        "class": f"CASE WHEN {correction} THEN 'Correction' END",
        "service": c.text("product/service", otherwise="not named"),
        "description": c.text("product/Description"),
        "issuer": "'Oracle'",
        "vendor": "'Oracle'",
        "region": c.text("product/region"),
        "resource": c.text("product/resourceId"),
        "meter": c.text("cost/productSku"),
        "usage_type": c.text("product/resource"),
        "quantity": c.number("usage/billedQuantity"),
        "unit": c.text("cost/billingUnitReadable", "cost/skuUnitDescription"),
        "account": c.text("lineItem/tenantId"),
        "tags": c.tags_of_columns("tags/"),
        "charge_start": c.moment("lineItem/intervalUsageStart"),
        "charge_end": c.moment("lineItem/intervalUsageEnd"),
        "line_id": c.text("lineItem/referenceNo"),
        "unit_price": c.number("cost/unitPrice"),
        "priced_quantity": c.number("usage/billedQuantity"),
        "priced_cost": c.number("cost/myCost"),
        "zone": c.zone("lineItem/intervalUsageStart"),
        "decimals": c.decimals("cost/myCost"),
    }


_FORMATS: Mapping[str, Callable[[Columns], dict[str, str]]] = {
    CUR_1: _cur,
    CUR_2: _cur,
    AZURE: _azure,
    OCI: _oci,
}
