"""How rows of a table or view are drawn when there are more than are looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

STORED = ("r", "p", "m")  # kinds of table that rows can be drawn from
_BERNOULLI_BYTES = 1 << 30  # a table up to this size is walked whole to draw each row by itself


@dataclass(frozen=True)
class Draw:
    """How rows are drawn: in words, whether that is all of them, the seed, and the clause."""

    how: str
    complete: bool
    seed: int | None
    clause: sql.Composable


def draw(
    about: Mapping[str, Any], rows: int, sample_rows: int, seed: int, *, counted: bool
) -> Draw:
    """Return how to look at about ``sample_rows`` of ``rows`` rows, at all of them when so few.

    ``about`` is a table as the catalogue describes it. Rows that were not counted are an estimate,
    which may be far off: by it alone, a table is never read whole.
    """
    few, stored = rows <= sample_rows, about["kind"] in STORED
    if few and counted:
        return Draw("every row", True, None, sql.SQL(""))
    if few or not stored:
        first = sql.SQL("LIMIT {}").format(sql.Literal(sample_rows))
        kind = "table" if stored else "view"
        return Draw(f"the first rows of a {kind}, not drawn at random", False, None, first)
    each = about["heap_bytes"] <= _BERNOULLI_BYTES
    method = "BERNOULLI" if each else "SYSTEM"
    clause = sql.SQL("TABLESAMPLE {} ({}) REPEATABLE ({})").format(
        sql.SQL(method), sql.Literal(100 * sample_rows / rows), sql.Literal(seed)
    )
    told = "rows" if each else "whole pages, so that the intervals are too narrow,"
    return Draw(f"{told} drawn by TABLESAMPLE {method}", False, seed, clause)
