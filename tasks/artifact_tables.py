"""Tables in a run's view. Prefect's UI reads every text in a cell as Markdown, so it is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect.artifacts import create_table_artifact

from qafila.core.foreign_text import markdown_text


def show_table(key: str, rows: Iterable[Mapping[str, Any]], description: str | None = None) -> None:
    """Publish a table whose cells show their letters: no name in one becomes a link or a tag.

    Numbers stay numbers; lists and mappings are shown as JSON, which the UI does not interpret.
    """
    create_table_artifact(
        key=key,
        table=[escaped_row(row) for row in rows],
        description=None if description is None else markdown_text(description),
    )


def escaped_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with each text in it as Markdown that shows its letters and nothing else."""
    return {
        head: markdown_text(value) if isinstance(value, str) else value
        for head, value in row.items()
    }
