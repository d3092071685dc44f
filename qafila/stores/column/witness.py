"""What a column of the application's own table says of its rows when it is compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from psycopg import sql

from qafila.sources.postgres_witness import matrix_of, objects_of, readers_of
from qafila.sql import statement
from qafila.stores.column.held import ColumnHeld
from qafila.stores.column.swap import HeldColumn
from qafila.stores.port import Chunk, Stored, Vectors
from qafila.stores.row_sets import Witnesses, digest_words
from qafila.workload.fingerprint import key_text


class ColumnWitness(ColumnHeld):
    """The part of the column store that comparisons ask; a row without a vector is not there.

    A row whose vector nobody knows the text of has no digest, and that differs from every text's.
    """

    def count(self) -> int:
        with self._reading() as held:
            row = self._connection.execute(self._statement("count_vectors", held)).fetchone()
        return int(row[0]) if row else 0

    def repeated(self) -> int:
        return 0  # the application's own unique key says so

    def digests(self, source_keys: Sequence[str]) -> Mapping[tuple[str, int], tuple[bytes, str]]:
        with self._reading() as held:
            rows = self._connection.execute(
                self._statement("digests_of", held), self._words.arrays(source_keys)
            ).fetchall()
        return {(key_text(key), 0): (bytes(d), self._place.fingerprint) for key, d in rows}

    def scan(self, batch_rows: int) -> Iterator[tuple[list[Chunk], Vectors]]:
        beyond: sql.Composable = sql.SQL("true")
        after: list[str] = []
        while True:
            with self._reading() as held:
                rows = self._connection.execute(
                    self._statement("scan", held, beyond=beyond, limit=sql.Literal(batch_rows)),
                    after or None,
                ).fetchall()
            if not rows:
                return
            yield (
                [
                    Chunk(
                        key_text(key),
                        0,
                        0,
                        len(text),
                        title or "",
                        text,
                        bytes(digest or b""),
                        acl,
                        metadata or {},
                    )
                    for key, title, text, digest, acl, metadata, _ in rows
                ],
                np.array([row[6].to_numpy() for row in rows], np.float32),
            )
            after = list(rows[-1][0])
            key = self._words.described.key_parts()
            beyond = sql.SQL("({}) > ({})").format(key["columns"], key["places"])

    def witnesses(self, batch_rows: int) -> Iterator[Witnesses]:
        """Yield rows in the order of the key, page by page: the lock is never held long."""
        beyond: sql.Composable = sql.SQL("true")
        after: list[str] = []
        while True:
            with self._reading() as held:
                rows = self._connection.execute(
                    self._asked(
                        "column_witnesses", held, beyond=beyond, limit=sql.Literal(batch_rows)
                    ),
                    after or None,
                ).fetchall()
            if not rows:
                return
            yield Witnesses(
                [key_text(key).encode() for key, _ in rows],
                np.zeros(len(rows), np.int64),
                np.ones(len(rows), np.bool_),
                digest_words([digest or b"" for _, digest in rows]),
            )
            after = list(rows[-1][0])
            key = self._words.described.key_parts()
            beyond = sql.SQL("({}) > ({})").format(key["columns"], key["places"])

    def readers(self) -> Mapping[str, int]:
        """Count the rows that have a vector; a row whose groups are NULL is nobody's."""
        with self._reading() as held:
            rows = self._connection.execute(self._asked("column_readers", held)).fetchall()
        return readers_of(rows)

    def stored(self, source_keys: Sequence[str]) -> Stored:
        """Find rows by the table's key; text, readers and metadata are the application's own."""
        with self._reading() as held:
            rows = self._connection.execute(
                self._asked("column_stored", held), self._words.arrays(source_keys), binary=True
            ).fetchall()
        objects = objects_of([row[5] for row in rows])
        return Stored(
            [
                Chunk(
                    key_text(key),
                    0,
                    0,
                    len(text),
                    title or "",
                    text,
                    bytes(digest or b""),
                    acl,
                    metadata,
                )
                for (key, title, text, digest, acl, _, _), metadata in zip(
                    rows, objects, strict=True
                )
            ],
            [self._place.fingerprint] * len(rows),
            matrix_of([row[6] for row in rows], self._place.dimensions),
        )

    def _asked(self, name: str, held: HeldColumn, **parts: sql.Composable) -> sql.Composed:
        return self._words.filled(statement("compare", name), held, **parts)
