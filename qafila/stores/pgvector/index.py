"""Build the indexes of a generation table after the load, with memory that holds the graph.

Each index is one transaction: what is built stays when a later one fails or the server is stopped,
and a second call builds only what is missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from qafila.connections.local_settings import end_with_us, set_local
from qafila.errors import BackfillHalted
from qafila.sql import statement
from qafila.stores.sizes import graph_memory_mb
from qafila.workload.corpus import PgvectorTarget

_OUTGROWN = "no longer fits"  # pgvector's notice; after it, a build takes ten times as long
_SHARED_MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Building:
    """The memory and the workers that one build gets."""

    needed_mb: int
    granted_mb: int
    workers: int


def build_indexes(
    connection: psycopg.Connection[Any],
    table_name: str,
    settings: PgvectorTarget,
    *,
    rows: int,
    dimensions: int,
) -> None:
    """Build the unique key, the lexemes' index and HNSW, as far as settings ask for them.

    Raises:
        BackfillHalted: the graph does not fit, or the server ended the build; nothing half-built
            is left, and what was built before stays.
    """
    building = plan_building(connection, settings, rows=rows, dimensions=dimensions)
    builder = _Builder(connection, table_name)
    builder.build("key", "unique_key", building)
    if settings.full_text != "none":
        builder.build("lexemes", "lexeme_index", building)
    if settings.index == "hnsw":
        builder.build(
            "hnsw",
            "vector_index",
            building,
            opclass=sql.Identifier(f"{settings.vector_type}_cosine_ops"),
            m=sql.Literal(settings.m),
            ef_construction=sql.Literal(settings.ef_construction),
        )


def plan_building(
    connection: psycopg.Connection[Any], settings: PgvectorTarget, *, rows: int, dimensions: int
) -> Building:
    """Compute memory and workers from the size of the graph and what the server has.

    Workers share the graph in /dev/shm: where that is too small, one process builds alone.
    """
    needed = graph_memory_mb(rows, dimensions, settings.m, settings.vector_type)
    granted = min(needed, settings.index_memory_mb or needed)
    row = connection.execute(statement("pgvector", "build_settings")).fetchone()
    assert row is not None
    most, usual, shared_by = row
    workers = int(usual)
    if _is_local(connection):
        workers = min(int(most), max(0, (os.cpu_count() or 1) - 1))
        if shared_by == "posix" and granted > shared_memory_mb():
            workers = 0
    return Building(needed, granted, workers)


def shared_memory_mb() -> int:
    """Return the free megabytes of this machine's shared memory."""
    try:
        return shutil.disk_usage(_SHARED_MEMORY).free // 2**20
    except OSError:
        return 0


def _is_local(connection: psycopg.Connection[Any]) -> bool:
    host = connection.info.host
    return host.startswith("/") or host in ("", "localhost", "127.0.0.1", "::1")


class _Builder:
    def __init__(self, connection: psycopg.Connection[Any], table_name: str) -> None:
        self._connection = connection
        self._name = table_name
        self._table = sql.Identifier("qafila", table_name)

    def build(self, what: str, name: str, building: Building, **parts: sql.Composable) -> None:
        self._clear_unfinished(what)
        index = sql.Identifier(f"{self._name}_{what}")
        query = sql.SQL(statement("pgvector", name)).format(table=self._table, index=index, **parts)
        try:
            try:
                self._run(query, building, building.workers)
            except (errors.DiskFull, errors.OutOfMemory, errors.InsufficientResources):
                if building.workers == 0:
                    raise
                # workers share the graph in files of the server's /dev/shm, a lone process does not
                self._run(query, building, 0)
        except errors.UniqueViolation as error:
            raise BackfillHalted(
                f"{self._name} holds a chunk twice: {_detail(error)}.",
                kept="all rows; the unique key is not built.",
                remedy="empty the generation and load it again.",
            ) from error
        except errors.ProgramLimitExceeded as error:
            raise BackfillHalted(
                f"a row of {self._name} is too long for its index: {_detail(error)}.",
                kept="all rows and the indexes that were finished.",
                remedy="name a shorter key in corpus.source and fill a new generation.",
            ) from error
        except psycopg.OperationalError as error:
            raise self._ended(what, error) from error

    def _run(self, query: sql.Composed, building: Building, workers: int) -> None:
        granted = {
            "maintenance_work_mem": f"{building.granted_mb}MB",
            "max_parallel_maintenance_workers": str(workers),
            "statement_timeout": "0",
        }
        outgrown: list[str] = []
        try:
            with self._connection.transaction(), _stopped_when_outgrown(self._connection, outgrown):
                end_with_us(self._connection)
                set_local(self._connection, granted)
                self._connection.execute(query)
                if outgrown:  # it was done before it could be stopped
                    raise self._too_small(building)
        except errors.QueryCanceled as error:
            if outgrown:
                raise self._too_small(building) from error
            raise

    def _clear_unfinished(self, what: str) -> None:
        index = sql.Identifier("qafila", f"{self._name}_{what}")
        unfinished = self._connection.execute(
            statement("pgvector", "invalid_index"), {"index": index.as_string(self._connection)}
        ).fetchone()
        if unfinished is not None:
            self._connection.execute(
                sql.SQL(statement("pgvector", "drop_index")).format(index=index)
            )

    def _too_small(self, building: Building) -> BackfillHalted:
        return BackfillHalted(
            f"the HNSW graph of {self._name} does not fit into {building.granted_mb} MB; it needs "
            f"about {building.needed_mb} MB.",
            kept="all rows; no vector index is left behind.",
            remedy=f"set corpus.target.index_memory_mb to {max(building.needed_mb, 1) * 5 // 4} or "
            "more (none: what is needed), apply the workload, then run the backfill again.",
        )

    def _ended(self, what: str, error: psycopg.Error) -> BackfillHalted:
        return BackfillHalted(
            f"the server ended the build of {self._name}_{what}: {_detail(error)}",
            kept="all rows and the indexes that were finished; nothing half-built is left.",
            remedy="see that the server is well and its disk has room, then run it again.",
        )


@contextmanager
def _stopped_when_outgrown(
    connection: psycopg.Connection[Any], outgrown: list[str]
) -> Iterator[None]:
    """Cancel the statement as soon as pgvector says that its graph no longer fits."""

    def notice(diagnostic: errors.Diagnostic) -> None:
        message = diagnostic.message_primary or ""
        if _OUTGROWN in message and not outgrown:
            outgrown.append(message)
            connection.cancel_safe()

    connection.add_notice_handler(notice)
    try:
        yield
    finally:
        connection.remove_notice_handler(notice)


def _detail(error: psycopg.Error) -> str:
    told = error.diag.message_detail or error.diag.message_primary or str(error)
    return told.strip().splitlines()[0] if told.strip() else type(error).__name__
