"""Tables of a report: text in cells, figures flush right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qafila.text.figures import NOTHING, text

# With a unit at most, or an arrow or a sign: what belongs under one another, digit by digit.
_FIGURE = re.compile(
    r"(about )?[-+−]?\d[\d,.   ]*( ?(%|ms|s|MiB|/s|[A-Z]{3}))?"
    r"( (of|→) [-+−]?\d[\d,.   ]*)?"
)


@dataclass(frozen=True)
class Table:
    """A caption, headings and rows of text; ``figures`` are the columns set flush right.

    ``note`` stands below: what was left off.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    figures: frozenset[int] = frozenset()
    note: str = ""


def table(
    caption: str, headings: tuple[str, ...], rows: Iterable[tuple[str, ...]], *figures: int
) -> Table:
    """Return a table whose columns of figures are known."""
    return Table(caption, headings, tuple(rows), frozenset(figures))


def pairs(caption: str, given: Sequence[tuple[str, str]], measured: Mapping[str, Any]) -> Table:
    """Return a table of names and values; empty when nothing at all was measured."""
    return table(caption, ("what", "value"), given if measured else (), 1)


def of_detail(detail: Mapping[str, Any]) -> Table:
    """Return a table that a rung kept, its columns in the order that was kept, if one was.

    A column is one of figures when it has one and nothing but figures and dashes.
    """
    rows: Sequence[Mapping[str, Any]] = detail.get("rows") or []
    columns = [*(detail.get("columns") or []), *(key for row in rows for key in row)]
    headings = tuple(dict.fromkeys(map(str, columns)))
    cells = tuple(tuple(cell(row.get(h)) for h in headings) for row in rows)
    figures = frozenset(n for n in range(len(headings)) if _are_figures([row[n] for row in cells]))
    left_off = (detail.get("of") or 0) - len(rows)
    note = f"… and {left_off:,} more." if left_off > 0 else ""
    return Table(text(detail.get("caption")), headings, cells, figures, note)


def cell(value: Any) -> str:
    """Return any value that evidence may hold as the text of a cell."""
    if value is None or value == "" or value == [] or value == {}:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 999.9 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(cell(v) for v in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {cell(v)}" for k, v in value.items())
    return str(value)


def _are_figures(cells: Sequence[str]) -> bool:
    told = [c for c in cells if c not in (NOTHING, "not measured", "not known")]
    return bool(told) and all(_FIGURE.fullmatch(c) for c in told)
