"""A new column beside the one the application searches in, and the record of both."""

from __future__ import annotations

from typing import Any

import psycopg

from qafila.errors import Refused
from qafila.sql import statement
from qafila.stores.column.marks import Part, name_problems, put_marks, read_ownership
from qafila.stores.column.swap import ORIGINAL, list_columns
from qafila.stores.column.table import Described, describe
from qafila.stores.column.words import Words
from qafila.stores.pointer_row import read_alias


def note_columns(connection: psycopg.Connection[Any], words: Words) -> None:
    """Record which columns hold which generation, ours and the application's own. Idempotent.

    Raises:
        Refused: the column was begun with another model, or a name of ours is taken.
    """
    require_free_names(connection, words)
    with connection.transaction():
        for generation, name, fingerprint in _to_be_known(connection, words):
            connection.execute(
                statement("column", "put_column"),
                {
                    "workload": words.place.workload,
                    "generation": generation,
                    "schema": words.described.schema,
                    "name": words.described.name,
                    "column": words.serving_name,
                    "held_as": name,
                    "fingerprint": fingerprint,
                },
            )


def make_columns(connection: psycopg.Connection[Any], words: Words) -> None:
    """Record the columns, add those that are missing and mark them. Idempotent.

    All of it belongs into one transaction: a record without its column would let a later run take
    for ours what somebody else made under that name meanwhile.

    Raises:
        Refused: the column was begun with another model, or a name of ours is taken.
    """
    note_columns(connection, words)
    owned = read_ownership(connection, words, described_now(connection, words))
    held = owned.record
    assert held is not None
    parts = owned.parts_to_mark
    if held.held_as not in owned.found.types:
        connection.execute(words.statement("add_columns", held))
        parts = [Part.VECTORS, Part.DIGESTS]
    elif owned.digest not in owned.found.types:
        connection.execute(words.statement("add_digest", held))
    put_marks(connection, owned, parts)


def is_complete(connection: psycopg.Connection[Any], words: Words) -> bool:
    """Say whether the generation's columns are there, recorded and marked."""
    found = described_now(connection, words)
    owned = read_ownership(connection, words, found)
    held = owned.record
    return (
        held is not None
        and held.fingerprint == words.place.fingerprint
        and {held.held_as, owned.digest} <= found.types.keys()
        and not owned.missing_marks
        and not owned.taken_names()
    )


def require_free_names(connection: psycopg.Connection[Any], words: Words) -> None:
    """Return when nothing of the application has a name that Qafila is about to use.

    Raises:
        Refused: something has; names all of it.
    """
    problems = name_problems(connection, words, described_now(connection, words))
    if problems:
        raise Refused(
            "; ".join(problems) + ".",
            kept="the table, with every column and index of it.",
            remedy=f"rename it, then: qafila run embedding-backfill {words.place.workload}",
        )


def described_now(connection: psycopg.Connection[Any], words: Words) -> Described:
    """Return the table as the catalog has it at this moment."""
    layout = words.settings.column
    assert layout is not None
    found = describe(connection, layout)
    if found is None:
        raise Refused(
            f"there is no table {layout.table} in the target.",
            kept="everything.",
            remedy=f"correct corpus.target.column.table in workloads/{words.place.workload}.yaml, "
            f"then: qafila apply workloads/{words.place.workload}.yaml",
        )
    return found


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
    return [*rows, (place.generation, name, place.fingerprint)]
