"""Take a generation's column out of a table that is in use. Cannot be undone."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from qafila.errors import Refused
from qafila.sql import statement
from qafila.stores.brief_lock import Patience, change_briefly
from qafila.stores.column.marks import Part, mark_of, read_ownership
from qafila.stores.column.prepare import described_now
from qafila.stores.column.swap import HeldColumn, column_of
from qafila.stores.column.words import Words
from qafila.stores.pgvector.owner import take_ownership
from qafila.stores.pointer_row import require_not_named

Connection = psycopg.Connection[Any]


def removal_of(connection: Connection, words: Words, held: HeldColumn) -> list[sql.Composed]:
    """Return the statements that take a column out: its indexes, one by one, then itself."""
    return [*_index_drops(connection, held), _column_drop(connection, words, held)]


def drop_column(connection: Connection, words: Words, held: HeldColumn, patience: Patience) -> None:
    """Drop the column, its digests and every index that it is in.

    Raises:
        Refused: the application searches in it, the pointer row names it, something is tied to it,
            or somebody made another column in its place.
        Unavailable: the table was never free for a moment; the indexes are gone.
    """
    require_not_named(connection, words.place.workload, held.generation)  # before its indexes go
    if held.serves:
        raise Refused(
            f"column {held.held_as!r} of {held.table_name} serves: generation "
            f"{held.generation} is not dropped.",
            kept="the column and its index.",
            remedy=f"first: qafila rollback {words.place.workload}",
        )
    _require_ours(connection, words, held)
    tied = _tied(connection, words, held)
    if tied:
        raise Refused(
            f"column {held.held_as!r} of {held.table_name} is needed by {', '.join(tied)}.",
            kept="the column and its index.",
            remedy="drop that first, or let it ask for another column; then again.",
        )
    for query in _index_drops(connection, held):
        connection.execute(query)

    def drop() -> None:
        now = column_of(connection, words.place.workload, words.place.generation)
        if now != held:
            raise Refused(f"column {held.held_as!r} was swapped meanwhile.", kept="the column.")
        take_ownership(connection, words.place)
        _require_ours(connection, words, held)
        require_not_named(connection, words.place.workload, held.generation)
        connection.execute(_column_drop(connection, words, held))
        connection.execute(
            statement("column", "forget_column"),
            {"workload": words.place.workload, "generation": words.place.generation},
        )

    change_briefly(
        connection, held.table, drop, what=f"dropping column {held.held_as!r}", patience=patience
    )


def _column_drop(connection: Connection, words: Words, held: HeldColumn) -> sql.Composed:
    """Return what drops the column, and its digests where Qafila made that column."""
    owned = read_ownership(connection, words, described_now(connection, words))
    return words.statement("drop_columns" if owned.digests_are_ours() else "drop_vectors", held)


def _require_ours(connection: Connection, words: Words, held: HeldColumn) -> None:
    """Refuse to drop a column that somebody made in place of the one that was recorded."""
    found = described_now(connection, words)
    owned = read_ownership(connection, words, found)
    if held.held_as in found.types and not owned.vectors_are_ours():
        table = held.table.as_string(connection)
        name = sql.Identifier(held.held_as).as_string(connection)
        mark = sql.Literal(mark_of(words.place, Part.VECTORS)).as_string(connection)
        raise Refused(
            f"column {held.held_as!r} of {held.table_name} does not carry the comment of the "
            f"column that Qafila made: it is not ours, or it came from a dump without comments.",
            kept="the column and its indexes.",
            remedy=f"when it is the column that Qafila made, run COMMENT ON COLUMN {table}.{name} "
            f"IS {mark}, then again; else drop or rename it yourself.",
        )


def _index_drops(connection: Connection, held: HeldColumn) -> list[sql.Composed]:
    """Return what drops each index of the column; concurrently, so outside a transaction."""
    rows = connection.execute(
        statement("column", "indexes_of_column"),
        {"table": held.table.as_string(), "column": held.held_as},
    ).fetchall()
    drop = sql.SQL(statement("column", "drop_index"))
    return [drop.format(index=sql.Identifier(*name)) for name in rows]


def _tied(connection: Connection, words: Words, held: HeldColumn) -> list[str]:
    number = words.described.numbers.get(held.held_as)
    rows = connection.execute(
        statement("column", "dependents"), {"table": held.table.as_string(), "number": number}
    ).fetchall()
    return [str(thing) for (thing,) in rows]
