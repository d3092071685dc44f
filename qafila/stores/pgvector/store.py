"""pgvector: one table a generation, rows and checkpoint in one transaction, HNSW after the load."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql

from qafila.errors import BackfillHalted
from qafila.search.table import drop_lexeme_shares, generation_table, write_lexeme_shares
from qafila.sources.port import Key
from qafila.sources.postgres_witness import TableWitness
from qafila.sql import apply_schema, statement
from qafila.stores.admission import limits_of
from qafila.stores.pgvector.copy import COLUMNS, Packer
from qafila.stores.pgvector.index import build_indexes
from qafila.stores.pgvector.marks import Marks
from qafila.stores.pgvector.owner import ownership_problems, take_ownership
from qafila.stores.pgvector.problems import installed_version, problems_of
from qafila.stores.pgvector.raw import SNAPSHOT_SECONDS, Passed, RawSource, Reading
from qafila.stores.pgvector.table_search import TableSearch
from qafila.stores.pointer_row import require_not_named
from qafila.stores.port import Checkpoint, Chunk, Place, Rejected, SyncMark, Vectors
from qafila.workload.corpus import PgvectorSource, PgvectorTarget


class PgvectorStore(TableWitness, TableSearch):
    """One generation in a pgvector table. The caller owns the connection; autocommit."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        place: Place,
        settings: PgvectorTarget | None = None,
    ) -> None:
        self._connection = connection
        self._place = place
        self._settings = settings or PgvectorTarget(kind="pgvector", block="unnamed")
        self._table = sql.Identifier("qafila", place.name)
        self._marks = Marks(connection, place)
        self._searchable = generation_table(
            place.name,
            full_text=self._settings.full_text,
            vector_type=self._settings.vector_type,
        )
        if installed_version(connection) is not None:
            register_vector(connection)

    def problems(self) -> list[str]:
        found = problems_of(self._connection, self._settings, self._place.dimensions)
        return found or ownership_problems(self._connection, self._place)

    def prepare(self) -> None:
        apply_schema(self._connection, "target")  # a target of the user's own has nothing of ours
        lexemes: sql.Composable = sql.SQL("")
        if self._settings.full_text != "none":
            lexemes = sql.SQL(statement("pgvector", "lexeme_column")).format(
                config=sql.Literal(self._settings.full_text)
            )
        storage = statement("pgvector", "inline_storage") if self._settings.inline_vectors else ""
        with self._connection.transaction():
            take_ownership(self._connection, self._place)
            self._run(
                "create_generation",
                type=sql.Identifier(self._settings.vector_type),
                dimensions=sql.Literal(self._place.dimensions),
                lexemes=lexemes,
                storage=sql.SQL(storage),
            )

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        with self._connection.transaction():
            take_ownership(self._connection, self._place)
            return self._marks.claim(shard, epoch)

    def write(self, chunks: Sequence[Chunk], vectors: Vectors, checkpoint: Checkpoint) -> None:
        with self._whole_batch():
            self._marks.move(checkpoint)
            self._copy(chunks, vectors)

    def copy_from(
        self,
        source: psycopg.Connection[Any],
        settings: PgvectorSource,
        high: Key | None,
        checkpoint: Checkpoint,
        batch_rows: int,
        set_aside: Callable[[Sequence[Rejected]], None],
        *,
        low: Key | None = None,
        on_batch: Callable[[Checkpoint], None] = lambda _: None,
    ) -> Checkpoint:
        """Copy bytes as they are; of a batch that was fenced off, nothing is kept."""
        place = self._place
        raw = RawSource(
            source,
            settings,
            fingerprint=place.fingerprint,
            generation=place.generation,
            vector_type=self._settings.vector_type,
            limits=limits_of(self._settings, place.dimensions),
        )
        mark = checkpoint
        while not mark.finished:
            with raw.reading(mark.last_key or low, high, batch_rows) as reading:
                begun = time.monotonic()
                while True:
                    mark = self._copy_batch(reading, mark, low, set_aside)
                    on_batch(mark)
                    if mark.finished or time.monotonic() - begun >= SNAPSHOT_SECONDS:
                        break
        return mark

    def _copy_batch(
        self,
        reading: Reading,
        mark: Checkpoint,
        low: Key | None,
        set_aside: Callable[[Sequence[Rejected]], None],
    ) -> Checkpoint:
        passed = Passed()
        with self._whole_batch():
            self._marks.lock(mark)
            self._send(reading.batch(passed))
            if passed.rejected:
                set_aside(passed.rejected)
            moved = passed.moved(mark, low)
            self._marks.move(moved)
        return moved

    @contextmanager
    def _whole_batch(self) -> Iterator[None]:
        """Run a batch in one transaction.

        Raises:
            BackfillHalted: the target's disk is full; nothing of the batch is kept.
        """
        try:
            with self._connection.transaction():
                yield
        except psycopg.errors.DiskFull as error:
            raise BackfillHalted(
                f"the target's disk is full: {str(error).splitlines()[0]}.",
                kept="everything up to the last checkpoint.",
                remedy="make room on the disk of the target, then run the backfill again.",
            ) from error

    @cached_property
    def _packer(self) -> Packer:
        place = self._place
        return Packer(
            place.dimensions, place.fingerprint, place.generation, self._settings.vector_type
        )

    def _copy(self, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        if chunks:
            self._send(self._packer.pieces(chunks, vectors))

    @cached_property
    def _copy_in(self) -> bytes:
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        return self._statement("copy_chunks", columns=columns).as_bytes(self._connection)

    def _send(self, pieces: Iterable[bytes]) -> None:
        with self._connection.cursor().copy(self._copy_in) as to:
            for piece in pieces:
                to.write(piece)

    def claim_sync(self, epoch: int) -> SyncMark:
        with self._connection.transaction():
            take_ownership(self._connection, self._place)
            return self._marks.claim_sync(epoch)

    def replace(
        self, source_keys: Sequence[str], chunks: Sequence[Chunk], vectors: Vectors, mark: SyncMark
    ) -> None:
        with self._whole_batch():
            self._marks.move_sync(mark)
            self._connection.execute(
                self._statement("delete_documents"), {"keys": list(source_keys)}
            )
            self._copy(chunks, vectors)

    def build_index(self) -> None:
        """Build the unique key, the full-text index and HNSW with memory that holds the graph.

        Raises:
            BackfillHalted: the graph did not fit, or the build was ended; names what to do.
        """
        with self._connection.transaction():
            take_ownership(self._connection, self._place)
        build_indexes(
            self._connection,
            self._place.name,
            self._settings,
            rows=self.count(),
            dimensions=self._place.dimensions,
        )
        self._connection.execute(sql.SQL("ANALYZE {}").format(self._table))
        if self._settings.full_text != "none":
            write_lexeme_shares(self._connection, self._searchable)

    def removal(self) -> list[str]:
        if not self._is_there():
            return []
        shares = sql.SQL(statement("search", "drop_lexeme_shares"))
        drops = (self._statement("drop_generation"), shares.format(**self._searchable.parts()))
        return [drop.as_string() for drop in drops]

    def drop(self) -> None:
        """Drop the table with its marks. Cannot be undone.

        The table is locked first, which may take long, and then the pointer row, so that a rollback
        never waits for a reader of this table.

        Raises:
            Refused: the pointer row names the generation, or it is another ledger's.
        """
        with self._connection.transaction():
            if self._is_there():
                self._run("lock_generation")
            take_ownership(self._connection, self._place)
            require_not_named(self._connection, self._place.workload, self._place.generation)
            self._run("drop_generation")
            drop_lexeme_shares(self._connection, self._searchable)
            self._marks.forget()

    def _is_there(self) -> bool:
        known = {"name": self._table.as_string()}
        found = self._connection.execute(statement("pgvector", "find_table"), known).fetchone()
        return found is not None

    def _statement(self, name: str, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(statement("pgvector", name)).format(table=self._table, **parts)

    def _run(self, name: str, **parts: sql.Composable) -> psycopg.Cursor[Any]:
        return self._connection.execute(self._statement(name, **parts))
