"""What commands print with: one console, no colour and no redraw when piped, JSON on request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@cache
def console() -> Console:
    """Return the console for results. Rich leaves out colour and redrawing when piped."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


@cache
def error_console() -> Console:
    """Return the console for refusals and errors, on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line as it is; square brackets are text, not markup."""
    console().print(text, markup=False)


def complain(text: str) -> None:
    """Print an error as it is, on stderr."""
    error_console().print(text, markup=False)


def print_json(value: Any) -> None:
    """Print one JSON document; money and dates become strings."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table without borders; piped, a line is never cut or wrapped."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_edge=False)
    screen = console()
    for heading in headings:
        table.add_column(heading, overflow="fold" if screen.is_terminal else "ignore",
                         no_wrap=not screen.is_terminal)  # fmt: skip
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    if screen.is_terminal:
        screen.print(table)
    else:
        screen.print(table, width=10_000, crop=False)
