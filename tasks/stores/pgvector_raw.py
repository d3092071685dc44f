"""Copy chunks and vectors from one pgvector table into another without unpacking them.

The source writes each row in binary COPY format, digest and all, and the target reads the same
bytes. Only what has to be known here is looked at: the last key of a batch, and the rows that
cannot be copied, which the source marks by a vector of NULL and a reason in place of the title.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from psycopg import sql

from qafila.core.admission import Limits
from qafila.core.corpus import EVERYBODY
from qafila.core.corpus import PgvectorSource as Settings
from qafila.sql import statement
from tasks.sources.port import Key
from tasks.sources.relation import Column, Relation
from tasks.stores.pgvector_copy import COLUMNS, HEADER, TRAILER, VectorType

_PIECE_BYTES = 192 * 1024  # what is gathered before it is sent on
_NO_VECTOR = b"\xff\xff\xff\xff"  # the length word of NULL
_INTEGERS = ("smallint", "integer", "bigint")
_int4 = struct.Struct(">i").unpack_from


@dataclass(frozen=True)
class Rejected:
    """A row of the source that cannot be copied, and why."""

    source_key: str
    number: int
    reason: str


@dataclass
class Passed:
    """What went through one batch; filled while it runs."""

    rows: int = 0
    chunks: int = 0
    last_key: Key | None = None
    rejected: list[Rejected] | None = None


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

    def stream(
        self, low: Key | None, high: Key | None, batch_rows: int, passed: Passed
    ) -> Iterator[bytes]:
        """Yield one batch with low < key <= high as a COPY stream, and say what was in it.

        Rows of one key stay together, so there may be a few more than ``batch_rows``.
        """
        query = sql.SQL(statement("pgvector", "copy_out")).format(
            **self._parts, where=self._between(low, high), limit=sql.Literal(batch_rows)
        )
        passed.rejected = []
        yield HEADER
        last: bytes | None = None
        with self._connection.cursor().copy(query) as copy:
            gathered: list[bytes] = []
            size = 0
            for data in copy:
                row = bytes(data)
                if row.startswith(HEADER):
                    row = row[len(HEADER) :]
                if len(row) <= len(TRAILER):
                    continue
                last = row
                passed.rows += 1
                if row[2:6] == _NO_VECTOR:
                    passed.rejected.append(_rejected(row))
                    continue
                gathered.append(row)
                size += len(row)
                if size > _PIECE_BYTES:
                    passed.chunks += len(gathered)
                    yield b"".join(gathered)
                    gathered, size = [], 0
            passed.chunks += len(gathered)
            yield b"".join(gathered)
        if last is not None:
            passed.last_key = self._key_of(last)
        yield TRAILER

    def _key_of(self, row: bytes) -> Key:
        fields = _fields(row)
        key, number = _text(fields["source_key"]), fields["chunk_number"]
        if self._numbered:
            assert number is not None
            return [key, str(_int4(number)[0])]
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
        return {
            "rows": self._relation.rows,
            "key": self._relation.key_columns,
            "source_key": source_key,
            "number": number,
            "start": start,
            "end": end,
            "text": sql.SQL("{}::text").format(_column(settings.text)),
            "title": _or_null(settings.title, "text"),
            "acl": self._groups(),
            "everybody": sql.Literal([EVERYBODY]),
            "metadata": self._metadata(),
            "embedding": _column(settings.embedding),
            "type": sql.Identifier(vector_type),
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

    def _metadata(self) -> sql.Composable:
        """Return all metadata as one object; a single column that is one already stays as it is."""
        pairs = [
            sql.SQL("{}, {}").format(sql.Literal(c), _column(c)) for c in self._settings.metadata
        ]
        built = sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))
        if len(pairs) != 1:
            return built
        return sql.SQL(
            "CASE WHEN jsonb_typeof(to_jsonb({one})) = 'object' THEN to_jsonb({one}) ELSE {all} END"
        ).format(one=_column(self._settings.metadata[0]), all=built)

    def _type(self, column: str) -> str:
        found: Column | None = self._columns.get(column)
        return "" if found is None else found.type


def _column(name: str) -> sql.Identifier:
    return sql.Identifier("asked", name)


def _or_null(name: str | None, kind: Literal["text", "text[]"]) -> sql.Composable:
    value: sql.Composable = sql.SQL("NULL") if name is None else _column(name)
    return sql.SQL("{}::{}").format(value, sql.SQL(kind))


def _rejected(row: bytes) -> Rejected:
    fields = _fields(row)
    number = fields["chunk_number"]
    return Rejected(
        _text(fields["source_key"]), 0 if number is None else _int4(number)[0],
        _text(fields["title"]),
    )  # fmt: skip


def _fields(row: bytes) -> dict[str, bytes | None]:
    at, values = 2, list[bytes | None]()
    for _ in COLUMNS:
        (length,) = _int4(row, at)
        at += 4
        values.append(None if length < 0 else row[at : at + length])
        at += max(0, length)
    return dict(zip(COLUMNS, values, strict=True))


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode()
