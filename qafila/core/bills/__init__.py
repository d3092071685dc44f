"""A bill: its formats, and its values."""

from __future__ import annotations

from qafila.core.bills.formats import OPTIONAL, REQUIRED, recognise
from qafila.core.bills.values import (
    CROSS_ZONE,
    Bill,
    BilledItem,
    Period,
    Spend,
    exact,
    main_currency,
    money,
)

__all__ = [
    "CROSS_ZONE",
    "OPTIONAL",
    "REQUIRED",
    "Bill",
    "BilledItem",
    "Period",
    "Spend",
    "exact",
    "main_currency",
    "money",
    "recognise",
]
