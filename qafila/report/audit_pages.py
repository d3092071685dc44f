"""An audit as a run's view shows it: the page a director reads, and the tables behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qafila.audit.inventory.tables import ABOUT
from qafila.report.audit_facts import AuditFacts, Row
from qafila.report.audit_first_page import first_page
from qafila.report.audit_markdown import audit_markdown

MOST_ROWS = 500  # of one table in the run's view; the page and the export have all


@dataclass(frozen=True)
class ShownTable:
    """One table of the run's view."""

    key: str
    rows: list[dict[str, Any]]
    description: str


def page_of(facts: AuditFacts) -> str:
    """Return the page to read first, as Markdown."""
    return audit_markdown(first_page(facts))


def tables_of(facts: AuditFacts) -> Iterator[ShownTable]:
    """Return one table for each part that has rows, with as many rows as a view can hold."""
    for name, about in ABOUT.items():
        rows = facts.rows(name)
        if rows:
            yield ShownTable(
                key=name.replace("_", "-"),
                rows=[_shown(row) for row in rows[:MOST_ROWS]],
                description=_described(about, len(rows), facts.workload),
            )


def _shown(row: Row) -> dict[str, Any]:
    """Return a row without its mappings; what is nested is in the export."""
    return {k: v for k, v in row.items() if not isinstance(v, dict | list)}


def _described(about: str, rows: int, workload: str) -> str:
    if rows <= MOST_ROWS:
        return about
    return (
        f"{about} The first {MOST_ROWS} of {rows:,}; all: "
        f"qafila report {workload} --audit --export FOLDER"
    )
