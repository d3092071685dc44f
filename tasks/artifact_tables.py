"""What a run's view shows: tables and pages, without the secrets that stand in them.

Prefect's UI reads every text in a table's cell as Markdown, so it is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from qafila.text.foreign_text import markdown_text
from qafila.text.masking import mask_text, masked


def show_table(key: str, rows: Iterable[Mapping[str, Any]], description: str | None = None) -> None:
    """Publish a table whose cells show their letters: no name in one becomes a link or a tag.

    Numbers stay numbers; lists and mappings are shown as JSON, which the UI does not interpret.
    """
    create_table_artifact(
        key=key,
        table=[escaped_row(row) for row in rows],
        description=None if description is None else markdown_text(description),
    )


def show_markdown(key: str, markdown: str, description: str | None = None) -> None:
    """Publish a page; what others wrote in it is Markdown already (``markdown_text``)."""
    create_markdown_artifact(key=key, markdown=mask_text(markdown), description=description)


def escaped_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with each text in it as Markdown that shows its letters and no secret."""
    return {
        head: markdown_text(value) if isinstance(value, str) else value
        for head, value in masked(row).items()
    }
