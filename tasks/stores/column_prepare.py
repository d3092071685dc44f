"""A new column beside the one the application searches in, and the record of both."""

from __future__ import annotations

from typing import Any

import psycopg

from qafila.errors import Refused
from qafila.sql import statement
from tasks.alias import read_alias
from tasks.column_swap import ORIGINAL, list_columns
from tasks.stores.column_words import Words


def note_columns(connection: psycopg.Connection[Any], words: Words) -> None:
    """Record which columns hold which generation, ours and the application's own. Idempotent.

    Raises:
        Refused: the column was begun with another model, or its name is taken.
    """
    assert words.settings.column is not None
    with connection.transaction():
        for generation, name, fingerprint in _to_be_known(connection, words):
            connection.execute(
                statement("column", "put_column"),
                {"workload": words.place.workload, "generation": generation,
                 "schema": words.described.schema, "name": words.described.name,
                 "column": words.settings.column.column, "held_as": name,
                 "fingerprint": fingerprint},
            )  # fmt: skip


def _to_be_known(
    connection: psycopg.Connection[Any], words: Words
) -> list[tuple[int, str, str | None]]:
    place, layout = words.place, words.settings.column
    assert layout is not None
    known = {c.generation: c for c in list_columns(connection, place.workload)}
    mine = known.get(place.generation)
    if mine is not None and mine.fingerprint not in (None, place.fingerprint):
        raise Refused(
            f"column {mine.held_as!r} was begun with fingerprint {mine.fingerprint}, we would "
            f"write {place.fingerprint}: two models would mix.",
            kept="all rows as they are.",
            remedy="open a new generation.",
        )
    alias = read_alias(connection, place.workload)
    serving = (alias.generation if alias else None) or ORIGINAL
    kind = f"{words.settings.vector_type}({place.dimensions})"
    adopted = (
        not known and serving == place.generation and words.described.types[layout.column] == kind
    )
    rows: list[tuple[int, str, str | None]] = []
    if not known and not adopted:
        rows.append((ORIGINAL, layout.column, None))
    name = layout.column if adopted else words.own
    if mine is not None:
        name = mine.held_as
    elif not adopted and name in words.described.types:
        raise Refused(
            f"table {layout.table} has a column {name!r} already, and it is not ours.",
            kept="the table.",
            remedy=f"rename it: Qafila keeps generation {place.generation} there.",
        )
    return [*rows, (place.generation, name, place.fingerprint)]
