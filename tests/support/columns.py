"""An application's table with a vector column of its own, and stores that fill one beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from qafila.stores.brief_lock import Patience
from qafila.stores.column.store import ColumnStore
from qafila.stores.column.table import AppTable
from qafila.stores.port import Checkpoint, Chunk, Place, SyncMark, Vectors
from qafila.workload.corpus import ColumnLayout, PgvectorTarget

LAYOUT = ColumnLayout(table="item", key=["id"], column="embedding")
TARGET = PgvectorTarget(kind="pgvector", block="unnamed", column=LAYOUT)
ITEM = AppTable(("body",), acl="readers")
HASTY = Patience(wait_ms=20, total_seconds=1.5, pause_seconds=(0.02, 0.05))


def make_item_table(connection: psycopg.Connection[Any], dimensions: int = 4) -> None:
    """Create the application's table, empty, with its own vector column."""
    connection.execute(
        f"CREATE TABLE item (id text PRIMARY KEY, body text NOT NULL, readers text[],"
        f" embedding vector({dimensions}))"
    )


class ColumnBehindApplication(ColumnStore):
    """The column store, where the application writes each row just before we see it."""

    def __init__(self, connection: psycopg.Connection[Any], place: Place) -> None:
        super().__init__(connection, place, TARGET, ITEM, patience=HASTY)
        self._database = connection

    def write(self, chunks: Sequence[Chunk], vectors: Vectors, checkpoint: Checkpoint) -> None:
        self._application_writes(chunks)
        super().write(chunks, vectors, checkpoint)

    def replace(
        self, source_keys: Sequence[str], chunks: Sequence[Chunk], vectors: Vectors, mark: SyncMark
    ) -> None:
        self._database.execute("DELETE FROM item WHERE id = ANY(%s)", [list(source_keys)])
        self._application_writes(chunks)
        super().replace(source_keys, chunks, vectors, mark)

    def _application_writes(self, chunks: Sequence[Chunk]) -> None:
        with self._database.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO item (id, body, readers) VALUES (%s, %s, %s)"
                " ON CONFLICT (id) DO UPDATE SET body = excluded.body, readers = excluded.readers",
                [(c.source_key, c.text, list(c.acl) or None) for c in chunks],  # NULL: nobody
            )
