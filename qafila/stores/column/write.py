"""Vectors into the rows they were made of, while the application writes these rows too."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import psycopg

from qafila.connections.local_settings import set_local
from qafila.errors import BackfillHalted, Refused
from qafila.sql import statement
from qafila.stores.column.held import ColumnHeld
from qafila.stores.column.swap import HeldColumn
from qafila.stores.pgvector.marks import Marks
from qafila.stores.port import Checkpoint, Chunk, SyncMark, Vectors

_ROW_WAIT_MS = 400  # below deadlock_timeout: in a deadlock it is we who step back
_ROW_TRIES = 20
_WHILE_WRITING = {
    "qafila.own_write": "on",  # the outbox of live sync is for the application's writes
    "lock_timeout": f"{_ROW_WAIT_MS}ms",
    # a batch is found by the key's index; a table that is scanned for each is never done
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}


class ColumnWriter(ColumnHeld):
    """The part of the column store that writes: short transactions that step back for others."""

    _marks: Marks

    def write(self, chunks: Sequence[Chunk], vectors: Vectors, checkpoint: Checkpoint) -> None:
        """Write a batch and its checkpoint; a row that changed meanwhile is left to its change."""

        def batch() -> None:
            if not checkpoint.finished:
                # Nobody waits for the disk. Rows and checkpoint are one transaction, so a server
                # that crashes loses both or neither, at most the batches of its last moments
                # (three times wal_writer_delay); the claim after it reads the older checkpoint
                # and they are written again. The ledger may have heard of them: it shows
                # progress, and nothing resumes from it. It calls a shard loaded only after its
                # last commit, which waits, and which all earlier ones precede in the log.
                set_local(self._connection, {"synchronous_commit": "off"})
            self._marks.move(checkpoint)
            if chunks:
                with self._column("ROW EXCLUSIVE") as held:
                    self._apply(held, chunks, vectors)

        self._stepping_back(batch)

    def replace(
        self, source_keys: Sequence[str], chunks: Sequence[Chunk], vectors: Vectors, mark: SyncMark
    ) -> None:
        """Give these rows the vectors of their text; a row without a chunk has none afterwards.

        A row that has changed again is left to that change, which is in the outbox behind this one.
        """
        empty = sorted(set(source_keys) - {c.source_key for c in chunks})

        def batch() -> None:
            self._marks.move_sync(mark)
            with self._column("ROW EXCLUSIVE") as held:
                if empty and not self._is_required(held):
                    arrays = self._words.arrays(empty)
                    self._connection.execute(self._statement("clear_rows", held), arrays)
                if chunks:
                    self._apply(held, chunks, vectors)

        self._stepping_back(batch)

    def _stepping_back(self, batch: Callable[[], None]) -> None:
        """Run a batch in a transaction; when a row is held for long, let go of all and try again.

        Raises:
            BackfillHalted: a row was held through all attempts.
        """
        for attempt in range(_ROW_TRIES):
            try:
                with self._connection.transaction():
                    set_local(self._connection, _WHILE_WRITING)
                    batch()
                return
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
                if attempt == _ROW_TRIES - 1:
                    raise BackfillHalted(
                        f"a row of {self._layout.table} was held by another transaction through "
                        f"{_ROW_TRIES} attempts.",
                        kept="everything up to the last checkpoint.",
                        remedy="end the transaction that is open for long "
                        "(pg_stat_activity.xact_start), then run again.",
                    ) from error
                time.sleep(random.uniform(0.05, 0.5))

    def _apply(self, held: HeldColumn, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        several = [c.source_key for c in chunks if c.number]
        if several:
            raise Refused(
                f"document {several[0]} has several chunks; a column holds one vector a row.",
                kept="everything up to the last checkpoint.",
                remedy="set corpus.chunking.method to whole, or use a generation table.",
            )
        self._connection.execute(self._statement("create_stage", held))
        key_columns = len(self._layout.key)
        with self._connection.cursor().copy(self._statement("copy_stage", held)) as copy:
            copy.set_types(["text"] * key_columns + ["bytea", self._settings.vector_type])
            for chunk, vector in zip(chunks, vectors, strict=True):
                key = self._words.parts(chunk.source_key)
                copy.write_row((*key, chunk.digest, self._as_value(vector)))
        self._connection.execute(self._statement("apply_stage", held))

    def _is_required(self, held: HeldColumn) -> bool:
        row = self._connection.execute(
            statement("column", "is_required"),
            {"schema": held.table_schema, "name": held.table_name, "column": held.held_as},
        ).fetchone()
        return row is not None and bool(row[0])
