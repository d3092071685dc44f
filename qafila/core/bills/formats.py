"""Which format a bill is in, told by its columns."""

from __future__ import annotations

from collections.abc import Sequence

from qafila.errors import BadInput

# Columns without which an amount cannot be placed; all three FOCUS versions have them.
REQUIRED = (
    "BilledCost", "BillingCurrency", "BillingPeriodStart", "ChargeCategory", "ServiceName",
)  # fmt: skip
OPTIONAL = (
    "ChargeDescription", "InvoiceId", "InvoiceIssuerName", "ProviderName", "RegionId",
    "ResourceId", "SkuMeter",
)  # fmt: skip


def recognise(columns: Sequence[str], name: str) -> str:
    """Return the FOCUS version that a bill's columns speak of.

    Told by the columns that each version added (FOCUS_Spec tags 1.0, 1.1 and 1.2): 1.1 brought
    ``SkuMeter``, 1.2 ``InvoiceId``.

    Raises:
        BadInput: columns are missing; names each of them.
    """
    missing = [c for c in REQUIRED if c not in columns]
    if missing:
        raise BadInput(
            f"{name} is not a FOCUS bill we can read:",
            [f"the column {c} is missing" for c in missing],
            remedy="export the bill as FOCUS 1.0, 1.1 or 1.2, CSV or Parquet.",
        )
    if "InvoiceId" in columns:
        return "FOCUS 1.2"
    return "FOCUS 1.1" if "SkuMeter" in columns else "FOCUS 1.0"
