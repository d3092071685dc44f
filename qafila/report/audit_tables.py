"""The tables behind the audit's first page, written for a reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from qafila.audit.inventory.phrases import size_text
from qafila.audit.inventory.tables import ABOUT
from qafila.report.audit_facts import AuditFacts, Row
from qafila.report.audit_wording import amount_of, cut
from qafila.report.tables import Table, cell
from qafila.text.figures import NOTHING, moment, number

MOST_ROWS = 1_000
_MONEY = ("amount", "before", "after")
_FEWER = {"gravity": 200}  # a pair has a row for each place that was asked about
_TITLES = {
    "spend": "Spend",
    "spend_items": "Spend by item",
    "network": "Network",
    "gravity": "If one end moved",
    "reconciliation": "Bill against account",
    "ownership": "Who owns the bill",
    "findings": "To look at",
    "resources": "Resources",
    "edges": "Dependencies",
    "waves": "Waves",
    "ai_need": "Need for AI",
    "lock_in": "Lock-in",
    "bill_quality": "Bill quality",
    "collectors": "Collectors",
    "difference": "Since the last audit",
}


@dataclass(frozen=True)
class AuditSection:
    """One table with its anchor, title and what it is.

    ``keys``: of each row, by what its figures are sorted: the number as it is, and behind a blank
    its currency; empty where there is none, and in a column of text.
    """

    id: str
    title: str
    about: str
    table: Table
    keys: tuple[tuple[str, ...], ...]


def audit_sections(facts: AuditFacts) -> list[AuditSection]:
    """Return every table of the audit that has rows, in the order of the report."""
    return [_section(facts, name) for name in ABOUT if facts.rows(name)]


# Per table: heading, how a row becomes its cell, and of a column of figures the key of its number.
_Column = tuple[str, Callable[[Row], str], str]
_TEXT = ""


def _text(key: str, heading: str = "") -> _Column:
    return heading or key.replace("_", " "), lambda row: _said(row.get(key)), _TEXT


def _count(key: str, heading: str = "") -> _Column:
    return heading or key.replace("_", " "), lambda row: number(row.get(key)), key


def _money(key: str = "amount", heading: str = "") -> _Column:
    return heading or key, lambda row: amount_of({**row, "amount": row.get(key)}), key


def _quantity(key: str, heading: str = "") -> _Column:
    """A quantity kept as exact text, to three decimals for the eye."""

    def told(row: Row) -> str:
        if row.get(key) is None:
            return NOTHING
        shown = f"{Decimal(str(row[key])):,.3f}".rstrip("0").rstrip(".")
        return "under 0.001" if shown == "0" and Decimal(str(row[key])) > 0 else shown

    return heading or key, told, key


def _share(key: str, heading: str = "") -> _Column:
    return (
        heading or key,
        lambda row: NOTHING if row.get(key) is None else f"{float(row[key]):.2f}",
        key,
    )


_COLUMNS: Mapping[str, Sequence[_Column]] = {
    "spend": (
        _text("month"),
        _text("state"),
        _text("what"),
        _text("name"),
        _money(),
        _count("lines"),
    ),
    "spend_items": (
        _text("service"),
        _text("item"),
        _money(),
        _quantity("quantity"),
        _text("unit"),
    ),
    "network": (
        _text("month"),
        _text("vendor"),
        _text("account"),
        _text("route"),
        _text("service"),
        _text("from"),
        _text("to"),
        _money(),
        _quantity("gigabytes", "GB"),
        _count("lines"),
    ),
    "gravity": (
        ("pair", lambda row: f"{cut(cell(row.get('from')))} → {cut(cell(row.get('to')))}", _TEXT),
        ("moved", lambda row: cut(cell(row.get("moved"))), _TEXT),
        _text("where"),
        _text("asked"),
        _quantity("gigabytes", "GB a month"),
        _text("route_after", "route then"),
        _money("before", "before, a month"),
        _money("after", "after, a month"),
        _money("amount", "change"),
        _text("why", "not known because"),
    ),
    "reconciliation": (
        _text("kind"),
        _text("name"),
        _text("resource"),
        _money(),
        _text("sentence", "why"),
    ),
    "ownership": (
        _text("tag"),
        _text("state"),
        _text("value"),
        _text("month"),
        _money(),
        _count("count", "resources or lines"),
    ),
    "findings": (
        _text("kind"),
        _text("name"),
        _text("resource"),
        _money(),
        _text("sentence", "why"),
    ),
    "resources": (
        _text("kind"),
        _text("name"),
        _text("account"),
        _text("region"),
        _text("app"),
        _text("owner"),
        (
            "size",
            lambda row: (
                size_text(row.get("size_bytes")) if row.get("size_bytes") is not None else NOTHING
            ),
            "size_bytes",
        ),
        _text("type"),
        _text("id"),
    ),
    "edges": (
        _text("from"),
        _text("to"),
        _text("kind"),
        _text("source"),
        _share("confidence"),
        ("last seen", lambda row: _when(row.get("last_seen")), _TEXT),
    ),
    "waves": (_text("wave"), _text("criticality"), _text("name"), _text("reason"), _text("id")),
    "ai_need": (
        _text("subject"),
        _text("owner"),
        _text("signal"),
        _text("found"),
        _text("evidence"),
        _text("ask", "to ask"),
    ),
    "lock_in": (
        _text("kind"),
        _text("provider"),
        _text("api"),
        ("where", lambda row: f"{row.get('file')}:{row.get('line')}", _TEXT),
        _text("behind", "behind an abstraction"),
        _text("effort"),
        _text("reason"),
    ),
    "bill_quality": (
        _text("kind"),
        _text("subject"),
        _count("lines"),
        _count("of"),
        _money(),
        _text("sentence", "what"),
    ),
    "collectors": (
        _text("collector"),
        _text("account"),
        _text("region", "where"),
        _text("outcome"),
        _count("resources"),
        _count("calls"),
        _text("not_seen"),
    ),
    "difference": (
        _text("about"),
        _text("what"),
        _text("name"),
        _text("detail"),
        _money("before"),
        _money("after"),
        _text("id", "id or place"),
    ),
}


def _section(facts: AuditFacts, name: str) -> AuditSection:
    rows = facts.rows(name)
    shown = rows[: _FEWER.get(name, MOST_ROWS)]
    if name == "edges":
        shown = _told_apart(shown, facts.rows("resources"))
    columns = [c for c in _COLUMNS[name] if _has_any(shown, c)]
    left_off = len(rows) - len(shown)
    notes = [
        f"{word}: {'; '.join(said)}."
        for word, key in (("Measured by", "measured"), ("Taken for granted", "assumes"))
        if (said := list(dict.fromkeys(str(r[key]).rstrip(".") for r in shown if r.get(key)))[:3])
    ]
    if left_off > 0:
        notes.append(
            f"… and {left_off:,} more rows; all of them: qafila report {facts.workload} --audit "
            "--export FOLDER"
        )
    table = Table(
        caption="",
        headings=tuple(heading for heading, _, _ in columns),
        rows=tuple(tuple(make(row) for _, make, _ in columns) for row in shown),
        figures=frozenset(n for n, (_, _, key) in enumerate(columns) if key),
        note=" ".join(notes),
    )
    keys = tuple(tuple(_sorted_by(row, key) for _, _, key in columns) for row in shown)
    return AuditSection(name.replace("_", "-"), _TITLES[name], ABOUT[name], table, keys)


def _sorted_by(row: Row, key: str) -> str:
    if not key or row.get(key) is None:
        return ""
    unit = row.get("currency") if key in _MONEY else None
    return f"{row[key]} {unit}" if unit else str(row[key])


def _told_apart(edges: Sequence[Row], resources: Sequence[Row]) -> list[Row]:
    """Return edges in which a name that several things have is followed by the thing's kind."""
    named = Counter(str(r.get("name")) for r in resources)
    kinds = {str(r["id"]): str(r.get("kind")) for r in resources if named[str(r.get("name"))] > 1}

    def told(row: Row, end: str) -> str:
        kind = kinds.get(str(row.get(f"{end}_id")))
        return f"{row.get(end)} ({kind.rpartition(':')[2]})" if kind else str(row.get(end))

    return [{**row, "from": told(row, "from"), "to": told(row, "to")} for row in edges]


def _when(at: Any) -> str:
    return NOTHING if not at else moment(datetime.fromisoformat(str(at)))


def _has_any(rows: Iterable[Row], column: _Column) -> bool:
    """Tell whether a column says anything: one that is empty throughout is left out."""
    _, make, _ = column
    return any(make(row) not in (NOTHING, "not measured") for row in rows)


def _said(value: Any) -> str:
    return cell(value)
