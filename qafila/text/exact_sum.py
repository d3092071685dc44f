"""Adding money up without losing a digit."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal

_EXACT = Context(prec=76)  # two DECIMAL(38, 20) side by side: a sum of money rounds nothing


def add_up(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum of amounts of one currency, whatever the decimal context in force."""
    total = Decimal(0)
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total
