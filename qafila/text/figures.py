"""How numbers are written in a report. What was not measured says so and is never zero."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

NOT_MEASURED = "not measured"
NOTHING = "–"


def number(value: Any, digits: int = 0, *, sign: bool = False) -> str:
    """Return a number with that many decimals and thousands separated."""
    if not _measured(value):
        return NOT_MEASURED
    return f"{value:+,.{digits}f}" if sign else f"{value:,.{digits}f}"


def between(low: Any, high: Any, digits: int, *, sign: bool = False) -> str:
    """Return an interval; one open end makes it unmeasured."""
    ends = number(low, digits, sign=sign), number(high, digits, sign=sign)
    return NOT_MEASURED if NOT_MEASURED in ends else f"{ends[0]}…{ends[1]}"


def percent(share: Any, digits: int = 1) -> str:
    """Return a share of 1 as per cent."""
    return f"{number(100 * share, digits)} %" if _measured(share) else NOT_MEASURED


def milliseconds(value: Any) -> str:
    """Return a latency that was measured in milliseconds."""
    return f"{number(value, 1)} ms" if _measured(value) else NOT_MEASURED


def duration(seconds: Any) -> str:
    """Return seconds as a person says them: 28.9 ms, 340 ms, 1.2 s, 4 min 10 s."""
    if not _measured(seconds):
        return NOT_MEASURED
    if seconds < 1:
        return f"{seconds * 1000:.{1 if seconds < 0.1 else 0}f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def money(amount: Any, *, places: int = 2) -> str:
    """Return an amount that was kept as the text of a decimal, rounded for the eye."""
    try:
        value = Decimal(str(amount))
    except InvalidOperation:
        return NOT_MEASURED
    if not value.is_finite():
        return NOT_MEASURED
    least = Decimal(1).scaleb(-places)
    if 0 < value < least:
        return f"under {least:f}"
    if -least < value < 0:
        return f"above -{least:f}"
    return f"{value:,.{places}f}"


def size(value: Any) -> str:
    """Return bytes in binary units."""
    if not _measured(value):
        return NOT_MEASURED
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TiB"


def moment(at: datetime | None) -> str:
    """Return a time in UTC, to the second."""
    return NOTHING if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def text(value: Any) -> str:
    """Return any other value as text; nothing is a dash."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _measured(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
