"""What commands print with: one console, no colour and no redraw when piped, JSON on request."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qafila.text.foreign_text import printable, printable_json
from qafila.text.masking import mask_text

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@cache
def console(stderr: bool = False) -> Console:
    """Return the console for results, or for refusals and errors on stderr.

    Text is printed as it is: no line is wrapped, and ``:key:`` is part of a name and no picture.
    Print with the functions below: they leave out what would move a terminal's cursor.
    Rich leaves out colour and redrawing when piped.
    """
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str) -> None:
    """Print text; square brackets are text, not markup, and control characters become U+FFFD."""
    console().print(printable(text))


def complain(text: str) -> None:
    """Print an error on stderr, as ``say`` does, without the secrets that stand in it."""
    console(stderr=True).print(printable(mask_text(text)))


def print_json(value: Any) -> None:
    """Print one JSON document; money and dates become strings, control characters escapes."""
    typer.echo(printable_json(json.dumps(value, indent=2, ensure_ascii=False, default=str)))


def print_json_lines(values: Iterable[Any]) -> None:
    """Print one JSON document a line, as ``print_json`` does."""
    for value in values:
        typer.echo(printable_json(json.dumps(value, ensure_ascii=False, default=str)))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table without borders; piped, columns are aligned and a line is never broken.

    On a terminal that is too narrow a cell goes on below; nothing of it is left out.
    """
    table = [[" ".join(printable(cell).split("\n")) for cell in row] for row in (headings, *rows)]
    screen = console()
    if not screen.is_terminal:
        widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
        for row in table:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            typer.echo("   ".join(cells).rstrip())
        return
    from rich.table import Column, Table
    from rich.text import Text

    columns = [Column(heading, overflow="fold") for heading in table[0]]
    shown = Table(*columns, box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for row in table[1:]:
        shown.add_row(*[Text(cell) for cell in row])
    screen.print(shown)
