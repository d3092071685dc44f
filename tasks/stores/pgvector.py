"""pgvector: one table a generation, rows and checkpoint in one transaction, HNSW after the load."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql

from qafila.core.admission import limits_of
from qafila.core.corpus import PgvectorSource, PgvectorTarget
from qafila.errors import BackfillHalted
from qafila.sql import statement
from tasks.search import drop_lexeme_shares, generation_table, write_lexeme_shares
from tasks.sources.port import Key
from tasks.stores.pgvector_copy import COLUMNS, Packer
from tasks.stores.pgvector_index import build_indexes
from tasks.stores.pgvector_marks import Marks
from tasks.stores.pgvector_raw import Passed, RawSource, Reading
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
from tasks.stores.pgvector_witness import TableWitness
from tasks.stores.port import (
    Checkpoint,
    Chunk,
    Effort,
    Hit,
    Holds,
    Place,
    Rejected,
    SyncMark,
    Vectors,
    Where,
)

OLDEST = (0, 8, 4)
MOST_DIMENSIONS = {"vector": 2000, "halfvec": 4000}  # of HNSW; a page must hold an element
MOST_STORED = 16_000
SNAPSHOT_SECONDS = 30.0  # a copy opens its source anew, so that vacuum there is not held up
_READABLE = sql.SQL("acl && %(groups)s")


class PgvectorStore(TableWitness):
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
        if self._version() is not None:
            register_vector(connection)

    def problems(self) -> list[str]:
        version = self._version()
        if version is None:
            return ["pgvector is not installed in the target: run CREATE EXTENSION vector there"]
        if tuple(int(p) for p in re.findall(r"\d+", version)[:3]) < OLDEST:
            return [
                f"pgvector {version} loses index entries under vacuum and parallel builds: "
                "update to 0.8.4 or newer, then run ALTER EXTENSION vector UPDATE in the target"
            ]
        return [*self._problems_of_settings(), *self._problems_of_full_text()]

    def _problems_of_settings(self) -> Iterator[str]:
        settings, dimensions = self._settings, self._place.dimensions
        kind = settings.vector_type
        if settings.index == "none":
            if dimensions > MOST_STORED:
                yield f"{kind} holds {MOST_STORED} dimensions, not {dimensions}"
            return
        if dimensions > MOST_DIMENSIONS[kind]:
            other = (
                "; halfvec takes 4000: set corpus.target.vector_type"
                if kind == "vector" and dimensions <= MOST_DIMENSIONS["halfvec"]
                else "; set corpus.target.index to none, or take shorter vectors"
            )
            most = MOST_DIMENSIONS[kind]
            yield f"HNSW on {kind} takes {most} dimensions, not {dimensions}{other}"
        if settings.ef_construction < 2 * settings.m:
            yield (
                f"ef_construction {settings.ef_construction} is less than twice m "
                f"({settings.m}), which pgvector refuses: raise it to {2 * settings.m}"
            )

    def _problems_of_full_text(self) -> Iterator[str]:
        wanted = self._settings.full_text
        known = self._connection.execute(
            "SELECT cfgname FROM pg_ts_config WHERE cfgname = %s", [wanted]
        ).fetchone()
        if wanted != "none" and known is None:
            yield (
                f"the target has no text search configuration {wanted!r}: "
                "set corpus.target.full_text to simple or none"
            )

    def prepare(self) -> None:
        lexemes: sql.Composable = sql.SQL("")
        if self._settings.full_text != "none":
            lexemes = sql.SQL(statement("pgvector", "lexeme_column")).format(
                config=sql.Literal(self._settings.full_text)
            )
        self._run(
            "create_generation",
            type=sql.Identifier(self._settings.vector_type),
            dimensions=sql.Literal(self._place.dimensions),
            lexemes=lexemes,
            storage=sql.SQL(
                statement("pgvector", "inline_storage") if self._settings.inline_vectors else ""
            ),
        )

    def claim(self, shard: int, epoch: int) -> Checkpoint:
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
            source, settings, fingerprint=place.fingerprint, generation=place.generation,
            vector_type=self._settings.vector_type,
            limits=limits_of(self._settings, place.dimensions),
        )  # fmt: skip
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
            moved = replace(
                mark,
                last_key=passed.last_key or mark.last_key or low,
                rows=mark.rows + passed.rows,
                chunks=mark.chunks + passed.chunks,
                finished=passed.finished,
            )
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
        build_indexes(
            self._connection, self._place.name, self._settings,
            rows=self.count(), dimensions=self._place.dimensions,
        )  # fmt: skip
        self._connection.execute(sql.SQL("ANALYZE {}").format(self._table))
        if self._settings.full_text != "none":
            write_lexeme_shares(self._connection, self._searchable)

    def count(self) -> int:
        row = self._run("count_chunks").fetchone()
        return int(row[0]) if row else 0

    def repeated(self) -> int:
        row = self._run("repeated_chunks").fetchone()
        return int(row[0]) if row else 0

    def digests(self, source_keys: Sequence[str]) -> Mapping[tuple[str, int], tuple[bytes, str]]:
        rows = self._connection.execute(
            self._statement("digests_of"), {"keys": list(source_keys)}
        ).fetchall()
        return {(key, number): (bytes(digest), mark) for key, number, digest, mark in rows}

    def scan(self, batch_rows: int) -> Iterator[tuple[list[Chunk], Vectors]]:
        after, number = "", -1
        while True:
            rows = self._connection.execute(
                self._statement("scan"), {"after": after, "number": number, "limit": batch_rows}
            ).fetchall()
            if not rows:
                return
            chunks = [Chunk(*row[:5], *row[5:9]) for row in rows]
            yield chunks, np.array([row[9].to_numpy() for row in rows], np.float32)
            after, number = chunks[-1].source_key, chunks[-1].number

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
        return not goes_by(self._plan(groups, where), self._held.usable())

    def index_problems(self) -> list[str]:
        if self._settings.index == "none":
            return []
        groups = most_frequent(self.readers())
        plan = self._plan(groups, None)
        scanned = not goes_by(plan, self._held.usable())
        rebuild = f"qafila run embedding-backfill {self._place.workload}"
        return list(self._held.problems(rebuild, plan, scanned))

    def values(self) -> Mapping[Holds, int]:
        return self._held.values(self.count())

    def matching(self, groups: Sequence[str], where: Where | None = None) -> int:
        query = sql.SQL(statement("index_state", "count_rows")).format(
            table=self._table, readable=_READABLE, where=_where(where)
        )
        row = self._connection.execute(
            query, {"groups": list(groups), **values_of(where)}
        ).fetchone()
        return int(row[0]) if row else 0

    def visible(self, source_keys: Sequence[str], groups: Sequence[str]) -> set[tuple[str, int]]:
        rows = self._connection.execute(
            self._statement("visible", readable=_READABLE),
            {"keys": list(source_keys), "groups": list(groups)},
        ).fetchall()
        return {(key, number) for key, number in rows}

    def removal(self) -> list[str]:
        known = {"name": self._table.as_string()}
        if self._connection.execute(statement("pgvector", "find_table"), known).fetchone() is None:
            return []
        shares = sql.SQL(statement("search", "drop_lexeme_shares"))
        drops = (self._statement("drop_generation"), shares.format(**self._searchable.parts()))
        return [drop.as_string() for drop in drops]

    def drop(self) -> None:
        with self._connection.transaction():
            self._run("drop_generation")
            drop_lexeme_shares(self._connection, self._searchable)
            self._marks.forget()

    @cached_property
    def _held(self) -> Held:
        return Held(self._connection, self._table, "embedding", sql.Identifier("metadata"))

    def _nearest(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None,
        settings: Mapping[str, str],
    ) -> list[Hit]:
        with self._connection.transaction():
            for name, value in settings.items():
                self._set_local(name, value)
            # planned anew each time: a prepared plan would outlive the settings of search_exact
            rows = self._connection.execute(
                *self._question(vector, k, groups, where), prepare=False
            ).fetchall()
        return [Hit(key, number, float(score)) for key, number, score in rows]

    def _plan(self, groups: Sequence[str], where: Where | None) -> list[Mapping[str, Any]]:
        some = np.full(self._place.dimensions, 0.5, np.float32)
        with self._connection.transaction():
            for name, value in by_index(self._settings, None).items():
                self._set_local(name, value)
            return explained(self._connection, *self._question(some, 10, groups, where))

    def _question(
        self, vector: Vectors, k: int, groups: Sequence[str], where: Where | None
    ) -> tuple[sql.Composed, dict[str, Any]]:
        query = self._statement(
            "nearest",
            type=sql.Identifier(self._settings.vector_type),
            readable=_READABLE,
            where=_where(where),
        )
        values = {"vector": Vector(vector), "k": k, "groups": list(groups), **values_of(where)}
        return query, values

    def _version(self) -> str | None:
        row = self._connection.execute(statement("pgvector", "extension_version")).fetchone()
        return None if row is None else str(row[0])

    def _set_local(self, setting: str, value: str) -> None:
        self._connection.execute("SELECT set_config(%s, %s, true)", [setting, value])

    def _statement(self, name: str, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(statement("pgvector", name)).format(table=self._table, **parts)

    def _run(self, name: str, **parts: sql.Composable) -> psycopg.Cursor[Any]:
        return self._connection.execute(self._statement(name, **parts))


def _where(where: Where | None) -> sql.Composable:
    return condition(where, sql.Identifier("source_key"), sql.Identifier("metadata"))
