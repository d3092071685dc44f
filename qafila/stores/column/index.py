"""HNSW on a column of a table that is in use."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from qafila.connections.local_settings import end_with_us
from qafila.errors import BackfillHalted
from qafila.sql import statement
from qafila.stores.column.swap import HeldColumn
from qafila.stores.column.words import Words
from qafila.stores.sizes import graph_memory_mb


def build_hnsw(
    connection: psycopg.Connection[Any], words: Words, held: HeldColumn, rows: int
) -> None:
    """Build the index concurrently, on one core, after clearing what a broken build left.

    Raises:
        BackfillHalted: the graph did not fit, or somebody cancelled the build; nothing half-built
            is left.
    """
    settings, outgrown = words.settings, list[str]()

    def notice(diagnostic: psycopg.errors.Diagnostic) -> None:
        if "no longer fits" in (diagnostic.message_primary or ""):
            outgrown.append("")
            connection.cancel_safe()  # it would go on, ten times as slowly

    name = words.index.as_string()
    needed = graph_memory_mb(rows, words.place.dimensions, settings.m, settings.vector_type)
    granted = min(needed, settings.index_memory_mb or needed)
    _clear_broken(connection, words, held)
    connection.add_notice_handler(notice)
    cancelled: psycopg.Error | None = None
    end_with_us(connection)
    try:
        memory = sql.Literal(f"{granted}MB")
        connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(memory))
        connection.execute("SET max_parallel_maintenance_workers = 0")  # the rest is the users'
        connection.execute(words.statement("vector_index", held))
    except psycopg.errors.QueryCanceled as error:
        cancelled = error
    finally:
        connection.remove_notice_handler(notice)
        if not connection.broken:
            connection.execute("RESET maintenance_work_mem")
            connection.execute("RESET max_parallel_maintenance_workers")
    if cancelled or outgrown:
        _clear_broken(connection, words, held)
    if cancelled and not outgrown:
        raise BackfillHalted(
            f"somebody cancelled the build of {name} in the server.",
            kept="all rows; no vector index is left behind.",
            remedy="when its hour has come, run the backfill again: it goes on with the index.",
        ) from cancelled
    if outgrown:
        raise BackfillHalted(
            f"the HNSW graph of {name} does not fit into {granted} MB; it needs about {needed} MB.",
            kept="all rows; no vector index is left behind.",
            remedy=f"set corpus.target.index_memory_mb to {needed * 5 // 4} or more (none: what is "
            "needed), apply the workload, then run the backfill again.",
        )


def _clear_broken(connection: psycopg.Connection[Any], words: Words, held: HeldColumn) -> None:
    """Drop what a build that was broken off has left; such an index is kept up and never used."""
    asked = {"index": words.index.as_string()}
    if connection.execute(statement("column", "invalid_index"), asked).fetchone() is not None:
        connection.execute(words.statement("drop_index", held))
