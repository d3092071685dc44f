"""Tell whether a text bill writes its numbers with a decimal comma; refuse what may be either."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from qafila.audit.bills.columns import Columns
from qafila.errors import BadInput

_COMMA = r"^[+-]?([0-9]*|[0-9]{1,3}([.][0-9]{3})+),[0-9]+([eE][+-]?[0-9]+)?$"  # 1.234,5
_THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+([.][0-9]+)?$"  # 1,234.5
_GROUPS = r"^[+-]?[1-9][0-9]{0,2}([.][0-9]{3})+$"  # 1.234
_NUMBERS = (
    "BilledCost",
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
    "ConsumedQuantity",
    "PricingQuantity",
    "ListUnitPrice",
    "Quantity",
    "UnitPrice",
    "EffectivePrice",
    "lineItem/UsageAmount",
    "lineItem/UnblendedRate",
    "usage/billedQuantity",
    "cost/unitPrice",
)


def has_decimal_comma(
    connection: duckdb.DuckDBPyConnection,
    raw: str,
    columns: Columns,
    amounts: Sequence[str],
    name: str,
) -> bool:
    """Return whether numbers are written like ``1.234,50``.

    All numbers of the file are looked at: one style has to explain every one of them. A file
    without a comma in any number is written with a point.

    Raises:
        BadInput: both styles occur, or every number could be read in both ways.
    """
    found = dict.fromkeys(c for n in (*amounts, *_NUMBERS) if (c := columns.find(n)))
    texts = ", ".join(columns.text(c) for c in found)
    row = connection.execute(
        f"""
        SELECT count(*) FILTER (WHERE contains(x, ',')),
               count(*) FILTER (WHERE regexp_matches(x, $comma)),
               count(*) FILTER (WHERE contains(x, ',') AND regexp_matches(x, $thousands)),
               count(*) FILTER (WHERE contains(x, '.') AND NOT contains(x, ',')
                                      AND NOT regexp_matches(x, $groups)),
               min(x) FILTER (WHERE contains(x, ','))
        FROM (SELECT unnest([{texts}]) AS x FROM {raw})
        """,
        {"comma": _COMMA, "thousands": _THOUSANDS, "groups": _GROUPS},
    ).fetchone()
    commas, decimal, thousands, points, example = row or (0, 0, 0, 0, None)
    if not commas:
        return False
    if decimal == commas and not points and thousands < commas:
        return True
    why = (
        f"{commas} have a comma and {points} a decimal point"
        if points
        else f"each could be read in two ways, such as {example}"
        if thousands == commas
        else f"{commas - decimal} of {commas} with a comma are no numbers"
    )
    raise BadInput(
        f"the numbers of {name} cannot be told: {why}.",
        remedy="export the bill with decimal points and without separators of thousands.",
    )
