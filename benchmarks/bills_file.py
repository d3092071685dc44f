"""A synthetic FOCUS 1.2 bill as Parquet, made by DuckDB from whole numbers whose sums are known."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

from qafila.locked_duckdb import locked_duckdb
from qafila.text.exact_sum import add_up

SERVICES, MONTHS = 25, 12
_UNIT = Decimal("0.000000000001")  # amounts are whole numbers of it
_START = date(2025, 1, 1)

# Row i of the bill as whole numbers; multipliers are primes, so that nothing lines up.
_NUMBERS = f"""
    SELECT i,
           hash(i + $seed) AS h,
           (i % {MONTHS})::INTEGER AS month,
           ((i // {MONTHS}) % {SERVICES})::INTEGER AS service,
           ((i // {MONTHS}) % 672)::INTEGER AS hour,
           CASE WHEN i % 997 = 0 THEN -1 ELSE 1 END
               * (hash(i + $seed) % 900000000007)::BIGINT AS units
    FROM range($rows) AS numbers(i)
"""

_LINES = """
    SELECT 'Vendor' AS ProviderName,
           'Vendor' AS PublisherName,
           'synthetic' AS InvoiceIssuerName,
           CASE WHEN month < 11 THEN 'INV-' || month END AS InvoiceId,
           '100000000001' AS BillingAccountId,
           'payer' AS BillingAccountName,
           'account-' || (h % 40) AS SubAccountId,
           start AS BillingPeriodStart,
           start + INTERVAL 1 MONTH AS BillingPeriodEnd,
           start + to_hours(hour) AS ChargePeriodStart,
           start + to_hours(hour + 1) AS ChargePeriodEnd,
           CASE WHEN units < 0 THEN 'Credit' WHEN i % 200 = 7 THEN 'Tax' ELSE 'Usage' END
               AS ChargeCategory,
           NULL::VARCHAR AS ChargeClass,
           'price ' || (h >> 8) % 300 || ' of service ' || service AS ChargeDescription,
           'Usage-Based' AS ChargeFrequency,
           cost AS BilledCost,
           cost AS EffectiveCost,
           cost AS ListCost,
           cost AS ContractedCost,
           'USD' AS BillingCurrency,
           1::DECIMAL(38, 18) AS PricingQuantity,
           cost AS ListUnitPrice,
           'Hours' AS PricingUnit,
           1::DECIMAL(38, 18) AS ConsumedQuantity,
           'Hours' AS ConsumedUnit,
           'Service ' || service AS ServiceName,
           'Compute' AS ServiceCategory,
           'meter ' || (h >> 8) % 300 AS SkuMeter,
           'resource-' || (h >> 16) % 200000 AS ResourceId,
           'region-' || (h >> 40) % 12 AS RegionId,
           CASE WHEN h % 3 > 0 THEN '{"app": "app-' || (h >> 24) % 50 || '"}' END AS Tags
    FROM (
        SELECT *,
               $start::TIMESTAMP + to_months(month) AS start,
               (units::DECIMAL(38, 0) * 0.000000000001::DECIMAL(12, 12))::DECIMAL(38, 18) AS cost
        FROM numbers
    ) AS priced
"""


@dataclass(frozen=True)
class Known:
    """The sums of the file by service and month, added up as whole numbers while it was made."""

    totals: dict[tuple[str, date], Decimal]

    @property
    def total(self) -> Decimal:
        return add_up(self.totals.values())


def make_file(path: Path, rows: int, seed: int) -> Known:
    """Write the bill to ``path`` and return what it has to sum up to.

    The sums never pass through decimals nor through the file: they are HUGEINT sums of the
    whole numbers, multiplied by the unit once at the end.
    """
    values = {"rows": rows, "seed": seed}
    with (
        tempfile.TemporaryDirectory(prefix="qafila-", dir=path.parent) as folder,
        locked_duckdb(
            Path(folder), memory="1500MB", threads=os.cpu_count() or 1, keep_order=False
        ) as connection,
    ):
        written = Path(folder) / "bill.parquet"
        connection.execute(
            f"COPY (WITH numbers AS ({_NUMBERS}) {_LINES}) TO $written (FORMAT parquet)",
            {**values, "start": _START.isoformat(), "written": str(written)},
        )
        written.replace(path)
        sums = connection.execute(
            f"SELECT service, month, sum(units)::HUGEINT FROM ({_NUMBERS}) GROUP BY ALL", values
        ).fetchall()
    return Known(
        {
            (f"Service {service}", date(_START.year, month + 1, 1)): units * _UNIT
            for service, month, units in sums
        }
    )
