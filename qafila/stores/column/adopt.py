"""Take the application's own column in as a generation whose model is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from qafila.errors import Refused
from qafila.sql import statement
from qafila.stores.brief_lock import Patience, change_briefly
from qafila.stores.column.marks import Part, put_marks, read_ownership
from qafila.stores.column.prepare import described_now, require_free_names
from qafila.stores.column.swap import ORIGINAL, HeldColumn, list_columns
from qafila.stores.column.words import Words
from qafila.stores.port import Vectors

Connection = psycopg.Connection[Any]


def own_column(connection: Connection, words: Words) -> HeldColumn:
    """Return the application's own column, which serves, as the generation that it is to be.

    Raises:
        Refused: another generation serves, or the column holds vectors of another type.
    """
    layout, here = words.settings.column, words.described
    assert layout is not None
    mine = HeldColumn(
        words.place.generation,
        here.schema,
        here.name,
        layout.column,
        layout.column,
        words.place.fingerprint,
        required=False,
    )
    serving = [c for c in list_columns(connection, words.place.workload) if c.serves]
    if serving and serving[0].generation not in (ORIGINAL, mine.generation):
        raise Refused(
            f"generation {serving[0].generation} is under the name {layout.column!r} of "
            f"{layout.table}: the application's own column is not.",
            kept="both columns.",
            remedy=f"first: qafila rollback {words.place.workload}",
        )
    wanted = f"{words.settings.vector_type}({words.place.dimensions})"
    found = here.types[layout.column]
    if found != wanted:
        raise Refused(
            f"column {layout.column!r} of {layout.table} is {found}; the workload's model and "
            f"corpus.target.vector_type say {wanted}.",
            kept="the column.",
            remedy="name the model that made it in corpus.embedder, apply that; then again.",
        )
    return mine


def sample_own(connection: Connection, words: Words, rows: int) -> tuple[list[str], Vectors]:
    """Return text and vector of the first so many rows that have one, by the table's key."""
    found = connection.execute(
        words.statement("sample_own", own_column(connection, words), limit=sql.Literal(rows))
    ).fetchall()
    vectors = np.array([vector.to_numpy() for _, vector in found], np.float32)
    return [text for text, _ in found], vectors.reshape(len(found), words.place.dimensions)


def adopt_column(connection: Connection, words: Words, patience: Patience) -> None:
    """Note that the application's own column is this generation; add a place for digests.

    Idempotent by workload and generation.

    Raises:
        Refused: another generation serves, the column holds vectors of another type, or the
            application has a column under a name that Qafila needs.
        Unavailable: the table was never free for a moment.
    """
    mine = own_column(connection, words)

    def adopt() -> None:
        require_free_names(connection, words)
        connection.execute(
            statement("column", "adopt_column"),
            {
                "workload": words.place.workload,
                "generation": mine.generation,
                "schema": mine.table_schema,
                "name": mine.table_name,
                "column": mine.serving_name,
                "fingerprint": words.place.fingerprint,
            },
        )
        connection.execute(words.statement("add_digest", mine))
        owned = read_ownership(connection, words, described_now(connection, words))
        put_marks(connection, owned, [Part.DIGESTS])

    change_briefly(
        connection, mine.table, adopt, what=f"adopting column {mine.held_as!r}", patience=patience
    )
