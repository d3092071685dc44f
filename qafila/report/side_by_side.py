"""Queries whose answers changed, old and new beside each other, for a person to judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qafila.report.tables import cell

# What was asked, and both answers, by the keys under which a rung keeps them.
_FORMS = (
    ("query", "baseline's first three", "candidate's first three"),
    ("asked", "baseline", "candidate"),
)
_KNOWN = "known answer"


@dataclass(frozen=True)
class Found:
    """One thing that a system answered; ``known``: it is what somebody said is right."""

    text: str
    known: bool = False


@dataclass(frozen=True)
class Compared:
    """One query with both answers, and what else is said of it, by name.

    ``known`` are right answers that neither list shows; ``listed``: the answers are lists.
    """

    asked: str
    baseline: Sequence[Found]
    candidate: Sequence[Found]
    known: Sequence[str]
    notes: Sequence[tuple[str, str]]
    listed: bool


def side_by_side(rows: Sequence[Mapping[str, Any]]) -> list[Compared] | None:
    """Return the rows of a rung's table as comparisons; None when they are something else."""
    form = next((f for f in _FORMS if rows and all(set(f) <= set(r) for r in rows)), None)
    return None if form is None else [_compared(row, form) for row in rows]


def _compared(row: Mapping[str, Any], form: tuple[str, str, str]) -> Compared:
    asked, old, new = form
    listed = form is _FORMS[0]
    known = numbered(str(row.get(_KNOWN) or "")) if listed else []
    answers = [
        [Found(t, t in known) for t in (numbered(str(row[key])) if listed else [str(row[key])])]
        for key in (old, new)
    ]
    notes = [(k, cell(v)) for k, v in row.items() if k not in (*form, _KNOWN) and v]
    shown = {found.text for side in answers for found in side}
    unseen = [t for t in known if t not in shown]
    return Compared(str(row[asked]), answers[0], answers[1], unseen, notes, listed)


def numbered(said: str) -> list[str]:
    """Return the items of a list that a rung wrote on one line: "1. a: b; 2. c"; of "none", none.

    The items keep their order. A text that has the next number in it itself is cut there.
    """
    if said in ("", "none"):
        return []
    items, rest, place = [], said.removeprefix("1. "), 2
    while True:
        here, found, rest = rest.partition(f"; {place}. ")
        items.append(here)
        if not found:
            return items
        place += 1
