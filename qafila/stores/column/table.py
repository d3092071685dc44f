"""The application's own table, as the column layout needs to know it: names and types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from qafila.sources.json_objects import object_of
from qafila.sources.postgres import acl_of
from qafila.sql import statement
from qafila.workload.corpus import (
    ColumnLayout,
    Corpus,
    PgvectorSource,
    PgvectorTarget,
    PostgresSource,
)


@dataclass(frozen=True)
class AppTable:
    """What the workload says of the rows, and what it says that this layout cannot do."""

    text: tuple[str, ...]
    title: str | None = None
    acl: str | None = None
    metadata: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())

    @property
    def named(self) -> list[str]:
        """Return every column that is read."""
        found = [*self.text, *self.metadata, self.title, self.acl]
        return [c for c in dict.fromkeys(found) if c]

    @property
    def text_sql(self) -> sql.Composable:
        """Return the text of a row as its source makes it: parts that are empty are left out."""
        parts = (sql.SQL("nullif({}::text, '')").format(sql.Identifier("t", c)) for c in self.text)
        return sql.SQL("concat_ws(E'\\n', {})").format(sql.SQL(", ").join(parts))

    @property
    def title_sql(self) -> sql.Composable:
        return sql.Identifier("t", self.title) if self.title else sql.SQL("''")

    @property
    def acl_sql(self) -> sql.Composable:
        """Return the groups of a row as its source has them: NULL in the column is nobody."""
        return acl_of(self.acl, of="t")

    @property
    def readable_sql(self) -> sql.Composable:
        """Return the condition that a reader in %(groups)s may read a row.

        The column stands alone where there is one, so that an index on it serves; NULL, which
        overlaps with nothing, is nobody.
        """
        groups = sql.SQL("{}::text[]").format(sql.Identifier("t", self.acl)) if self.acl else None
        return sql.SQL("{} && %(groups)s::text[]").format(groups or self.acl_sql)

    @property
    def metadata_sql(self) -> sql.Composable:
        return object_of((c, sql.Identifier("t", c)) for c in self.metadata)


def table_of(corpus: Corpus) -> AppTable:
    """Return what a workload says of its application's table.

    A vector belongs to its row only when the row's own text was embedded, so source and target
    must be the same table, and a row is one chunk.
    """
    source, target = corpus.source, corpus.target
    assert isinstance(target, PgvectorTarget)
    assert target.column is not None
    layout = target.column
    if not isinstance(source, PostgresSource | PgvectorSource):
        return AppTable(
            (),
            problems=(
                f"corpus.target.column fills the table that is read; a source of kind "
                f"{source.kind} is not in it",
            ),
        )
    problems = []
    if source.block != target.block:
        problems.append(
            f"corpus.source.block is {source.block!r}, corpus.target.block {target.block!r}: "
            "with corpus.target.column they are one database, so name one block"
        )
    if source.table != layout.table:
        problems.append(
            f"corpus.source.table is {source.table!r}, corpus.target.column.table "
            f"{layout.table!r}: a column is filled from its own table"
        )
    if source.key != layout.key:
        problems.append(
            f"corpus.source.key is {source.key}, corpus.target.column.key {layout.key}: "
            "name the table's primary key in both"
        )
    if corpus.chunking.method != "whole":
        problems.append(
            f"corpus.chunking.method is {corpus.chunking.method!r}; a column holds one vector a "
            "row: set it to whole, or use a generation table"
        )
    if isinstance(source, PgvectorSource):
        if len(source.key) > 1:
            problems.append("a pgvector source of several key columns: use kind postgres instead")
        return AppTable(
            (source.text,), source.title, source.acl, tuple(source.metadata), tuple(problems)
        )
    title = source.text[0] if len(source.text) > 1 else None
    return AppTable(tuple(source.text), title, source.acl, tuple(source.metadata), tuple(problems))


@dataclass(frozen=True)
class Described:
    """The table as the catalog has it."""

    schema: str
    name: str
    kind: str
    ours: bool
    inherits: bool
    key: tuple[str, ...]
    types: dict[str, str]
    numbers: dict[str, int]
    granted: frozenset[str]
    bare: frozenset[str]  # nullable, without default and comment
    comments: dict[str, str]

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def key_parts(self) -> dict[str, sql.Composable]:
        """Return the pieces that statements name the key with; stages hold it as text."""
        numbered = [(f"k{n}", c, sql.SQL(self.types[c])) for n, c in enumerate(self.key)]
        comma, both = sql.SQL(", "), sql.SQL(" AND ")
        columns = [sql.Identifier("t", c) for c in self.key]
        return {
            "columns": comma.join(columns),
            "key": sql.SQL("ARRAY[{}]").format(
                comma.join(sql.SQL("{}::text").format(c) for c in columns)
            ),
            "match": both.join(
                sql.SQL("{} = {}::{}").format(sql.Identifier("t", c), sql.Identifier("s", k), kind)
                for k, c, kind in numbered
            ),
            "stage_keys": comma.join(
                sql.SQL("{} text NOT NULL").format(sql.Identifier(k)) for k, _, _ in numbered
            ),
            "names": comma.join(sql.Identifier(k) for k, _, _ in numbered),
            "arrays": comma.join(sql.SQL("%s::{}[]").format(kind) for _, _, kind in numbered),
            "named_arrays": comma.join(
                sql.SQL("{}::{}[]").format(sql.Placeholder(k), kind) for k, _, kind in numbered
            ),
            "places": comma.join(sql.SQL("%s::{}").format(kind) for _, _, kind in numbered),
        }


def describe(connection: psycopg.Connection[Any], layout: ColumnLayout) -> Described | None:
    """Return the table as it is now; None when there is none."""
    asked = {"table": sql.Identifier(*layout.table.split(".")).as_string()}
    row = connection.execute(statement("column", "describe_table"), asked).fetchone()
    if row is None:
        return None
    columns = connection.execute(statement("column", "describe_columns"), asked).fetchall()
    schema, name, kind, ours, inherits = row
    return Described(
        schema,
        name,
        kind,
        ours,
        inherits,
        key=tuple(layout.key),
        types={c[0]: c[1] for c in columns},
        numbers={c[0]: c[2] for c in columns},
        granted=frozenset(c[0] for c in columns if c[4]),
        bare=frozenset(c[0] for c in columns if not c[3] and not c[5] and c[6] is None),
        comments={c[0]: c[6] for c in columns if c[6] is not None},
    )
