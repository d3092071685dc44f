"""What is wrong or doubtful with a bill, each as a value: what, how many lines, how much money."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Defect:
    """One defect of a bill that can still be added up.

    ``kind`` is a stable word, ``subject`` the column or vendor it is about, ``count`` the lines
    (or columns, or days: the sentence says which) it touches of ``of``, and ``amount`` what those
    lines were billed in ``currency``; None where money is not what it is about.
    """

    kind: str
    sentence: str
    count: int
    subject: str = ""
    of: int | None = None
    amount: Decimal | None = None
    currency: str | None = None

    def __str__(self) -> str:
        return self.sentence


def lines_of(count: int, of: int, vendor: str) -> str:
    """Return how many lines, in words: "all 942 AWS lines", "289 of 942 AWS lines"."""
    whose = f"{vendor} " if vendor not in ("", "not named") else ""
    if count == of > 1:
        return f"all {of:,} {whose}lines"
    return f"{count:,} of {of:,} {whose}lines"


def days_missing(mask: int) -> list[int]:
    """Return the days without a line between the first and the last day that has one.

    Bit n of the mask is day n of the month; nothing is said of days before the first line, when
    a service may not have been in use, and after the last, when a month may still be running.
    """
    days = [day for day in range(1, 32) if mask >> day & 1]
    return [day for day in range(days[0], days[-1] + 1) if day not in days] if days else []


def day_list(days: list[int]) -> str:
    """Return days as ranges: ``3, 7-9``."""
    ranges: list[list[int]] = []
    for day in days:
        if ranges and ranges[-1][1] == day - 1:
            ranges[-1][1] = day
        else:
            ranges.append([day, day])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
