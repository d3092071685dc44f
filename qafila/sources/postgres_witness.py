"""Rows out of PostgreSQL by what identifies them: a binary COPY stream that is not taken apart.

All but the key has a fixed length and stands before it, so a batch of rows is one array, and the
key of a row is what is left. One statement is one snapshot.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from qafila.sql import statement
from qafila.stores.pgvector.stream import rows_of
from qafila.stores.port import Chunk, Place, Stored, Vectors
from qafila.stores.row_sets import NOBODY, Sums, Witnesses

_HEAD = np.dtype(
    [
        ("fields", ">i2"),
        ("n_number", ">i4"),
        ("number", ">i4"),
        ("n_marked", ">i4"),
        ("marked", "u1"),
        ("n_digest", ">i4"),
        ("digest", "u8", (4,)),
        ("n_key", ">i4"),
    ]
)


@dataclass(frozen=True)
class WitnessSql:
    """Where rows are (FROM and WHERE), and the expressions for what identifies them."""

    rows: sql.Composable
    key: sql.Composable
    number: sql.Composable
    marked: sql.Composable
    digest: sql.Composable

    def parts(self) -> dict[str, sql.Composable]:
        """Return the pieces by the names of the gaps in our statements."""
        return dict(vars(self))


def sum_witnesses(connection: psycopg.Connection[Any], where: WitnessSql) -> Sums:
    """Let the server sum up all rows by bucket of their key; nothing of them travels."""
    query = sql.SQL(statement("compare", "sums")).format(**where.parts())
    return Sums.of(connection.execute(query).fetchall())


def stream_witnesses(
    connection: psycopg.Connection[Any], batch_rows: int, where: WitnessSql
) -> Iterator[Witnesses]:
    """Yield all rows in the server's own order.

    The connection is busy until the end, or until the iterator is closed.
    """
    query = sql.SQL(statement("compare", "witnesses")).format(**where.parts())
    size = _HEAD.itemsize
    with connection.cursor().copy(query) as copy:
        stream = rows_of(copy, connection)
        while batch := list(islice(stream, batch_rows)):
            heads = np.frombuffer(b"".join([row[:size] for row in batch]), _HEAD)
            yield Witnesses(
                [bytes(row[size:]) for row in batch],
                heads["number"].astype(np.int64),
                heads["marked"].astype(np.bool_),
                np.ascontiguousarray(heads["digest"]),
            )


class TableWitness:
    """What a generation table says of its rows when it is compared."""

    _connection: psycopg.Connection[Any]
    _place: Place
    _table: sql.Identifier

    def count(self) -> int:
        row = self._connection.execute(self._asked("count_chunks")).fetchone()
        return int(row[0]) if row else 0

    def repeated(self) -> int:
        row = self._connection.execute(self._asked("repeated_chunks")).fetchone()
        return int(row[0]) if row else 0

    def digests(self, source_keys: Sequence[str]) -> Mapping[tuple[str, int], tuple[bytes, str]]:
        rows = self._connection.execute(
            self._asked("digests_of"), {"keys": list(source_keys)}
        ).fetchall()
        return {(key, number): (bytes(digest), mark) for key, number, digest, mark in rows}

    def scan(self, batch_rows: int) -> Iterator[tuple[list[Chunk], Vectors]]:
        after, number = "", -1
        while True:
            rows = self._connection.execute(
                self._asked("scan"), {"after": after, "number": number, "limit": batch_rows}
            ).fetchall()
            if not rows:
                return
            chunks = [Chunk(*row[:5], *row[5:9]) for row in rows]
            yield chunks, np.array([row[9].to_numpy() for row in rows], np.float32)
            after, number = chunks[-1].source_key, chunks[-1].number

    def witnesses(self, batch_rows: int) -> Iterator[Witnesses]:
        """Yield every row in the order of the table, from one snapshot."""
        return stream_witnesses(self._connection, batch_rows, self._witness_sql)

    def sums(self) -> Sums:
        """Let the server sum up every row by bucket of its key."""
        return sum_witnesses(self._connection, self._witness_sql)

    def stop_sums(self) -> None:
        """Cancel the statement; where the server is gone, there is none."""
        with suppress(psycopg.Error):
            self._connection.cancel_safe()

    @property
    def _witness_sql(self) -> WitnessSql:
        return WitnessSql(
            rows=self._table,
            key=sql.Identifier("source_key"),
            number=sql.Identifier("chunk_number"),
            marked=sql.SQL("fingerprint = {}").format(sql.Literal(self._place.fingerprint)),
            digest=sql.Identifier("text_digest"),
        )

    def readers(self) -> Mapping[str, int]:
        """Count by list of groups in the server, and by group here."""
        query = sql.SQL(statement("compare", "readers")).format(table=self._table)
        return readers_of(self._connection.execute(query).fetchall())

    def stored(self, source_keys: Sequence[str]) -> Stored:
        """Find documents by the unique key."""
        rows = self._connection.execute(
            sql.SQL(statement("compare", "stored")).format(table=self._table),
            {"keys": list(source_keys)},
            binary=True,
        ).fetchall()
        objects = objects_of([row[8] for row in rows])
        return Stored(
            [
                Chunk(key, number, start, end, title, text, digest, acl, metadata)
                for (key, number, start, end, title, text, digest, acl, *_), metadata in zip(
                    rows, objects, strict=True
                )
            ],
            [row[9] for row in rows],
            matrix_of([row[10] for row in rows], self._place.dimensions),
        )

    def _asked(self, name: str) -> sql.Composed:
        return sql.SQL(statement("pgvector", name)).format(table=self._table)


def readers_of(counted: Sequence[tuple[Sequence[str], int]]) -> Mapping[str, int]:
    """Return chunks by group from chunks by list of groups; NOBODY where there is none."""
    by_group: Counter[str] = Counter()
    for groups, chunks in counted:
        for group in set(groups) or {NOBODY}:
            by_group[group] += chunks
    return by_group


def objects_of(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the JSON objects of a batch, parsed at once."""
    parsed: list[dict[str, Any]] = json.loads(f"[{','.join(texts)}]")
    return parsed


def matrix_of(sent: Sequence[bytes], dimensions: int) -> Vectors:
    """Return vectors of one length from their wire form; of none, of the length that is due."""
    if not sent:
        return np.zeros((0, dimensions), np.float32)
    raw = np.frombuffer(b"".join(sent), ">f4").reshape(len(sent), -1)
    return raw[:, 1:].astype(np.float32)
