"""Rows of a PostgreSQL table, view or query, paged through by key: what its sources share.

Keys travel as text and are cast back to their column's type, so that no number or time loses
digits on the way, and the database alone compares them: its collation orders, and ours never does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psycopg
from psycopg import errors, sql

from qafila.errors import BackfillHalted, BadInput
from qafila.sources.port import Key, KeyRange, Volume
from qafila.sql import statement

COUNT_TIMEOUT_MS = 3_000  # past this a planner's estimate is good enough
SAMPLE_TIMEOUT_MS = 30_000  # for the first rows, which an estimate is made of
Sql = sql.SQL | sql.Composed
_MISSHAPEN = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.DatatypeMismatch,
    errors.CannotCoerce,
    errors.WrongObjectType,
    errors.FeatureNotSupported,
)


@dataclass(frozen=True)
class Column:
    """A column as the database describes it; ``sorted_by`` is empty where nothing collates."""

    name: str
    type: str
    nullable: bool
    sorted_by: str
    deterministic: bool
    version_recorded: str | None
    version_now: str | None


class Relation:
    """A table, view or query with a key. The caller owns the connection; autocommit."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        key: Sequence[str],
        *,
        table: str | None = None,
        query: str | None = None,
    ) -> None:
        self._connection = self.connection = connection
        self._key = list(key)
        self._table = table
        self.name = table or "the query"
        if table is not None:
            self._quoted = sql.Identifier(*table.split(".")).as_string(connection)
            self.rows: sql.Composable = sql.SQL("{} AS asked").format(
                sql.Identifier(*table.split("."))
            )
        else:
            # every statement has parameters, so a percent sign must be doubled; a last comment of
            # the query must not swallow what follows
            asked = (query or "").strip().rstrip(";").replace("%", "%%")
            self.rows = sql.SQL("({}\n) AS asked").format(sql.SQL(asked))
        self._columns: dict[str, Column] = {}
        connection.execute(statement("source", "steady_session"))

    @property
    def key_columns(self) -> sql.Composable:
        """Return the key's columns, separated by commas.

        Qualified, since ORDER BY would take a column of the same name from the select list first,
        and there it may be a text.
        """
        return sql.SQL(", ").join(sql.Identifier("asked", c) for c in self._key)

    @property
    def key_texts(self) -> sql.Composable:
        """Return the key as an array of texts, as it travels."""
        return sql.SQL("ARRAY[{}]").format(
            sql.SQL(", ").join(
                sql.SQL("{}::text").format(sql.Identifier("asked", c)) for c in self._key
            )
        )

    @property
    def known(self) -> dict[str, Column]:
        """Return the columns as they were last looked at."""
        return self._columns

    @property
    def key(self) -> list[str]:
        """Return the names of the key's columns."""
        return self._key

    def unique(self) -> bool:
        """Say whether an index makes the key unique; the rows need not be looked at then."""
        if self._table is None:
            return False
        found = self._connection.execute(
            statement("source", "unique_index"), {"table": self._quoted, "key": self._key}
        )
        return found.fetchone() is not None  # the row has no columns, so it is falsy

    def encoding(self) -> str | None:
        """Return the encoding of the database."""
        return self._connection.info.parameter_status("server_encoding")

    def any_null(self, *columns: str) -> bool:
        """Say whether one of these columns is NULL in some row."""
        nulls = sql.SQL(" OR ").join(
            sql.SQL("{} IS NULL").format(sql.Identifier(c)) for c in columns
        )
        return self.any_row(nulls)

    def any_row(self, where: sql.Composable) -> bool:
        """Say whether a condition holds for some row."""
        asked = sql.SQL("SELECT 1 FROM {} WHERE {} LIMIT 1").format(self.rows, where)
        return self.run(asked).fetchone() is not None

    def columns(self) -> dict[str, Column]:
        """Return the columns as they are now; none when there is no such table."""
        if self._table is not None:
            described = self._connection.execute(
                statement("source", "describe_table"),
                {"table": self._quoted},
            )
            self._columns = {row[0]: Column(*row) for row in described.fetchall()}
        else:
            self._columns = self._columns_of_query()
        return self._columns

    def _columns_of_query(self) -> dict[str, Column]:
        cursor = self.run(sql.SQL("SELECT * FROM {} LIMIT 0").format(self.rows))
        assert cursor.pgresult is not None
        names = [c.name for c in cursor.description or ()]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise BadInput(
                "the query cannot be read:",
                [f"the query has two columns {n!r}: name them apart" for n in twice],
            )
        places = range(len(names))
        types = self._connection.execute(
            statement("source", "describe_types"),
            {
                "oids": [cursor.pgresult.ftype(n) for n in places],
                "typmods": [cursor.pgresult.fmod(n) for n in places],
            },
        ).fetchall()
        found = {}
        for name, (kind, collates) in zip(names, types, strict=True):
            order = (
                self._collation(name) if collates and name in self._key else ("", True, None, None)
            )
            found[name] = Column(name, kind, True, *order)
        return found

    def _collation(self, column: str) -> tuple[str, bool, str | None, str | None]:
        named = self.run(
            sql.SQL("SELECT pg_collation_for((SELECT {} FROM {} LIMIT 0))").format(
                sql.Identifier(column), self.rows
            )
        ).fetchone()
        described = (
            named
            and self._connection.execute(
                statement("source", "describe_collation"), {"collation": named[0]}
            ).fetchone()
        )
        return described or ("", True, None, None)

    def shape(self, used: Sequence[str]) -> str:
        """Return a digest of these columns and of the key's: types, and what sorts the key."""
        columns = self.columns()
        told: list[Any] = [(c, columns[c].type if c in columns else None) for c in used]
        for name in self._key:
            c = columns.get(name)
            told.append((name, c and c.type, c and c.sorted_by, c and c.version_now))
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def volume(self, text_columns: Sequence[str]) -> Volume:
        """Count rows and bytes of text; estimate when that takes long."""
        size = sql.SQL(" + ").join(
            sql.SQL("coalesce(octet_length({}::text), 0)").format(sql.Identifier(c))
            for c in text_columns
        )
        counting = sql.SQL("SELECT count(*), coalesce(sum({}), 0) FROM {}").format(size, self.rows)
        try:
            with self._reading(), self._looking(timeout_ms=COUNT_TIMEOUT_MS):
                row = self._connection.execute(counting, [], binary=True).fetchone()
            assert row is not None
            return Volume(int(row[0]), int(row[1]), "counted in the source")
        except errors.QueryCanceled:
            first = sql.SQL(
                "SELECT coalesce(avg({}), 0)::float8 FROM (SELECT * FROM {} LIMIT 1000) AS first"
            ).format(size, self.rows)
            planned = sql.SQL("EXPLAIN (FORMAT JSON) SELECT 1 FROM {}").format(self.rows)
            with self._reading(), self._looking(timeout_ms=SAMPLE_TIMEOUT_MS):
                plan = self._connection.execute(planned, [], binary=True).fetchone()
                mean = self._connection.execute(first, [], binary=True).fetchone()
            assert plan is not None
            assert mean is not None
            rows = int(plan[0][0]["Plan"]["Plan Rows"])
            return Volume(
                rows, int(rows * float(mean[0])), "estimated from the source's statistics"
            )

    def freeze(self, rows_per_shard: int) -> list[KeyRange]:
        """Return key ranges of at most ``rows_per_shard`` rows that cover every possible key."""
        every = sql.SQL(
            "SELECT {texts} FROM (SELECT {key}, row_number() OVER (ORDER BY {key}) AS qafila_number"
            " FROM {rows}) AS asked WHERE qafila_number %% %(size)s = 0 ORDER BY qafila_number"
        ).format(texts=self.key_texts, key=self.key_columns, rows=self.rows)
        with self._reading(), self._looking():
            counted = self._connection.execute(
                sql.SQL("SELECT count(*) FROM {}").format(self.rows), [], binary=True
            ).fetchone()
            ends = self._connection.execute(every, {"size": rows_per_shard}).fetchall()
        assert counted is not None
        return ranges_of([key for (key,) in ends], int(counted[0]), rows_per_shard)

    def read(
        self, select: sql.Composable, low: Key | None, high: Key | None, batch_rows: int
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield batches of what ``select`` asks for; its first column must be ``key_texts``.

        Raises:
            BackfillHalted: columns, types or the sort order changed meanwhile.
            BadInput: a key is NULL or there twice, which it was not when the plan was made.
        """
        before = self.columns()
        while True:
            batch = self._page(select, low, high, batch_rows)
            if self.columns() != before:
                raise self._misshapen("its columns are not what they were")
            if batch:
                _require_distinct(batch, self.name)
                yield batch
                low = batch[-1][0]
            if len(batch) < batch_rows:
                break
        nullable = [c for c in self._key if before[c].nullable]
        if high is None and nullable and self.any_null(*nullable):
            raise BadInput(
                f"a key of {self.name!r} is NULL now, so it belongs to no shard:",
                [f"some row has no {self._key}"],
                remedy="give it a key, then start the load again.",
            )

    def _page(
        self, select: sql.Composable, low: Key | None, high: Key | None, limit: int
    ) -> list[tuple[Any, ...]]:
        conditions: list[Sql] = []
        values: list[str] = []
        for operator, key in ((sql.SQL(">"), low), (sql.SQL("<="), high)):
            if key is not None:
                conditions.append(
                    sql.SQL("({}) {} ({})").format(self.key_columns, operator, self._places())
                )
                values += [str(part) for part in key]
        where = sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions or [sql.SQL("true")]))
        # ties belong to the page: a key that is there twice must not be cut in two
        query = sql.SQL(
            "{select} FROM {rows} {where} ORDER BY {key} FETCH FIRST {limit} ROWS WITH TIES"
        ).format(
            select=select,
            rows=self.rows,
            where=where,
            key=self.key_columns,
            limit=sql.Literal(limit),
        )
        with self._reading():
            return self.run(query, values).fetchall()

    def fetch(
        self, select: sql.Composable, keys: Sequence[Sequence[str]], columns: int
    ) -> list[tuple[Any, ...]]:
        """Return the rows whose first ``columns`` key columns have these texts, in key order."""
        known = self._columns or self.columns()
        names = [sql.Identifier(f"qafila_wanted_{n}") for n in range(columns)]
        matches = sql.SQL(" AND ").join(
            # by value for the index, by text since 1.0 and 1.00 are one number and two documents
            sql.SQL("{c} = {w}::{type} AND {c}::text = {w}").format(
                c=sql.Identifier("asked", c), w=name, type=sql.SQL(known[c].type)
            )
            for c, name in zip(self._key, names, strict=False)
        )
        query = sql.SQL(
            "{select} FROM {rows} JOIN (SELECT DISTINCT * FROM unnest({arrays}) AS asked ({names}))"
            " AS wanted ON {matches} ORDER BY {key}"
        ).format(
            select=select,
            rows=self.rows,
            matches=matches,
            key=self.key_columns,
            arrays=sql.SQL(", ").join([sql.SQL("%s::text[]")] * columns),
            names=sql.SQL(", ").join(names),
        )
        with self._reading():
            return self.run(query, [[k[n] for k in keys] for n in range(columns)]).fetchall()

    def run(self, query: Sql, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Run one statement; a query of the operator's can change nothing."""
        if self._table is not None:
            return self._connection.execute(query, values, binary=True)
        with self._connection.transaction(force_rollback=True):
            self._connection.execute("SET TRANSACTION READ ONLY")
            return self._connection.execute(query, values, binary=True)

    @contextmanager
    def _looking(self, *, timeout_ms: int | None = None) -> Iterator[None]:
        """Read from one snapshot, in a transaction that can write nothing and is rolled back.

        What a query of the operator sets goes with it. Statements in it must have parameters or a
        binary answer: without either, psycopg sends text that may hold several statements, and one
        of them could end the transaction.
        """
        with self._connection.transaction(force_rollback=True):
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if timeout_ms is not None:
                self._connection.execute(
                    "SELECT set_config('statement_timeout', %s, true)", [str(timeout_ms)]
                )
            yield

    def _places(self) -> sql.Composable:
        known = self._columns or self.columns()
        return sql.SQL(", ").join(
            sql.SQL("%s::{}").format(sql.SQL(known[c].type)) for c in self._key
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say of a statement that fails whether the columns changed, or a value is in its way."""
        before = self._columns or self.columns()
        try:
            yield
        except psycopg.DataError as error:
            if self.columns() != before:
                raise self._misshapen(first_line(error)) from error
            raise BackfillHalted(
                f"{self.name!r} cannot be read as corpus.source says: {first_line(error)}.",
                kept="everything up to the last checkpoint.",
                remedy="mend the rows that it is about, or let a query or a view leave them out, "
                "then start the load again.",
            ) from error
        except (errors.ReadOnlySqlTransaction, errors.SyntaxError) as error:
            raise BadInput(
                f"{self.name!r} cannot be read:",
                [f"{first_line(error)}: only one statement that reads is taken"],
                remedy="let corpus.source name a query that calls nothing that writes, then apply "
                "the workload. Nothing was changed.",
            ) from error
        except _MISSHAPEN as error:
            raise self._misshapen(first_line(error)) from error

    def _misshapen(self, why: str) -> BackfillHalted:
        return BackfillHalted(
            f"{self.name!r} changed its shape during the copy: {why}.",
            kept="everything up to the last checkpoint.",
            remedy="put the columns back and start the load again; or correct corpus.source, apply "
            "the workload and fill a new generation.",
        )


def ranges_of(ends: Sequence[Key], rows: int, rows_per_shard: int) -> list[KeyRange]:
    """Return the ranges between every ``rows_per_shard``-th key of ``rows`` rows.

    The last one is open at the top, and of an empty source the only one: late rows belong there.
    """
    if ends and len(ends) * rows_per_shard == rows:
        ends = ends[:-1]
    lows: list[Key | None] = [None, *ends]
    highs: list[Key | None] = [*ends, None]
    return [
        KeyRange(low, high, min(rows_per_shard, rows - n * rows_per_shard))
        for n, (low, high) in enumerate(zip(lows, highs, strict=True))
    ]


def _require_distinct(batch: Sequence[tuple[Any, ...]], name: str) -> None:
    repeated = [a[0] for a, b in pairwise(batch) if a[0] == b[0]]
    if repeated:
        raise BadInput(
            f"the key of {name!r} is not unique any more:",
            [f"{shown(k)} is there twice" for k in repeated[:20]],
            remedy="remove or rename the copies, then start the load again.",
        )


def shown(key: Key) -> str:
    return repr(key[0] if len(key) == 1 else key)


def first_line(error: psycopg.Error) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
