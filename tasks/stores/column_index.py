"""HNSW on a column of a table that is in use."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from qafila.errors import BackfillHalted
from qafila.sql import statement
from tasks.column_swap import HeldColumn
from tasks.stores.column_words import Words

_MEMORY_MB = 64


def build_hnsw(
    connection: psycopg.Connection[Any], words: Words, held: HeldColumn, rows: int
) -> None:
    """Build the index concurrently, on one core, after clearing what a broken build left.

    Raises:
        BackfillHalted: the graph did not fit; names the setting to raise.
    """
    notices: list[str] = []

    def notice(diagnostic: psycopg.errors.Diagnostic) -> None:
        notices.append(diagnostic.message_primary or "")

    name, needed_mb = words.index.as_string(), _graph_mb(words, rows)
    leftover = connection.execute(statement("column", "invalid_index"), {"index": name})
    if leftover.fetchone() is not None:
        connection.execute(words.statement("drop_index", held))
    connection.add_notice_handler(notice)
    try:
        memory = sql.Literal(f"{needed_mb}MB")
        connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(memory))
        connection.execute("SET max_parallel_maintenance_workers = 0")  # the rest is the users'
        connection.execute(words.statement("vector_index", held))
    finally:
        connection.remove_notice_handler(notice)
        if not connection.broken:
            connection.execute("RESET maintenance_work_mem")
            connection.execute("RESET max_parallel_maintenance_workers")
    if any("no longer fits" in n for n in notices):
        raise BackfillHalted(
            f"the HNSW graph of {name} did not fit into {needed_mb} MB.",
            kept="all rows; the index is built, but slowly and worse than it should be.",
            remedy=f"raise the memory of the target above {2 * needed_mb} MB and run again.",
        )


def _graph_mb(words: Words, rows: int) -> int:
    # as in tasks/stores/pgvector.py: vectors and neighbour lists, a third on top
    size = 2 if words.settings.vector_type == "halfvec" else 4
    row_bytes = size * words.place.dimensions + 2 * words.settings.m * 8 + 200
    return max(_MEMORY_MB, int(rows * row_bytes * 4 / 3 / 2**20) + 1)
