"""Which columns of the application's table Qafila made, and which only have a name of ours.

A column that Qafila makes carries a comment with workload and generation. The comment stays with
the column when it is renamed and goes with it when it is dropped, so that a column which somebody
made in its place is never taken for ours. Columns of earlier versions carry none; they are known by
their row in ``qafila.column_generation``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import sql

from qafila.sql import statement
from qafila.stores.column.swap import ORIGINAL, HeldColumn, list_columns, own_name
from qafila.stores.column.table import Described
from qafila.stores.column.words import Words
from qafila.stores.port import Place

Connection = psycopg.Connection[Any]


class Part(StrEnum):
    """What a column of ours holds."""

    VECTORS = "vectors"
    DIGESTS = "digests"


def mark_of(place: Place, part: Part) -> str:
    """Return the comment of a column that Qafila made."""
    return f"Made by Qafila for workload {place.workload}, generation {place.generation}: {part}"


@dataclass(frozen=True)
class ColumnOwnership:
    """What the target knows of a workload's columns, beside the table as it is now."""

    words: Words
    found: Described
    known: dict[int, HeldColumn]
    marked: dict[int, tuple[str, ...]]

    @property
    def record(self) -> HeldColumn | None:
        """Return the record of this generation; None before it is prepared."""
        return self.known.get(self.words.place.generation)

    @property
    def digest(self) -> str:
        """Return the name of the column for this generation's digests."""
        return f"{self.words.own}_digest"

    @property
    def missing_marks(self) -> bool:
        """Say whether columns that Qafila made are not recorded as marked yet."""
        return self.words.place.generation != ORIGINAL and not self._recorded_marks

    @property
    def parts_to_mark(self) -> list[Part]:
        """Return the parts of a generation that is there already which Qafila surely made.

        Where the application's original column has a record of its own, that is both; else this may
        be a column that was adopted, of which only the digests are ours.
        """
        if self._recorded_marks:
            return [Part(name) for name in self._recorded_marks]
        return [Part.VECTORS, Part.DIGESTS] if ORIGINAL in self.known else [Part.DIGESTS]

    @property
    def _recorded_marks(self) -> tuple[str, ...]:
        return self.marked.get(self.words.place.generation, ())

    def vectors_are_ours(self) -> bool:
        """Say whether the column that the record names is the one that was recorded."""
        record = self.record
        if record is None:
            return False
        if Part.VECTORS not in self._recorded_marks:
            return True  # the application's own, adopted or original; or of an earlier version
        return self.found.comments.get(record.held_as) == mark_of(self.words.place, Part.VECTORS)

    def digests_are_ours(self) -> bool:
        """Say whether the column under the name of our digests is one that Qafila made."""
        if self.digest not in self.found.types:
            return False
        if self.found.comments.get(self.digest) == mark_of(self.words.place, Part.DIGESTS):
            return True
        record = self.record
        return (
            record is not None
            and record.generation != ORIGINAL
            and not self._recorded_marks  # an earlier version made it, and marked nothing
            and record.held_as in self.found.types
            and self.found.types[self.digest] == "bytea"
            and self.digest in self.found.bare
        )

    def lost_mark(self, name: str) -> Part | None:
        """Return what a column was when Qafila marked it under this name, if it did."""
        record = self.record
        part = Part.DIGESTS if name == self.digest else Part.VECTORS
        there = record is not None and name in (self.digest, record.held_as)
        return part if there and part in self._recorded_marks else None

    def taken_names(self) -> list[str]:
        """Return each column that has a name of ours and is not ours."""
        held = {c.held_as for c in self.known.values()}
        numbers = {*(self.known or [ORIGINAL]), self.words.place.generation}
        own = [own_name(self.words.serving_name, n) for n in sorted(numbers)]
        names = [name for name in own if name in self.found.types and name not in held]
        record = self.record
        if (
            record is not None
            and record.held_as in self.found.types
            and (not self.vectors_are_ours())
        ):
            names.append(record.held_as)
        if self.digest in self.found.types and not self.digests_are_ours():
            names.append(self.digest)
        return names


def read_ownership(connection: Connection, words: Words, found: Described) -> ColumnOwnership:
    """Read what the target's records say of a workload's columns. Changes nothing."""
    known = {
        c.generation: c
        for c in list_columns(connection, words.place.workload)
        if (c.table_schema, c.table_name) == (found.schema, found.name)
    }
    rows = (
        connection.execute(
            statement("column", "list_marks"), {"workload": words.place.workload}
        ).fetchall()
        if known
        else []
    )
    return ColumnOwnership(words, found, known, {n: tuple(marks) for n, marks in rows})


def name_problems(connection: Connection, words: Words, found: Described) -> list[str]:
    """Return every name of ours that something of the application has, each with its remedy."""
    owned = read_ownership(connection, words, found)
    table = f"{found.schema}.{found.name}"
    problems = []
    for name in owned.taken_names():
        problem = (
            f"table {table} has a column {name!r} already, and it is not ours: Qafila needs that "
            "name and never touches the column; run ALTER TABLE "
            f'{table} RENAME COLUMN "{name}" TO …'
        )
        if (part := owned.lost_mark(name)) is not None:
            problem += (
                "; or, when Qafila made it and a restore lost its comment, COMMENT ON COLUMN "
                f"{table}.\"{name}\" IS '{mark_of(words.place, part)}'"
            )
        problems.append(problem)
    held = owned.record.held_as if owned.record is not None else words.own
    taken = connection.execute(
        statement("column", "foreign_index"),
        {"index": words.index.as_string(), "table": found.table.as_string(), "column": held},
    ).fetchone()
    if taken is not None:
        name = words.index_name
        problems.append(
            f"schema {found.schema} has a relation {name!r} already, and it is not ours: Qafila "
            f'needs that name for its index; run ALTER INDEX {found.schema}."{name}" RENAME TO …'
        )
    return problems


def put_marks(connection: Connection, owned: ColumnOwnership, parts: Sequence[Part]) -> None:
    """Mark the columns that Qafila made; part of the transaction that makes or records them."""
    record = owned.record
    assert record is not None
    place = owned.words.place
    for part in parts:
        column = record.held_as if part is Part.VECTORS else owned.digest
        connection.execute(
            sql.SQL(statement("column", "mark_column")).format(
                table=record.table,
                column=sql.Identifier(column),
                mark=sql.Literal(mark_of(place, part)),
            )
        )
    connection.execute(
        statement("column", "note_marks"),
        {
            "workload": place.workload,
            "generation": place.generation,
            "marked": [p.value for p in parts],
        },
    )
