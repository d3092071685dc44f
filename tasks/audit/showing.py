"""Publish an audit in the run's view: the page a director reads, and the tables behind it."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from qafila.core.foreign_text import markdown_text
from qafila.core.inventory.tables import ABOUT
from qafila.report.audit_facts import AuditFacts, Row
from qafila.report.audit_first_page import first_page
from qafila.report.audit_markdown import audit_markdown
from tasks.artifact_tables import show_markdown, show_table

MOST_ROWS = 500  # of one table in the run's view; the page and the export have all


@task(task_run_name="show the audit of {facts.workload}", cache_policy=NO_CACHE)
def show_audit(facts: AuditFacts) -> None:
    """Publish the artifact "inventory" and one table for each part that has rows."""
    show_markdown(
        key="inventory",
        markdown=audit_markdown(first_page(facts)),
        description=markdown_text(facts.sentence),
    )
    for name, about in ABOUT.items():
        rows = facts.rows(name)
        if rows:
            show_table(
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
