"""How a cell and a table are written in Markdown."""

from __future__ import annotations


def cell(text: str) -> str:
    """Return a text on one line, with no bar that would end the cell."""
    return " ".join(text.split()).replace("|", "\\|")


def grid(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table; every row has as many cells as there are heads."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
