"""A PostgreSQL table, view or query: a row is a document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import psycopg
from psycopg import errors, sql

from qafila.sources.blanks import is_blank_sql
from qafila.sources.json_objects import object_of
from qafila.sources.keys import relation_problems
from qafila.sources.port import Key, KeyRange, Semantics, SourceRow, Volume
from qafila.sources.postgres_witness import WitnessSql, readers_of, stream_witnesses, sum_witnesses
from qafila.sources.relation import Relation
from qafila.stores.row_sets import Sums, Witnesses
from qafila.workload.corpus import EVERYBODY
from qafila.workload.corpus import PostgresSource as Settings

_ARRAYS = ("text[]", "character varying[]", "name[]")
_MOST_DIGITS = 4_000  # of a whole number; Python reads 4 300 unless it is told otherwise
_TOO_DEEP: list[Any] = reduce(lambda inner, _: [inner], range(300), [])


class PostgresSource:
    """Reads one table or query by key; the caller owns the connection."""

    semantics = Semantics(
        order="the key's columns, compared by the database in its own collation",
        snapshot="boundaries are frozen in one repeatable-read transaction; each batch is read "
        "later, from a snapshot of its own",
        change="a row that changes before its batch is read arrives as it is then; one that "
        "changes afterwards is carried over by live sync, or found by the comparison at the end; "
        "a change of columns, types or sort order stops the load",
    )

    def __init__(self, connection: psycopg.Connection[Any], settings: Settings) -> None:
        self._settings = settings
        self._relation = Relation(
            connection, settings.key, table=settings.table, query=settings.query
        )

    def problems(self) -> list[str]:
        """Return everything that is wrong with the table or its columns, each with a remedy."""
        settings, relation = self._settings, self._relation
        problems = relation_problems(relation, self._used())
        return (
            problems + text_problems(relation, settings.text) + acl_problems(relation, settings.acl)
        )

    def shape(self) -> str:
        """Return a digest of the columns that are read, their types, and what sorts the key."""
        return self._relation.shape(self._used())

    def volume(self) -> Volume:
        """Count rows and bytes of text; estimate when that takes long."""
        return self._relation.volume(self._settings.text)

    def freeze(self, rows_per_shard: int) -> list[KeyRange]:
        """Return key ranges of at most ``rows_per_shard`` rows that cover every possible key."""
        return self._relation.freeze(rows_per_shard)

    def read(
        self, low: Key | None, high: Key | None, batch_rows: int
    ) -> Iterator[Sequence[SourceRow]]:
        """Yield batches of rows with low < key <= high, in key order, paging by key."""
        for batch in self._relation.read(self._select(), low, high, batch_rows):
            yield _rows(batch, self._written)

    def fetch(self, keys: Sequence[str]) -> list[SourceRow]:
        """Return the rows with these keys as they are now, in key order."""
        columns = len(self._settings.key)
        parts = [[k] if columns == 1 else json.loads(k) for k in keys]
        return _rows(self._relation.fetch(self._select(), parts, columns), self._written)

    def witnesses(self, batch_rows: int) -> Iterator[Witnesses] | None:
        """Yield every row as one chunk of its whole text, hashed by the server; in any order.

        None for a query, for several key columns, or where no index keeps the key unique: then
        rows have to be read, and are checked on the way.
        """
        where = self._witness_sql()
        if where is None:
            return None
        return stream_witnesses(self._relation.connection, batch_rows, where)

    def sums(self) -> Sums | None:
        """Let the server sum up the same rows by bucket of their key; None as ``witnesses``."""
        where = self._witness_sql()
        return None if where is None else sum_witnesses(self._relation.connection, where)

    def _witness_sql(self) -> WitnessSql | None:
        settings, relation = self._settings, self._relation
        columns = relation.columns()
        (key, *more) = settings.key
        if more or settings.table is None or key not in columns or columns[key].nullable:
            return None
        if not relation.unique():
            return None
        joined = sql.SQL("concat_ws(E'\\n', {})").format(
            sql.SQL(", ").join(
                sql.SQL("nullif({}::text, '')").format(sql.Identifier("asked", c))
                for c in settings.text
            )
        )
        return WitnessSql(
            rows=relation.rows,
            key=sql.SQL("{}::text").format(sql.Identifier("asked", key)),
            number=sql.SQL("0"),
            marked=sql.SQL("true"),
            digest=self._digest_of(joined),
        )

    def _digest_of(self, text: sql.Composable) -> sql.Composable:
        """Return the digest of a text, made once a row; one of blanks alone counts as empty."""
        return sql.SQL(
            "(SELECT sha256(convert_to(CASE WHEN {blank} THEN '' ELSE whole END, 'UTF8'))"
            " FROM (SELECT {text} AS whole OFFSET 0) AS joined)"
        ).format(blank=is_blank_sql(self._relation.connection, sql.Identifier("whole")), text=text)

    def readers(self) -> Mapping[str, int]:
        """Return how many rows each group may read; ``NOBODY`` stands for no group at all."""
        query = sql.SQL("SELECT {}, count(*) FROM {} GROUP BY 1").format(
            acl_of(self._settings.acl), self._relation.rows
        )
        return readers_of(self._relation.run(query).fetchall())

    def _used(self) -> list[str]:
        settings = self._settings
        return [*settings.text, *settings.metadata, *([settings.acl] if settings.acl else [])]

    @property
    def _written(self) -> list[str]:
        return written_in(self._relation, self._settings.metadata)

    def _select(self) -> sql.Composable:
        return sql.SQL("SELECT {key}, {acl}, {metadata}, {text}").format(
            key=self._relation.key_texts,
            acl=acl_of(self._settings.acl),
            metadata=metadata_of(self._settings.metadata, self._written),
            text=sql.SQL(", ").join(
                sql.SQL("{}::text").format(sql.Identifier(c)) for c in self._settings.text
            ),
        )


def text_problems(relation: Relation, columns: Sequence[str]) -> list[str]:
    """Return which of these columns hold bytes, whose text would be their hexadecimal digits."""
    return [
        f"text column {c!r} is bytea, which is no text: name a query or a view that decodes it, as "
        f"in convert_from({c}, 'UTF8') AS {c}"
        for c in columns
        if c in relation.known and relation.known[c].type == "bytea"
    ]


def acl_problems(relation: Relation, acl: str | None) -> list[str]:
    """Return what is wrong with the column that says who may read a row."""
    column = relation.known.get(acl or "")
    if column is None:
        return []
    if column.type.partition("(")[0].removesuffix("[]") + "[]" not in _ARRAYS or not (
        column.type.endswith("[]")
    ):
        return [f"column {acl!r} is {column.type}, acl needs text[]"]
    problems = []
    try:
        if column.nullable and relation.any_null(column.name):
            problems.append(
                f"column {acl!r} is NULL in some rows, which nobody could read: fill it, for "
                f"everybody with {{{EVERYBODY}}}"
            )
        if relation.any_row(sql.SQL("array_ndims({}) > 1").format(sql.Identifier(column.name))):
            problems.append(
                f"column {acl!r} holds arrays within an array in some rows: one list of names is "
                "needed"
            )
    except errors.InsufficientPrivilege:
        return []  # which was told of the whole table already
    return problems


def acl_of(column: str | None, *, of: str | None = None) -> sql.Composable:
    """Return the groups of a row; NULL is nobody, and without a column it is everybody.

    ``of`` is what the statement calls the table, where a name alone would not do.
    """
    if column is None:
        return sql.SQL("ARRAY[{}]::text[]").format(sql.Literal(EVERYBODY))
    return sql.SQL("coalesce(array_remove({}::text[], NULL), '{{}}')").format(
        sql.Identifier(*([of] if of else []), column)
    )


def written_in(relation: Relation, columns: Sequence[str]) -> list[str]:
    """Return the columns of type json: they hold what jsonb refuses a whole statement for.

    A NUL, half a character, numbers without bound: each sets its row aside, and no other.
    """
    known = relation.known or relation.columns()
    return [c for c in columns if c in known and known[c].type == "json"]


def metadata_of(columns: Sequence[str], written: Sequence[str] = ()) -> sql.Composable:
    """Return columns as the text of one JSON object, or NULL without any; ``written`` as texts."""
    if not columns:
        return sql.SQL("NULL::text")
    made = object_of(
        (c, sql.SQL("{}{}").format(sql.Identifier(c), sql.SQL("::text" if c in written else "")))
        for c in columns
    )
    return sql.SQL("{}::text").format(made)


def objects_of(texts: Sequence[str | None], written: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return what ``metadata_of`` gave for a batch; parsed at once, which costs a third."""
    if texts and texts[0] is None:
        return [{} for _ in texts]
    try:
        parsed: list[dict[str, Any]] = json.loads(f"[{','.join(t or '{}' for t in texts)}]")
    except (ValueError, RecursionError):  # one of them has what Python reads no further
        parsed = [_value_of(t or "{}") for t in texts]
    for column in written:
        for held in parsed:
            if held.get(column) is not None:
                held[column] = _value_of(held[column])
    return parsed


def _value_of(text: str) -> Any:
    """Return what a JSON text says, or, where Python gives up, what admission sets a row aside for.

    jsonb has whole numbers of 131 072 digits and nests by the thousand.
    """
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        return {"nested": _TOO_DEEP}


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)  # which is infinite


def _rows(rows: Sequence[tuple[Any, ...]], written: Sequence[str]) -> list[SourceRow]:
    objects = objects_of([row[2] for row in rows], written)
    return [
        SourceRow(
            key=key,
            title=texts[0] or "" if len(texts) > 1 else "",
            text="\n".join([t for t in texts if t]),
            acl=acl,
            metadata=metadata,
        )
        for (key, acl, _, *texts), metadata in zip(rows, objects, strict=True)
    ]
