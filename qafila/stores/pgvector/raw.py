"""Copy chunks and vectors from one pgvector table into another without unpacking them.

The source writes each row in binary COPY format, digest and all, and the target reads the same
bytes (qafila/stores/pgvector/stream.py). Here is what the source is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import psycopg
from psycopg import sql

from qafila.sources.blanks import is_blank_sql
from qafila.sources.json_objects import object_of
from qafila.sources.port import Key
from qafila.sources.relation import Column, Relation
from qafila.sql import statement
from qafila.stores.admission import Limits
from qafila.stores.pgvector.copy import VectorType
from qafila.stores.pgvector.stream import (
    Passed,
    Reading,
    Row,
    Stopped,
    fields_of,
    int4_at,
    rows_of,
    text_of,
)
from qafila.workload.corpus import EVERYBODY
from qafila.workload.corpus import PgvectorSource as Settings

__all__ = ["Passed", "RawSource", "Reading"]

SNAPSHOT_SECONDS = 30.0  # a copy opens its source anew, so that vacuum there is not held up
_INTEGERS = ("smallint", "integer", "bigint")
_KNOWS_JSONB = 160_000  # since this version a server can be asked whether a text is of a type
_NUL = r"(^|[^\\])(\\\\)*\\u0000"  # as JSON escapes it: a backslash before it would be one itself
NO_JSONB = (
    "its metadata hold what jsonb cannot: a NUL character, half a surrogate pair or a number"
    " without bound"
)


class RawSource:
    """Reads an existing pgvector table as COPY streams; the caller owns the connection."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        settings: Settings,
        *,
        fingerprint: str,
        generation: int,
        vector_type: VectorType,
        limits: Limits,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._relation = Relation(connection, settings.key, table=settings.table)
        self._columns = self._relation.columns()
        self._numbered = len(settings.key) == 2 and self._type(settings.key[1]) in _INTEGERS
        self._parts = self._parts_of(fingerprint, generation, vector_type, limits)

    @contextmanager
    def reading(self, low: Key | None, high: Key | None, batch_rows: int) -> Iterator[Reading]:
        """Open a stream of all rows with low < key <= high, in key order, from one snapshot."""
        query = sql.SQL(statement("pgvector", "copy_out")).format(
            **self._parts, where=self._between(low, high)
        )
        with self._connection.transaction():
            # an index on the key gives the first rows at once; a sort would read all before
            self._connection.execute("SELECT set_config('enable_sort', 'off', true)")
            with self._connection.cursor().copy(query) as copy:
                rows = rows_of(copy, self._connection)
                reading = Reading(rows, self._key_of, batch_rows)
                try:
                    yield reading
                except BaseException:
                    reading.stop()
                    raise
                if not reading.stop():
                    copy.finish(Stopped())  # the server need not send the rest

    def _key_of(self, row: Row) -> Key:
        fields = fields_of(row)
        key, number = text_of(fields["source_key"]), fields["chunk_number"]
        if self._numbered:
            assert number is not None
            return [key, str(int4_at(number)[0])]
        return [key] if len(self._settings.key) == 1 else json.loads(key)

    def _between(self, low: Key | None, high: Key | None) -> sql.Composable:
        conditions: list[sql.SQL | sql.Composed] = [
            sql.SQL("({}) {} ({})").format(
                self._relation.key_columns, sql.SQL(operator), self._literals(key)
            )
            for operator, key in ((">", low), ("<=", high))
            if key is not None
        ]
        return sql.SQL(" AND ").join(conditions or [sql.SQL("true")])

    def _literals(self, key: Key) -> sql.Composable:
        return sql.SQL(", ").join(
            sql.SQL("{}::{}").format(sql.Literal(str(part)), sql.SQL(self._type(column)))
            for part, column in zip(key, self._settings.key, strict=True)
        )

    def _parts_of(
        self, fingerprint: str, generation: int, vector_type: VectorType, limits: Limits
    ) -> dict[str, sql.Composable]:
        settings = self._settings
        source_key, number = self._place()
        start, end = self._offsets()
        text = sql.SQL("{}::text").format(_column(settings.text))
        return {
            "rows": self._relation.rows,
            "key": self._relation.key_columns,
            "source_key": source_key,
            "number": number,
            "start": start,
            "end": end,
            "text": text,
            "no_text": is_blank_sql(self._connection, text),
            "title": _or_null(settings.title, "text"),
            "acl": self._groups(),
            "everybody": sql.Literal([EVERYBODY]),
            "metadata": self._metadata(),
            "no_jsonb": sql.Literal(NO_JSONB),
            "embedding": _column(settings.embedding),
            "type": sql.Identifier(vector_type),
            "digest": self._digest(),
            "dimensions": sql.Literal(limits.dimensions),
            "key_bytes": sql.Literal(limits.key_bytes),
            "fingerprint": sql.Literal(fingerprint),
            "generation": sql.Literal(generation),
        }

    def _place(self) -> tuple[sql.Composable, sql.Composable]:
        """Return what makes document and number of a chunk out of the key."""
        key = [sql.SQL("{}::text").format(_column(c)) for c in self._settings.key]
        if self._numbered:
            return key[0], _column(self._settings.key[1])
        if len(key) == 1:
            return key[0], sql.SQL("0")
        joined = sql.SQL(", ").join(key)
        return sql.SQL("to_jsonb(ARRAY[{}])::text").format(joined), sql.SQL("0")

    def _offsets(self) -> tuple[sql.Composable, sql.Composable]:
        """Return the chunk's place in its document: known in a table of ours, else the whole."""
        if all(self._type(c) in _INTEGERS for c in ("start_offset", "end_offset")):
            return _column("start_offset"), _column("end_offset")
        length = sql.SQL("char_length({}::text)").format(_column(self._settings.text))
        return sql.SQL("0"), length

    def _groups(self) -> sql.Composable:
        """Return the groups of a row: NULL in the column is nobody; only no column is everybody."""
        if self._settings.acl is None:
            return sql.SQL("NULL::text[]")
        return sql.SQL("coalesce(array_remove({}::text[], NULL), '{{}}')").format(
            _column(self._settings.acl)
        )

    def _digest(self) -> sql.Composable:
        """Return the digest of the text: made anew, but in a generation of ours it is there.

        The comparison at the end makes it anew from every text and finds one that is wrong.
        """
        ours = {"text_digest": "bytea", "fingerprint": "text", "generation": "integer"}
        if self._settings.text == "text" and all(self._type(c) == t for c, t in ours.items()):
            return _column("text_digest")
        made = sql.SQL("sha256(convert_to(coalesce({}::text, ''), 'UTF8'))")
        return made.format(_column(self._settings.text))

    def _metadata(self) -> sql.Composable:
        """Return all metadata as one object; a single column that is one already stays as it is.

        Of a row with json that jsonb cannot hold: NULL.
        """
        columns = self._settings.metadata
        built = object_of((c, _column(c)) for c in columns)
        written = [self._is_jsonb(_column(c)) for c in columns if self._type(c) == "json"]
        if len(columns) == 1:
            # a jsonb stays the bytes it is: to_jsonb would take it apart and build it again
            value = "{one}" if self._type(columns[0]) == "jsonb" else "to_jsonb({one})"
            kind = "json_typeof({one})" if written else f"jsonb_typeof({value})"
            built = sql.SQL(f"CASE WHEN {kind} = 'object' THEN {value} ELSE {{all}} END").format(
                one=_column(columns[0]), all=built
            )
        if not written:
            return built
        return sql.SQL("CASE WHEN {} THEN {} END").format(sql.SQL(" AND ").join(written), built)

    def _is_jsonb(self, column: sql.Composable) -> sql.Composable:
        """Return the condition that jsonb can hold what a column of type json has, or NULL."""
        if self._connection.info.server_version >= _KNOWS_JSONB:
            valid = sql.SQL("pg_input_is_valid({}::text, 'jsonb')").format(column)
        else:
            valid = sql.SQL("{}::text !~ {}").format(column, sql.Literal(_NUL))
        return sql.SQL("coalesce({}, true)").format(valid)

    def _type(self, column: str) -> str:
        found: Column | None = self._columns.get(column)
        return "" if found is None else found.type


def _column(name: str) -> sql.Identifier:
    return sql.Identifier("asked", name)


def _or_null(name: str | None, kind: Literal["text", "text[]"]) -> sql.Composable:
    value: sql.Composable = sql.SQL("NULL") if name is None else _column(name)
    return sql.SQL("{}::{}").format(value, sql.SQL(kind))
