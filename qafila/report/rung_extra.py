"""What a rung shows beyond its words, and how figures are put into its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qafila.report.tables import Table
from qafila.text.figures import NOT_MEASURED, NOTHING

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Pictured:
    """A picture made here, with what it shows in words."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Extra:
    """What one rung shows beyond its words; ``told`` are parts that its own table tells of."""

    pictures: Sequence[Pictured] = field(default_factory=tuple)
    tables: Sequence[Table] = field(default_factory=tuple)
    told: frozenset[str] = frozenset()


def plain(name: str) -> str:
    """Return a system's name in words."""
    return {"vector_only": "vectors alone"}.get(name, name.replace("_", " "))


def dash(written: str) -> str:
    """Return a dash for what was not measured: a table has no room for the words."""
    return NOTHING if written == NOT_MEASURED else written


def pictured(svg: str | None, caption: str) -> list[Pictured]:
    """Return a picture, if there is one."""
    return [] if svg is None else [Pictured(svg, caption)]
