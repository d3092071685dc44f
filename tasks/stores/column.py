"""A generation as one more column of the application's own table, beside the one it searches in.

The rows are the application's: it inserts, changes and deletes them while we fill a column. So a
vector is only ever written into a row that still holds the text it was made of; the digest of that
text stands beside it. At cut-over the columns change names (tasks/column_swap.py), so each
transaction here takes the table's lock first and then asks what its column is called.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import psycopg
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector
from psycopg import sql

from qafila.core.corpus import EVERYBODY, PgvectorTarget
from qafila.core.fingerprint import key_text
from qafila.errors import BackfillHalted, Refused
from qafila.sql import statement
from tasks.alias import read_alias
from tasks.brief_lock import PATIENCE, Patience, change_briefly
from tasks.column_swap import ORIGINAL, HeldColumn, column_of, list_columns
from tasks.stores.column_adopt import adopt_column, sample_own
from tasks.stores.column_drop import drop_column, removal_of
from tasks.stores.column_index import build_hnsw
from tasks.stores.column_problems import problems_of
from tasks.stores.column_table import AppTable, describe
from tasks.stores.column_witness import ColumnWitness
from tasks.stores.column_words import Words
from tasks.stores.pgvector_marks import Marks
from tasks.stores.pgvector_search import (
    EXACT,
    Held,
    by_index,
    condition,
    explained,
    goes_by,
    most_frequent,
    values_of,
)
from tasks.stores.port import (
    Checkpoint,
    Chunk,
    Effort,
    Hit,
    Holds,
    Place,
    SyncMark,
    Vectors,
    Where,
)

_ROW_WAIT_MS = 400  # below deadlock_timeout: in a deadlock it is we who step back
_ROW_TRIES = 20
_WHILE_WRITING = {
    "qafila.own_write": "on",  # the outbox of live sync is for the application's writes
    "lock_timeout": f"{_ROW_WAIT_MS}ms",
    # a batch is found by the key's index; a table that is scanned for each is never done
    "enable_hashjoin": "off", "enable_mergejoin": "off", "enable_seqscan": "off", "jit": "off",
}  # fmt: skip


class ColumnStore(ColumnWitness):
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

    @cached_property
    def _words(self) -> Words:
        found = describe(self._connection, self._layout)
        if found is None:
            raise Refused(f"there is no table {self._layout.table} in the target.")
        return Words(self._place, self._settings, self._app, found)

    def problems(self) -> list[str]:
        return problems_of(self._connection, self._settings, self._app, self._place)

    def prepare(self) -> None:
        """Add the column, nullable and empty, so that the application's rows need not name it.

        A generation that the pointer row names before there is any column of ours is adopted: it
        is what the application's column holds, and gets only a place for digests.
        """
        with self._connection.transaction():
            for generation, name, fingerprint in self._to_be_known():
                self._connection.execute(
                    statement("column", "put_column"),
                    {"workload": self._place.workload, "generation": generation,
                     "schema": self._words.described.schema, "name": self._words.described.name,
                     "column": self._layout.column, "held_as": name, "fingerprint": fingerprint},
                )  # fmt: skip
        held = self._held()
        there = describe(self._connection, self._layout)
        assert there is not None
        if {held.held_as, f"{self._words.own}_digest"} <= there.types.keys():
            return
        adopted = "add_digest" if held.held_as in there.types else "add_columns"
        change_briefly(
            self._connection, held.table,
            lambda: self._connection.execute(self._statement(adopted, held)),
            what=f"adding column {held.held_as!r}", patience=self._patience,
        )  # fmt: skip

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """Return the caller's connection, where the pointer row is too."""
        return self._connection

    def sample_own(self, rows: int) -> tuple[list[str], Vectors]:
        """Return text and vector of the first rows of the column that the application searches."""
        return sample_own(self._connection, self._words, rows)

    def adopt(self) -> None:
        """Take the column that the application searches in as this generation. Idempotent."""
        adopt_column(self._connection, self._words, self._patience)

    def _to_be_known(self) -> list[tuple[int, str, str | None]]:
        known = {c.generation: c for c in list_columns(self._connection, self._place.workload)}
        mine = known.get(self._place.generation)
        if mine is not None and mine.fingerprint not in (None, self._place.fingerprint):
            raise Refused(
                f"column {mine.held_as!r} was begun with fingerprint {mine.fingerprint}, we would "
                f"write {self._place.fingerprint}: two models would mix.",
                kept="all rows as they are.",
                remedy="open a new generation.",
            )
        alias = read_alias(self._connection, self._place.workload)
        serving = (alias.generation if alias else None) or ORIGINAL
        kind = f"{self._settings.vector_type}({self._place.dimensions})"
        adopted = (
            not known
            and serving == self._place.generation
            and self._words.described.types[self._layout.column] == kind
        )
        rows: list[tuple[int, str, str | None]] = []
        if not known and not adopted:
            rows.append((ORIGINAL, self._layout.column, None))
        name = self._layout.column if adopted else self._words.own
        if mine is not None:
            name = mine.held_as
        elif not adopted and name in self._words.described.types:
            raise Refused(
                f"table {self._layout.table} has a column {name!r} already, and it is not ours.",
                kept="the table.",
                remedy=f"rename it: Qafila keeps generation {self._place.generation} there.",
            )
        return [*rows, (self._place.generation, name, self._place.fingerprint)]

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        return self._marks.claim(shard, epoch)

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
                self._set_local({"synchronous_commit": "off"})
            self._marks.move(checkpoint)
            if chunks:
                with self._column("ROW EXCLUSIVE") as held:
                    self._apply(held, chunks, vectors)

        self._stepping_back(batch)

    def claim_sync(self, epoch: int) -> SyncMark:
        return self._marks.claim_sync(epoch)

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
                    self._set_local(_WHILE_WRITING)
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

    def build_index(self) -> None:
        """Build HNSW on the live table, concurrently, after clearing what a broken build left.

        Raises:
            BackfillHalted: the graph did not fit; names the setting to raise.
        """
        held = self._held()
        if self._settings.index == "hnsw":
            build_hnsw(self._connection, self._words, held, self.count())
        self._connection.execute(
            sql.SQL("ANALYZE {} ({})").format(held.table, sql.Identifier(held.held_as))
        )

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
                    Chunk(key_text(key), 0, 0, len(text), title or "", text,
                          bytes(digest or b""), [EVERYBODY] if acl is None else acl,
                          metadata or {})
                    for key, title, text, digest, acl, metadata, _ in rows
                ],
                np.array([row[6].to_numpy() for row in rows], np.float32),
            )  # fmt: skip
            after = list(rows[-1][0])
            key = self._words.described.key_parts()
            beyond = sql.SQL("({}) > ({})").format(key["columns"], key["places"])

    def search(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None = None,
        effort: Effort | None = None,
    ) -> list[Hit]:
        return self._nearest(vector, k, groups, where, by_index(self._settings, effort))

    def search_exact(
        self, vector: Vectors, k: int, groups: Sequence[str], where: Where | None = None
    ) -> list[Hit]:
        return self._nearest(vector, k, groups, where, EXACT)

    def scans(self, groups: Sequence[str], where: Where | None = None) -> bool:
        with self._reading() as held:
            return not goes_by(self._plan(held, groups, where), self._rows_of(held).usable())

    def index_problems(self) -> list[str]:
        if self._settings.index == "none":
            return []
        groups = most_frequent(self.readers())
        with self._reading() as held:
            plan, rows = self._plan(held, groups, None), self._rows_of(held)
            rebuild = f"qafila run embedding-backfill {self._place.workload}"
            return list(rows.problems(rebuild, plan, not goes_by(plan, rows.usable())))

    def values(self) -> Mapping[Holds, int]:
        rows = self.count()
        with self._reading() as held:
            return self._rows_of(held).values(rows)

    def matching(self, groups: Sequence[str], where: Where | None = None) -> int:
        with self._reading() as held:
            query = sql.SQL(statement("index_state", "count_rows")).format(
                table=held.table,
                readable=self._app.readable_sql,
                where=sql.SQL("{} AND {} IS NOT NULL").format(
                    self._where(where), sql.Identifier("t", held.held_as)
                ),
            )
            row = self._connection.execute(query, self._values(groups, where)).fetchone()
        return int(row[0]) if row else 0

    def visible(self, source_keys: Sequence[str], groups: Sequence[str]) -> set[tuple[str, int]]:
        named = {f"k{n}": part for n, part in enumerate(self._words.arrays(source_keys))}
        with self._reading() as held:
            rows = self._connection.execute(
                self._statement("visible", held), {**self._values(groups, None), **named}
            ).fetchall()
        return {(key_text(key), 0) for (key,) in rows}

    def _nearest(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None,
        settings: Mapping[str, str],
    ) -> list[Hit]:
        with self._reading() as held:
            self._set_local(settings)
            # planned anew each time: a prepared plan would outlive the settings of search_exact
            rows = self._connection.execute(
                self._statement("nearest", held, where=self._where(where)),
                {**self._values(groups, where), "vector": self._as_value(vector), "k": k},
                prepare=False,
            ).fetchall()
        return [Hit(key_text(key), 0, float(score)) for key, score in rows]

    def _plan(
        self, held: HeldColumn, groups: Sequence[str], where: Where | None
    ) -> list[Mapping[str, Any]]:
        some = self._as_value(np.full(self._place.dimensions, 0.5, np.float32))
        self._set_local(by_index(self._settings, None))
        return explained(
            self._connection,
            self._statement("nearest", held, where=self._where(where)),
            {**self._values(groups, where), "vector": some, "k": 10},
        )

    def _rows_of(self, held: HeldColumn) -> Held:
        return Held(self._connection, held.table, held.held_as, self._app.metadata_sql)

    def _where(self, where: Where | None) -> sql.Composable:
        key = sql.SQL("{}::text").format(self._words.described.key_parts()["key"])
        return condition(where, key, self._app.metadata_sql)

    @staticmethod
    def _values(groups: Sequence[str], where: Where | None) -> dict[str, Any]:
        return {"groups": list(groups), "everybody": EVERYBODY, **values_of(where)}

    def removal(self) -> list[str]:
        held = column_of(self._connection, self._place.workload, self._place.generation)
        if held is None or describe(self._connection, self._layout) is None:
            return []
        return [q.as_string() for q in removal_of(self._connection, self._words, held)]

    def drop(self) -> None:
        """Drop the column and its indexes. Cannot be undone.

        Raises:
            Refused: the application searches in it, or something is tied to it.
        """
        held = column_of(self._connection, self._place.workload, self._place.generation)
        if held is not None:
            drop_column(self._connection, self._words, held, self._patience)
        self._marks.forget()

    @contextmanager
    def _reading(self) -> Iterator[HeldColumn]:
        with self._connection.transaction(), self._column("ACCESS SHARE") as held:
            yield held

    @contextmanager
    def _column(self, lock: str) -> Iterator[HeldColumn]:
        """Take the table's lock, then ask for the column's name: it stays until the end."""
        self._connection.execute(
            sql.SQL("LOCK TABLE {} IN " + lock + " MODE").format(self._words.described.table)
        )
        yield self._held()

    def _held(self) -> HeldColumn:
        held = column_of(self._connection, self._place.workload, self._place.generation)
        if held is None:
            raise Refused(
                f"generation {self._place.generation} of {self._place.workload} has no column in "
                f"{self._layout.table}.",
                kept="the table.",
                remedy="it was dropped, or never prepared: run the backfill again.",
            )
        return held

    def _is_required(self, held: HeldColumn) -> bool:
        row = self._connection.execute(
            statement("column", "is_required"),
            {"schema": held.table_schema, "name": held.table_name, "column": held.held_as},
        ).fetchone()
        return row is not None and bool(row[0])

    def _set_local(self, settings: Mapping[str, str]) -> None:
        each = sql.SQL(", ").join(
            sql.SQL("set_config({}, {}, true)").format(sql.Literal(n), sql.Literal(v))
            for n, v in settings.items()
        )
        self._connection.execute(sql.SQL("SELECT {}").format(each))

    def _statement(self, name: str, held: HeldColumn, **parts: sql.Composable) -> sql.Composed:
        return self._words.statement(name, held, **parts)
