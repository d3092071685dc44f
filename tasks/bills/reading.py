"""Read a FOCUS bill (CSV or Parquet) with DuckDB into exact values. Prefect is not needed here."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb

from qafila.core.bills import OPTIONAL, REQUIRED, Bill, BilledItem, Period, Spend, recognise
from qafila.errors import BadInput
from qafila.sql import statement

# 18 digits before the point and 20 behind: a cast rounds nothing that a vendor writes.
_AMOUNT = "DECIMAL(38, 20)"
_COLUMNS = {
    "BilledCost": (
        f"TRY_CAST({{}} AS {_AMOUNT}) AS amount, length(split_part({{}}, '.', 2)) AS decimals"
    ),
    "BillingCurrency": "{} AS currency",
    "BillingPeriodStart": "TRY_CAST(substr({}, 1, 10) AS DATE) AS period_start",
    "ChargeCategory": "{} AS category",
    "ServiceName": "coalesce({}, 'not named') AS service",
    "ChargeDescription": "{} AS description",
    "InvoiceId": "{} AS invoice",
    "InvoiceIssuerName": "{} AS issuer",
    "ProviderName": "{} AS vendor",
    "RegionId": "{} AS region",
    "ResourceId": "{} AS resource",
    "SkuMeter": "{} AS meter",
}


def read_bill(path: Path) -> Bill:
    """Return one bill with all its amounts, `Decimal` throughout.

    Everything is read as text first, because a sniffer that guesses a type rounds money; the
    literal ``NULL`` and the empty string both mean "not given".

    Raises:
        BadInput: no such file, not a FOCUS bill, or lines whose amount, currency or period
            cannot be read; says how many.
    """
    if not path.is_file():
        raise BadInput(f"there is no bill at {path}.", remedy="give the path of a FOCUS export.")
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        connection.execute("SET memory_limit = '1GB'")
        try:
            form = _load(connection, path)
        except duckdb.Error as error:
            raise BadInput(
                f"the bill {path.name} cannot be read: {str(error).splitlines()[0]}",
                remedy="export it again as CSV or Parquet.",
            ) from error
        defects = _check(connection, path)
        return Bill(
            name=path.name,
            format=form,
            rows=_one(connection, "SELECT count(*) FROM line"),
            issuers=tuple(str(row[0]) for row in _rows(connection, "issuers")),
            periods=tuple(
                Period(currency, start, amount, usage, rows, closed if _dated(form) else None)
                for currency, start, amount, usage, rows, closed in _rows(connection, "periods")
            ),
            services=_spends(connection, "services"),
            vendors=_spends(connection, "vendors"),
            network=_spends(connection, "network"),
            items=_items(connection),
            defects=defects,
        )


def _load(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    if path.suffix == ".parquet":
        relation = connection.read_parquet(str(path))
    else:
        relation = connection.read_csv(
            str(path), header=True, all_varchar=True, na_values="NULL", sample_size=-1
        )
    form = recognise(relation.columns, path.name)
    present = set(relation.columns)
    parts = []
    for column in (*REQUIRED, *OPTIONAL):
        value = f"nullif(trim(CAST(\"{column}\" AS VARCHAR)), '')" if column in present else "NULL"
        parts.append(_COLUMNS[column].replace("{}", value))
    relation.create_view("bill")
    connection.execute(f"CREATE TABLE line AS SELECT {', '.join(parts)} FROM bill")
    return form


def _check(connection: duckdb.DuckDBPyConnection, path: Path) -> tuple[str, ...]:
    rows, amounts, periods, currencies, long = _rows(connection, "defects")[0]
    unreadable = {
        "BilledCost": amounts,
        "BillingPeriodStart": periods,
        "BillingCurrency": currencies,
    }
    problems = [
        f"{count} of {rows} lines have no {column} that can be read"
        for column, count in unreadable.items()
        if count
    ]
    if not rows:
        problems.append("it has no lines")
    if problems:
        raise BadInput(
            f"the bill {path.name} cannot be added up:",
            problems,
            remedy="export it again: amounts with a decimal point, dates as ISO 8601.",
        )
    return (f"{long} amounts have more than 20 decimals and were rounded",) if long else ()


def _dated(form: str) -> bool:
    """Tell whether this version shows by an invoice id that a period is closed."""
    return form == "FOCUS 1.2"


def _spends(connection: duckdb.DuckDBPyConnection, name: str) -> tuple[Spend, ...]:
    return tuple(Spend(*row) for row in _rows(connection, name))


def _items(connection: duckdb.DuckDBPyConnection) -> tuple[BilledItem, ...]:
    found: dict[tuple[str, str], tuple[str, str, dict[date, Decimal]]] = {}
    for resource, service, region, currency, start, amount in _rows(connection, "items"):
        entry = found.setdefault((resource, currency), (service, region, {}))
        entry[2][start] = amount
    return tuple(
        BilledItem(resource, service, region, currency, amounts)
        for (resource, currency), (service, region, amounts) in found.items()
    )


def _rows(connection: duckdb.DuckDBPyConnection, name: str) -> list[tuple]:  # type: ignore[type-arg]
    return connection.execute(statement("bills", name)).fetchall()


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
