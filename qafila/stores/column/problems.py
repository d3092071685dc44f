"""Everything that stands in the way of filling and swapping a column, each with its remedy."""

from __future__ import annotations

from typing import Any

import psycopg

from qafila.sql import statement
from qafila.stores.column.marks import name_problems
from qafila.stores.column.swap import NAME_BYTES, own_name
from qafila.stores.column.table import AppTable, Described, describe
from qafila.stores.column.words import Words
from qafila.stores.pgvector.problems import (
    MOST_DIMENSIONS,
    installed_version,
    is_too_old,
    problems_of_role,
)
from qafila.stores.port import Place
from qafila.workload.corpus import ColumnLayout, PgvectorTarget


def problems_of(
    connection: psycopg.Connection[Any], settings: PgvectorTarget, app: AppTable, place: Place
) -> list[str]:
    """Return everything that stands in the way of a swap, each with its remedy."""
    version = installed_version(connection)
    problems = list(app.problems)
    if version is None:
        return [*problems, "pgvector is not installed in the target: run CREATE EXTENSION vector"]
    if is_too_old(version):
        problems.append(
            f"pgvector {version} loses index entries under vacuum and parallel builds: "
            "update to 0.8.4 or newer"
        )
    most = MOST_DIMENSIONS[settings.vector_type]
    if settings.index == "hnsw" and place.dimensions > most:
        problems.append(
            f"HNSW on {settings.vector_type} takes {most} dimensions, not {place.dimensions}"
        )
    problems += problems_of_role(connection, tables=False)
    layout = settings.column
    assert layout is not None
    found = describe(connection, layout)
    if found is None:
        return [*problems, f"the target has no table {layout.table!r}"]
    words = Words(place, settings, app, found)
    problems += _table_problems(connection, layout, app, found, place)
    return problems + name_problems(connection, words, found)


def _table_problems(
    connection: psycopg.Connection[Any],
    layout: ColumnLayout,
    app: AppTable,
    found: Described,
    place: Place,
) -> list[str]:
    where, column = layout.table, layout.column
    wanted = [*layout.key, *app.named, column]
    problems = [
        f"{where!r} has no column {c!r}; it has: {', '.join(found.types)}"
        for c in dict.fromkeys(wanted)
        if c not in found.types
    ]
    if found.kind != "r" or found.inherits:
        problems.append(f"{where!r} is not a plain table; partitions and views cannot be swapped")
    if not found.ours:
        problems.append(f"{where!r} belongs to another role: connect as its owner")
    if len(f"{found.name}_{own_name(column, place.generation)}_digest".encode()) > NAME_BYTES:
        problems.append(f"the names {where!r} and {column!r} are too long together for our names")
    named = {"table": found.table.as_string(), "schema": found.schema, "name": found.name}
    keys = connection.execute(statement("column", "unique_keys"), named).fetchall()
    if [sorted(layout.key)] not in [list(k) for k in keys]:
        problems.append(f"{where!r} has no unique index on exactly {layout.key}: name its key")
    if column in found.types:
        kind = found.types[column].split("(")[0].split(".")[-1]
        if kind not in MOST_DIMENSIONS:
            problems.append(f"column {column!r} is {found.types[column]}, not vector or halfvec")
        problems += _tied(connection, found, where, column)
    problems += _claimed(connection, found, where, column, place)
    return problems


def _claimed(
    connection: psycopg.Connection[Any], found: Described, where: str, column: str, place: Place
) -> list[str]:
    if connection.execute(statement("column", "has_layout")).fetchone() != (True,):
        return []  # nobody has swapped anything here yet
    named = {"schema": found.schema, "name": found.name}
    other = connection.execute(
        statement("column", "other_owner"),
        {**named, "column": column, "workload": place.workload},
    ).fetchone()
    if other is None:
        return []
    return [f"workload {other[0]} swaps column {column!r} of {where!r} already"]


def _tied(
    connection: psycopg.Connection[Any], found: Described, where: str, column: str
) -> list[str]:
    named = {"table": found.table.as_string(), "schema": found.schema, "name": found.name}
    tied = connection.execute(
        statement("column", "dependents"), {**named, "number": found.numbers[column]}
    ).fetchall()
    problems = [
        f"{thing} is tied to column {column!r} and would stay with the old vectors: drop it, or "
        "let it ask by name (a function body in quotes does)"
        for (thing,) in tied
    ]
    if column in found.granted:
        problems.append(
            f"privileges are granted on column {column!r} alone and would stay with the old "
            f"vectors: grant them on {where!r}"
        )
    published = connection.execute(statement("column", "publications"), named).fetchall()
    problems += [
        f"publication {name} sends {where!r} to subscribers, which match columns by name: take the "
        "table out of it"
        for (name,) in published
    ]
    return problems
