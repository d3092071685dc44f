"""A PostgreSQL table, view or query, read in the order of its key.

Keys travel as text and are cast back to their column's type, so that no number or time loses
digits on the way, and the database alone compares them: its collation orders, and ours never does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import sql

from qafila.core.corpus import EVERYBODY
from qafila.core.corpus import PostgresSource as Settings
from qafila.sql import statement
from tasks.sources.port import Key, KeyRange, Semantics, SourceRow, Volume

COUNT_TIMEOUT_MS = 3_000  # past this a planner's estimate is good enough


class PostgresSource:
    """Reads one table or query by key; the caller owns the connection."""

    semantics = Semantics(
        order="the key's columns, compared by the database in its own collation",
        snapshot="boundaries are frozen in one repeatable-read transaction; each batch is read "
        "later, from a snapshot of its own",
        change="a row that changes before its batch is read arrives as it is then; one that "
        "changes afterwards is carried over by live sync, or found by the comparison at the end",
    )

    def __init__(self, connection: psycopg.Connection[Any], settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        if settings.table is not None:
            self._from: sql.Composable = sql.Identifier(*settings.table.split("."))
        else:
            self._from = sql.SQL("({}) AS asked").format(sql.SQL(settings.query))  # type: ignore[arg-type]
        self._types: dict[str, str] = {}

    def problems(self) -> list[str]:
        """Return everything that is wrong with the table or its columns, each with a remedy."""
        where = self._settings.name
        try:
            self._types = self._columns()
        except psycopg.Error as error:
            return [f"corpus.source.query cannot be run: {str(error).splitlines()[0]}"]
        if not self._types:
            return [f"the source has no table {where!r}: name an existing table in corpus.source"]
        wanted = [*self._settings.key, *self._settings.text, *self._settings.metadata]
        if self._settings.acl:
            wanted.append(self._settings.acl)
        missing = [c for c in dict.fromkeys(wanted) if c not in self._types]
        problems = [
            f"{where!r} has no column {c!r}; it has: {', '.join(self._types)}" for c in missing
        ]
        acl = self._settings.acl
        if acl and acl in self._types and self._types[acl] != "text[]":
            problems.append(f"column {acl!r} is {self._types[acl]}, acl needs text[]")
        return problems if missing else problems + self._key_problems()

    def _key_problems(self) -> list[str]:
        key, where = self._settings.key, self._settings.name
        unsortable = [
            f"key column {c!r} is {self._types[c]}, which has no order: name columns that have"
            for c, sortable in self._sortable(key).items()
            if not sortable
        ]
        if unsortable:
            return unsortable
        columns = self._key_columns()
        nulls = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(sql.Identifier(c)) for c in key)
        problems = []
        if self._connection.execute(
            sql.SQL("SELECT 1 FROM {} WHERE {} LIMIT 1").format(self._from, nulls)
        ).fetchone():
            problems.append(f"the key {key} of {where!r} is NULL in some row: name other columns")
        if self._connection.execute(
            sql.SQL("SELECT 1 FROM {} GROUP BY {} HAVING count(*) > 1 LIMIT 1").format(
                self._from, columns
            )
        ).fetchone():
            problems.append(f"the key {key} of {where!r} is not unique: add columns")
        return problems

    def shape(self) -> str:
        """Return a digest of the columns that are read and their types."""
        types = self._columns()
        used = [*self._settings.key, *self._settings.text, *self._settings.metadata]
        used += [self._settings.acl] if self._settings.acl else []
        told = json.dumps([(c, types.get(c)) for c in used])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def volume(self) -> Volume:
        """Count rows and bytes of text; estimate from statistics when that takes long."""
        size = sql.SQL(" + ").join(
            sql.SQL("coalesce(octet_length({}::text), 0)").format(sql.Identifier(c))
            for c in self._settings.text
        )
        counted = sql.SQL("SELECT count(*), coalesce(sum({}), 0) FROM {}").format(size, self._from)
        try:
            with self._connection.transaction():
                self._connection.execute(
                    sql.SQL("SET LOCAL statement_timeout = {}").format(
                        sql.Literal(COUNT_TIMEOUT_MS)
                    )
                )
                row = self._connection.execute(counted).fetchone()
            assert row is not None
            return Volume(int(row[0]), int(row[1]), "counted in the source")
        except psycopg.errors.QueryCanceled:
            guess = self._connection.execute(
                "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)",
                [self._settings.table or ""],
            ).fetchone()
            mean = self._connection.execute(
                sql.SQL("SELECT coalesce(avg({}), 0) FROM (SELECT * FROM {} LIMIT 1000) AS first")
                .format(size, self._from)
            ).fetchone()  # fmt: skip
            rows = 0 if guess is None else int(guess[0])
            each = 0.0 if mean is None else float(mean[0])
            return Volume(rows, int(rows * each), "estimated from the source's statistics")

    def freeze(self, rows_per_shard: int) -> list[KeyRange]:
        """Return key ranges of at most ``rows_per_shard`` rows that cover every possible key."""
        query = sql.SQL(
            "SELECT key, total FROM (SELECT {key} AS key,"
            " row_number() OVER (ORDER BY {columns}) AS number, count(*) OVER () AS total"
            " FROM {table}) AS numbered WHERE number %% %(size)s = 0 OR number = total"
            " ORDER BY number"
        ).format(key=self._key_texts(), columns=self._key_columns(), table=self._from)
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            rows = self._connection.execute(query, {"size": rows_per_shard}).fetchall()
        total = int(rows[0][1]) if rows else 0
        if not rows:  # an empty source is one shard, in which a late row belongs
            return [KeyRange(None, None, 0)]
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
            if len(batch) < batch_rows:
                return
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
        where = (
            sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions))
            if conditions
            else sql.SQL("")
        )
        query = sql.SQL("{select} {where} ORDER BY {key} LIMIT {limit}").format(
            select=self._select(), where=where, key=self._key_columns(), limit=sql.Literal(limit)
        )
        return self._rows(query, values)

    def fetch(self, keys: Sequence[str]) -> list[SourceRow]:
        """Return the rows with these keys as they are now, in key order."""
        columns = self._settings.key
        parts = [[k] if len(columns) == 1 else json.loads(k) for k in keys]
        arrays = [[str(part[n]) for part in parts] for n in range(len(columns))]
        types = self._types or self._columns()
        wanted = sql.SQL(", ").join(sql.SQL("%s::{}[]").format(sql.SQL(types[c])) for c in columns)
        query = sql.SQL(
            "{select} WHERE ({key}) IN (SELECT * FROM unnest({wanted})) ORDER BY {key}"
        ).format(select=self._select(), key=self._key_columns(), wanted=wanted)
        return self._rows(query, arrays)

    def _select(self) -> sql.Composable:
        settings = self._settings
        acl = sql.Identifier(settings.acl) if settings.acl else sql.SQL("NULL")
        metadata = sql.SQL(", ").join(
            sql.SQL("{}, {}").format(sql.Literal(c), sql.Identifier(c)) for c in settings.metadata
        )
        return sql.SQL("SELECT {key}, {acl}, {metadata}, {text} FROM {table}").format(
            key=self._key_texts(),
            acl=acl,
            metadata=sql.SQL("jsonb_build_object({})").format(metadata)
            if settings.metadata
            else sql.SQL("NULL"),
            text=sql.SQL(", ").join(sql.Identifier(c) for c in settings.text),
            table=self._from,
        )

    def _rows(self, query: sql.Composed, values: Sequence[Any]) -> list[SourceRow]:
        everybody = [EVERYBODY]
        rows = self._connection.execute(query, values or None, binary=True).fetchall()
        return [
            SourceRow(
                key=key,
                title=texts[0] or "" if len(texts) > 1 else "",
                text="\n".join([t for t in texts if t]),
                acl=acl if acl is not None else everybody,
                metadata=metadata or {},
            )
            for key, acl, metadata, *texts in rows
        ]

    def _columns(self) -> dict[str, str]:
        if self._settings.table is not None:
            found = self._connection.execute(
                statement("source", "columns_of"), {"table": self._settings.table}
            )
            return {name: kind for name, kind, _ in found.fetchall()}
        with self._connection.transaction():
            described = self._connection.execute(
                sql.SQL("SELECT * FROM {} LIMIT 0").format(self._from)
            ).description
            named = [(c.name, c.type_code) for c in described or ()]
            return {
                name: str(self._connection.execute("SELECT format_type(%s, NULL)", [oid])
                          .fetchone()[0])  # type: ignore[index]
                for name, oid in named
            }  # fmt: skip

    def _sortable(self, columns: Sequence[str]) -> dict[str, bool]:
        """Say of each column whether its type has a B-tree order."""
        return {
            c: self._connection.execute(
                statement("source", "has_order"), {"type": self._types[c]}
            ).fetchone()
            is not None
            for c in columns
        }

    def _key_columns(self) -> sql.Composable:
        return sql.SQL(", ").join(sql.Identifier(c) for c in self._settings.key)

    def _key_texts(self) -> sql.Composable:
        return sql.SQL("ARRAY[{}]").format(
            sql.SQL(", ").join(
                sql.SQL("{}::text").format(sql.Identifier(c)) for c in self._settings.key
            )
        )

    def _typed_places(self) -> sql.Composable:
        self._types = self._types or self._columns()
        return sql.SQL(", ").join(
            sql.SQL("%s::{}").format(sql.SQL(self._types[c])) for c in self._settings.key
        )
