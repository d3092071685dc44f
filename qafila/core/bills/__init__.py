"""A bill: its formats, and its values."""

from __future__ import annotations

from qafila.core.adding import add_up
from qafila.core.bills.defects import Defect
from qafila.core.bills.formats import REQUIRED, misplaced, recognise
from qafila.core.bills.values import (
    CROSS_ZONE,
    Bill,
    BilledItem,
    Commitments,
    Period,
    Spend,
    exact,
    main_currency,
    money,
)

__all__ = [
    "CROSS_ZONE",
    "REQUIRED",
    "Bill",
    "BilledItem",
    "Commitments",
    "Defect",
    "Period",
    "Spend",
    "add_up",
    "exact",
    "main_currency",
    "misplaced",
    "money",
    "recognise",
]
