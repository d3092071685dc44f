"""SQL for one JSON object, of as many fields as there are."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

_PAIRS = 50  # a function takes 100 arguments


def object_of(fields: Iterable[tuple[str, sql.Composable]]) -> sql.Composable:
    """Return an expression of type jsonb; the object is empty where there are no fields."""
    pairs = [sql.SQL("{}, {}").format(sql.Literal(name), value) for name, value in fields]
    parts = [pairs[n : n + _PAIRS] for n in range(0, len(pairs), _PAIRS)] or [[]]
    built = sql.SQL(" || ").join(
        sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(part)) for part in parts
    )
    return built if len(parts) == 1 else sql.SQL("({})").format(built)
