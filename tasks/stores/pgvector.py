"""pgvector: one table a generation, rows and checkpoint in one transaction, HNSW after the load."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.types.json import Jsonb

from qafila.core.corpus import PgvectorTarget
from qafila.errors import BackfillHalted, Refused, StaleEpoch
from qafila.sql import statement
from tasks.search import drop_lexeme_shares, generation_table, write_lexeme_shares
from tasks.stores.port import Checkpoint, Chunk, Hit, Place, SyncMark, Vectors

OLDEST = (0, 8, 4)
_COPY_TYPES = ["text", "int4", "int4", "int4", "text", "text", "bytea", "text[]", "jsonb",
               "text", "int4", "vector"]  # fmt: skip


class PgvectorStore:
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
        self._key = {"workload": place.workload, "generation": place.generation}
        if self._version() is not None:
            register_vector(connection)

    def problems(self) -> list[str]:
        version = self._version()
        if version is None:
            return ["pgvector is not installed in the target: run CREATE EXTENSION vector there"]
        if tuple(int(p) for p in version.split(".")[:3]) < OLDEST:
            return [
                f"pgvector {version} loses index entries under vacuum and parallel builds: "
                "update to 0.8.4 or newer"
            ]
        if self._place.dimensions > 2000:
            return [f"HNSW on vector takes 2000 dimensions, not {self._place.dimensions}"]
        return []

    def prepare(self) -> None:
        self._run("create_generation", dimensions=sql.Literal(self._place.dimensions))

    def claim(self, shard: int, epoch: int) -> Checkpoint:
        values = {**self._key, "shard": shard, "epoch": epoch,
                  "fingerprint": self._place.fingerprint}  # fmt: skip
        row = self._connection.execute(statement("pgvector", "claim_shard"), values).fetchone()
        if row is None:
            held = self._connection.execute(
                statement("pgvector", "read_checkpoint"), values
            ).fetchone()
            assert held is not None
            if held[1] != self._place.fingerprint:
                raise Refused(
                    f"shard {shard} was begun with fingerprint {held[1]}, we would write "
                    f"{self._place.fingerprint}: two models would mix.",
                    kept="all rows as they are.",
                    remedy="open a new generation.",
                )
            raise StaleEpoch(f"shard {shard} is at epoch {held[0]}, we came with {epoch}.")
        return Checkpoint(shard, epoch, row[0], int(row[1]), int(row[2]), row[3])

    def write(self, chunks: Sequence[Chunk], vectors: Vectors, checkpoint: Checkpoint) -> None:
        with self._connection.transaction():
            moved = self._connection.execute(
                statement("pgvector", "move_checkpoint"),
                {**self._key, "shard": checkpoint.shard, "epoch": checkpoint.epoch,
                 "last_key": Jsonb(checkpoint.last_key), "rows": checkpoint.rows,
                 "chunks": checkpoint.chunks, "finished": checkpoint.finished},
            ).fetchone()  # fmt: skip
            if moved is None:
                raise StaleEpoch(f"shard {checkpoint.shard} was claimed by a newer epoch.")
            self._copy(chunks, vectors)

    def _copy(self, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        place = self._place
        if chunks:
            with self._connection.cursor().copy(self._statement("copy_chunks")) as copy:
                copy.set_types(_COPY_TYPES)
                for c, vector in zip(chunks, vectors, strict=True):
                    copy.write_row(
                        (c.source_key, c.number, c.start, c.end, c.title, c.text, c.digest,
                         list(c.acl), Jsonb(dict(c.metadata)), place.fingerprint,
                         place.generation, Vector(vector))
                    )  # fmt: skip

    def claim_sync(self, epoch: int) -> SyncMark:
        row = self._connection.execute(
            statement("pgvector", "claim_sync"), {**self._key, "epoch": epoch}
        ).fetchone()
        if row is None:
            raise StaleEpoch(f"live sync of {self._place.name} is past epoch {epoch}.")
        return SyncMark(epoch, row[0])

    def replace(
        self, source_keys: Sequence[str], chunks: Sequence[Chunk], vectors: Vectors, mark: SyncMark
    ) -> None:
        with self._connection.transaction():
            moved = self._connection.execute(
                statement("pgvector", "move_sync"),
                {**self._key, "epoch": mark.epoch, "position": mark.position},
            ).fetchone()
            if moved is None:
                raise StaleEpoch(f"live sync of {self._place.name} was claimed by a newer epoch.")
            self._connection.execute(
                self._statement("delete_documents"), {"keys": list(source_keys)}
            )
            self._copy(chunks, vectors)

    def build_index(self) -> None:
        """Build the unique key, the full-text index and HNSW with memory that holds the graph.

        Raises:
            BackfillHalted: the graph did not fit; names the setting to raise.
        """
        notices: list[str] = []

        def notice(diagnostic: psycopg.errors.Diagnostic) -> None:
            notices.append(diagnostic.message_primary or "")

        needed_mb = self._graph_mb()
        self._connection.add_notice_handler(notice)
        try:
            with self._connection.transaction():
                self._set_local("maintenance_work_mem", f"{needed_mb}MB")
                workers = max(0, min(2, (os.cpu_count() or 1) - 1))
                self._set_local("max_parallel_maintenance_workers", str(workers))
                self._run("unique_key", index=self._index_name("key"))
                self._run("lexeme_index", index=self._index_name("lexemes"))
                if self._settings.index == "hnsw":
                    self._run("vector_index", index=self._index_name("hnsw"))
        finally:
            self._connection.remove_notice_handler(notice)
        if any("no longer fits" in n for n in notices):
            raise BackfillHalted(
                f"the HNSW graph of {self._place.name} did not fit into {needed_mb} MB.",
                kept="all rows; the index is built, but slowly and worse than it should be.",
                remedy=f"raise the memory of the target above {2 * needed_mb} MB and run again.",
            )
        self._connection.execute(sql.SQL("ANALYZE {}").format(self._table))
        write_lexeme_shares(self._connection, generation_table(self._place.name))

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

    def search(self, vector: Vectors, k: int, groups: Sequence[str]) -> list[Hit]:
        with self._connection.transaction():
            self._set_local("hnsw.ef_search", str(self._settings.ef_search))
            self._set_local("hnsw.iterative_scan", "relaxed_order")
            return self._nearest(vector, k, groups)

    def search_exact(self, vector: Vectors, k: int, groups: Sequence[str]) -> list[Hit]:
        with self._connection.transaction():
            self._set_local("enable_indexscan", "off")
            return self._nearest(vector, k, groups)

    def drop(self) -> None:
        with self._connection.transaction():
            self._run("drop_generation")
            drop_lexeme_shares(self._connection, generation_table(self._place.name))
            self._connection.execute(statement("pgvector", "forget_checkpoints"), self._key)
            self._connection.execute(statement("pgvector", "forget_sync"), self._key)

    def _nearest(self, vector: Vectors, k: int, groups: Sequence[str]) -> list[Hit]:
        rows = self._connection.execute(
            self._statement("nearest"), {"vector": Vector(vector), "k": k, "groups": list(groups)}
        ).fetchall()
        return [Hit(key, number, float(score)) for key, number, score in rows]

    def _graph_mb(self) -> int:
        # pgvector, README "Index Build Time": vectors and neighbour lists in memory; about
        # 4·d bytes and 2·m·8 bytes a row, a third on top, and never less than 64 MB
        row_bytes = 4 * self._place.dimensions + 2 * 16 * 8 + 200
        return max(64, int(self.count() * row_bytes * 4 / 3 / 2**20) + 1)

    def _version(self) -> str | None:
        row = self._connection.execute(statement("pgvector", "extension_version")).fetchone()
        return None if row is None else str(row[0])

    def _index_name(self, what: str) -> sql.Identifier:
        return sql.Identifier(f"{self._place.name}_{what}")

    def _set_local(self, setting: str, value: str) -> None:
        self._connection.execute("SELECT set_config(%s, %s, true)", [setting, value])

    def _statement(self, name: str, **parts: sql.Composable) -> sql.Composed:
        return sql.SQL(statement("pgvector", name)).format(table=self._table, **parts)

    def _run(self, name: str, **parts: sql.Composable) -> psycopg.Cursor[Any]:
        return self._connection.execute(self._statement(name, **parts))
