"""A generation as one more column of the application's own table, beside the one it searches in.

The rows are the application's: it inserts, changes and deletes them while we fill a column. So a
vector is only ever written into a row that still holds the text it was made of; the digest of that
text stands beside it. At cut-over the columns change names (qafila/stores/column/swap.py), so each
transaction here takes the table's lock first and then asks what its column is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector
from psycopg import sql

from qafila.sql import apply_schema
from qafila.stores.brief_lock import PATIENCE, Patience, change_briefly
from qafila.stores.column.adopt import adopt_column, sample_own
from qafila.stores.column.drop import drop_column, removal_of
from qafila.stores.column.index import build_hnsw
from qafila.stores.column.prepare import is_complete, make_columns
from qafila.stores.column.problems import problems_of
from qafila.stores.column.search import ColumnSearch
from qafila.stores.column.swap import column_of
from qafila.stores.column.table import AppTable, describe
from qafila.stores.column.witness import ColumnWitness
from qafila.stores.column.write import ColumnWriter
from qafila.stores.pgvector.marks import Marks
from qafila.stores.pgvector.owner import ownership_problems, take_ownership
from qafila.stores.pointer_row import require_not_named
from qafila.stores.port import Checkpoint, Place, SyncMark, Vectors
from qafila.workload.corpus import PgvectorTarget


class ColumnStore(ColumnWriter, ColumnSearch, ColumnWitness):
    """One generation in a column. The caller owns the connection; autocommit."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        place: Place,
        settings: PgvectorTarget,
        table: AppTable,
        *,
        patience: Patience = PATIENCE,
    ) -> None:
        assert settings.column is not None
        self._connection = connection
        self._place = place
        self._settings = settings
        self._layout = settings.column
        self._app = table
        self._patience = patience
        self._marks = Marks(connection, place)
        self._as_value: Callable[[Any], Any] = (
            HalfVector if settings.vector_type == "halfvec" else Vector
        )
        if connection.execute("SELECT to_regtype('vector')").fetchone() != (None,):
            register_vector(connection)

    def problems(self) -> list[str]:
        found = problems_of(self._connection, self._settings, self._app, self._place)
        return found or ownership_problems(self._connection, self._place)

    def prepare(self) -> None:
        """Add the column, nullable and empty, so that the application's rows need not name it.

        A generation that the pointer row names before there is any column of ours is adopted: it
        is what the application's column holds, and gets only a place for digests.

        Raises:
            Refused: the column was begun with another model, or something of the application has a
                name that Qafila needs.
            Unavailable: the table was never free for a moment; nothing was changed.
        """
        apply_schema(self._connection, "target")
        with self._owning():
            complete = is_complete(self._connection, self._words)
        if complete:
            return
        change_briefly(
            self._connection,
            self._words.described.table,
            lambda: make_columns(self._connection, self._words),
            what=f"adding column {self._words.own!r}",
            patience=self._patience,
        )

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """Return the caller's connection, where the pointer row is too."""
        return self._connection

    def sample_own(self, rows: int) -> tuple[list[str], Vectors]:
        """Return text and vector of the first rows of the column that the application searches."""
        return sample_own(self._connection, self._words, rows)

    def adopt(self) -> None:
        """Take the column that the application searches in as this generation. Idempotent."""
        apply_schema(self._connection, "target")
        with self._owning():
            pass
        adopt_column(self._connection, self._words, self._patience)

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        with self._owning():
            return self._marks.claim(shard, epoch)

    def claim_sync(self, epoch: int) -> SyncMark:
        with self._owning():
            return self._marks.claim_sync(epoch)

    def build_index(self) -> None:
        """Build HNSW on the live table, concurrently, after clearing what a broken build left.

        Raises:
            BackfillHalted: the graph did not fit; names the setting to raise.
        """
        with self._owning():
            held = self._held_column()
        if self._settings.index == "hnsw":
            build_hnsw(self._connection, self._words, held, self.count())
        self._connection.execute(
            sql.SQL("ANALYZE {} ({})").format(held.table, sql.Identifier(held.held_as))
        )

    @contextmanager
    def _owning(self) -> Iterator[None]:
        """Run the block in the transaction that makes sure of whose the generation is."""
        with self._connection.transaction():
            take_ownership(self._connection, self._place)
            yield

    def removal(self) -> list[str]:
        held = column_of(self._connection, self._place.workload, self._place.generation)
        if held is None or describe(self._connection, self._layout) is None:
            return []
        return [q.as_string() for q in removal_of(self._connection, self._words, held)]

    def drop(self) -> None:
        """Drop the column and its indexes. Cannot be undone.

        Raises:
            Refused: the application searches in it, the pointer row names it, or something is tied
                to it.
        """
        with self._owning():
            held = column_of(self._connection, self._place.workload, self._place.generation)
        if held is not None:
            drop_column(self._connection, self._words, held, self._patience)
        with self._owning():
            require_not_named(self._connection, self._place.workload, self._place.generation)
            self._marks.forget()
