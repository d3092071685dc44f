"""A PostgreSQL table or view, read in the order of its key.

Snapshot: boundaries are frozen in one repeatable-read transaction; rows are read later, batch by
batch, each batch from its own snapshot. A row that changes or appears in between is read as it is
then; one that changes after its batch is found by the verification at the end, never silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from qafila.core.fingerprint import key_text
from qafila.core.workload import EVERYBODY
from qafila.core.workload import PostgresSource as Settings
from qafila.sql import statement

Key = list[Any]


@dataclass(frozen=True)
class SourceRow:
    """One document of the source. ``title`` is empty when there is only one text column."""

    key: Key
    title: str
    text: str
    acl: list[str]

    @property
    def key_text(self) -> str:
        return key_text(self.key)


@dataclass(frozen=True)
class KeyRange:
    """A frozen range of keys: ``low`` is exclusive, ``high`` inclusive, None is open."""

    low: Key | None
    high: Key | None
    rows: int


class PostgresSource:
    """Reads one table by key; the caller owns the connection."""

    def __init__(self, connection: psycopg.Connection[Any], settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._table = sql.Identifier(*settings.table.split("."))
        self._types: dict[str, str] = {}

    def problems(self) -> list[str]:
        """Return everything that is wrong with the table or its columns, each with a remedy."""
        where = self._settings.table
        found = self._connection.execute(statement("source", "columns_of"), {"table": where})
        self._types = {name: kind for name, kind, _ in found.fetchall()}
        if not self._types:
            return [f"the source has no table {where!r}: name an existing table in corpus.source"]
        wanted = [*self._settings.key, *self._settings.text]
        if self._settings.acl:
            wanted.append(self._settings.acl)
        missing = [c for c in dict.fromkeys(wanted) if c not in self._types]
        problems = [
            f"table {where!r} has no column {c!r}; it has: {', '.join(self._types)}"
            for c in missing
        ]
        acl = self._settings.acl
        if acl and acl in self._types and self._types[acl] != "text[]":
            problems.append(f"column {acl!r} is {self._types[acl]}, acl needs text[]")
        if not missing:
            repeated = self._connection.execute(
                sql.SQL(
                    "SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {key}"
                    " HAVING count(*) > 1 LIMIT 1) AS r"
                ).format(table=self._table, key=self._key_columns())
            ).fetchone()
            if repeated and repeated[0]:
                problems.append(
                    f"the key {self._settings.key} of {where!r} is not unique: add columns"
                )
        return problems

    def count(self) -> int:
        """Return the number of rows now."""
        row = self._connection.execute(
            sql.SQL("SELECT count(*) FROM {}").format(self._table)
        ).fetchone()
        return int(row[0]) if row else 0

    def freeze(self, rows_per_shard: int) -> list[KeyRange]:
        """Return key ranges of at most ``rows_per_shard`` rows that cover every possible key."""
        query = sql.SQL(
            "SELECT key, total FROM (SELECT jsonb_build_array({key}) AS key,"
            " row_number() OVER (ORDER BY {key}) AS number, count(*) OVER () AS total"
            " FROM {table}) AS numbered WHERE number %% %(size)s = 0 OR number = total"
            " ORDER BY number"
        ).format(key=self._key_columns(), table=self._table)
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            rows = self._connection.execute(query, {"size": rows_per_shard}).fetchall()
        total = int(rows[0][1]) if rows else 0
        shards, low, left = [], None, total
        for number, (key, _) in enumerate(rows, 1):
            size = min(rows_per_shard, left)
            high = None if number == len(rows) else key  # open at the top: late rows belong here
            shards.append(KeyRange(low, high, size))
            low, left = key, left - size
        return shards

    def read(
        self, low: Key | None, high: Key | None, batch_rows: int
    ) -> Iterator[Sequence[SourceRow]]:
        """Yield batches of rows with low < key <= high, in key order, paging by key."""
        while True:
            batch = self._read_batch(low, high, batch_rows)
            if not batch:
                return
            yield batch
            low = batch[-1].key

    def _read_batch(self, low: Key | None, high: Key | None, limit: int) -> list[SourceRow]:
        conditions, values = [], []
        for operator, key in ((">", low), ("<=", high)):
            if key is not None:
                conditions.append(
                    sql.SQL("({columns}) {operator} ({places})").format(
                        columns=self._key_columns(),
                        operator=sql.SQL(operator),
                        places=self._typed_places(),
                    )
                )
                values += [str(part) for part in key]
        query = sql.SQL(
            "SELECT jsonb_build_array({key}), {acl}, {text} FROM {table} {where}"
            " ORDER BY {key} LIMIT {limit}"
        ).format(
            key=self._key_columns(),
            acl=sql.Identifier(self._settings.acl) if self._settings.acl else sql.SQL("NULL"),
            text=sql.SQL(", ").join(sql.Identifier(c) for c in self._settings.text),
            table=self._table,
            where=sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions))
            if conditions
            else sql.SQL(""),
            limit=sql.Literal(limit),
        )
        return [
            SourceRow(
                key=key,
                title=texts[0] or "" if len(texts) > 1 else "",
                text="\n".join(t for t in texts if t),
                acl=list(acl) if acl is not None else [EVERYBODY],
            )
            for key, acl, *texts in self._connection.execute(query, values).fetchall()
        ]

    def _key_columns(self) -> sql.Composable:
        return sql.SQL(", ").join(sql.Identifier(c) for c in self._settings.key)

    def _typed_places(self) -> sql.Composable:
        if not self._types:
            self.problems()
        return sql.SQL(", ").join(
            sql.SQL("%s::{}").format(sql.SQL(self._types[c])) for c in self._settings.key
        )
