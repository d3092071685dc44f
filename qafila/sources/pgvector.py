"""An existing pgvector table: a row is a chunk that has its vector already.

The table may be a generation of Qafila's own or anybody's. Vectors leave the server in their wire
form and become one array a batch, since text would cost ten times as much.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from qafila.connections.local_settings import set_local
from qafila.search.table import EXACT
from qafila.sources.keys import relation_problems
from qafila.sources.port import Key, KeyRange, Piece, Semantics, SourceRow, Volume
from qafila.sources.postgres import (
    acl_of,
    acl_problems,
    metadata_of,
    objects_of,
    text_problems,
    written_in,
)
from qafila.sources.relation import Column, Relation
from qafila.workload.corpus import PgvectorSource as Settings
from qafila.workload.fingerprint import key_text

_INTEGERS = ("smallint", "integer", "bigint")
MOST_NUMBER = 2**31 - 1  # of a chunk, as every store keeps it
_OFFSETS = ("start_offset", "end_offset")
HALF_ROUNDS, FULL_ROUNDS = 1e-3, 1e-5  # what a cosine may be off by, with room to spare
_HEADER_BYTES = 4  # of a vector on the wire: dimensions and flags, two bytes each


class PgvectorSource:
    """Reads chunks and vectors by key; the caller owns the connection."""

    semantics = Semantics(
        order="the key's columns, compared by the database in its own collation",
        snapshot="boundaries are frozen in one repeatable-read transaction; each batch is read "
        "later, from a snapshot of its own; vectors come as they are stored, halfvec widened",
        change="a chunk that changes before its batch is read arrives as it is then; one that "
        "changes afterwards is found by the comparison at the end; a row without a vector arrives "
        "without one; a change of columns, types or sort order stops the load",
    )

    def __init__(self, connection: psycopg.Connection[Any], settings: Settings) -> None:
        self._settings = settings
        self._relation = Relation(connection, settings.key, table=settings.table)

    def problems(self) -> list[str]:
        """Return everything that stands in the way of reading it, each with its remedy."""
        settings = self._settings
        problems = relation_problems(self._relation, self._used())
        column = self._relation.known.get(settings.embedding)
        if column is not None and _kind(column) not in ("vector", "halfvec"):
            problems.append(
                f"column {settings.embedding!r} is {column.type}; an embedding is vector or "
                "halfvec: name the right column, or cast it in the database"
            )
        if not problems and self._numbered:
            number = sql.Identifier(settings.key[1])
            if self._relation.any_row(
                sql.SQL("{} NOT BETWEEN 0 AND {}").format(number, sql.Literal(MOST_NUMBER))
            ):
                problems.append(
                    f"key column {settings.key[1]!r}, being the second of two and whole, numbers "
                    f"the chunks of a document, and in some row it is not between 0 and "
                    f"{MOST_NUMBER}: if it numbers no chunks, name it first"
                )
        texts = [c for c in (settings.text, settings.title) if c]
        return (
            problems
            + text_problems(self._relation, texts)
            + acl_problems(self._relation, settings.acl)
        )

    def shape(self) -> str:
        """Return a digest of the columns that are read, their types, and what sorts the key."""
        return self._relation.shape([*self._used(), *_OFFSETS])

    def volume(self) -> Volume:
        """Count rows and bytes of text; estimate when that takes long."""
        return self._relation.volume([self._settings.text])

    def freeze(self, rows_per_shard: int) -> list[KeyRange]:
        """Return key ranges of at most ``rows_per_shard`` rows that cover every possible key."""
        return self._relation.freeze(rows_per_shard)

    def read(
        self, low: Key | None, high: Key | None, batch_rows: int
    ) -> Iterator[Sequence[SourceRow]]:
        """Yield batches of chunks with low < key <= high, in key order, paging by key."""
        for batch in self._relation.read(self._select(), low, high, batch_rows):
            yield self._rows(batch)

    def fetch(self, keys: Sequence[str]) -> list[SourceRow]:
        """Return the chunks of these documents as they are now, in key order."""
        columns = 1 if self._numbered else len(self._settings.key)
        parts = [[k] if columns == 1 else json.loads(k) for k in keys]
        return self._rows(self._relation.fetch(self._select(), parts, columns))

    @property
    def rounds(self) -> float:
        """Return by how much a score may be off: half precision keeps eleven bits."""
        return HALF_ROUNDS if self._embedding_type.endswith("halfvec") else FULL_ROUNDS

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[tuple[str, int, float]]:
        """Return the k nearest chunks of all, by looking at every one."""
        embedding, kind = sql.Identifier(self._settings.embedding), self._embedding_type
        schema = kind.rpartition(".")[0]
        away = sql.SQL("{} {} %(vector)s::{}").format(
            embedding,
            sql.SQL("OPERATOR(" + schema + ".<=>)" if schema else "<=>"),
            sql.SQL(kind),
        )
        query = sql.SQL(
            "SELECT {key}, 1 - ({away}) FROM {rows} WHERE {dims}({embedding}) = %(dimensions)s"
            " ORDER BY {away} LIMIT %(k)s"
        ).format(
            key=self._relation.key_texts,
            away=away,
            rows=self._relation.rows,
            dims=sql.SQL((schema + "." if schema else "") + "vector_dims"),
            embedding=embedding,
        )
        connection = self._relation.connection
        with connection.transaction():
            set_local(connection, EXACT)
            found = connection.execute(
                query,
                {
                    "vector": "[" + ",".join(map(repr, vector.tolist())) + "]",
                    "dimensions": len(vector),
                    "k": k,
                },
                prepare=False,
            ).fetchall()
        numbered = self._numbered
        return [
            (key[0] if numbered else key_text(key), int(key[1]) if numbered else 0, float(score))
            for key, score in found
            if score is not None and np.isfinite(score)
        ]

    @property
    def _embedding_type(self) -> str:
        known = self._relation.known or self._relation.columns()
        return known[self._settings.embedding].type.partition("(")[0]

    @property
    def _numbered(self) -> bool:
        """Say whether the key is a document and the number of a chunk in it."""
        known = self._relation.known or self._relation.columns()
        key = self._settings.key
        return len(key) == 2 and key[1] in known and known[key[1]].type in _INTEGERS

    def _used(self) -> list[str]:
        settings = self._settings
        named = (settings.title, settings.acl)
        return [settings.text, settings.embedding, *settings.metadata, *(c for c in named if c)]

    def _select(self) -> sql.Composable:
        settings, known = self._settings, self._relation.known or self._relation.columns()
        offsets = all(c in known and known[c].type in _INTEGERS for c in _OFFSETS)
        title = sql.Identifier(settings.title) if settings.title else sql.SQL("NULL")
        # pgvector may live in a schema that nobody searches; the column's type names it then
        held_as = known[settings.embedding].type if settings.embedding in known else ""
        schema = "".join(held_as.partition("(")[0].rpartition(".")[:2])
        return sql.SQL(
            "SELECT {key}, {acl}, {metadata}, coalesce({title}::text, ''), coalesce({text}::text,"
            " ''), {start}::bigint, {end}::bigint, {send}({embedding}::{vector})"
        ).format(
            key=self._relation.key_texts,
            acl=acl_of(settings.acl),
            metadata=metadata_of(settings.metadata, written_in(self._relation, settings.metadata)),
            title=title,
            text=sql.Identifier(settings.text),
            start=sql.Identifier(_OFFSETS[0]) if offsets else sql.SQL("NULL"),
            end=sql.Identifier(_OFFSETS[1]) if offsets else sql.SQL("NULL"),
            send=sql.SQL(schema + "vector_send"),
            vector=sql.SQL(schema + "vector"),
            embedding=sql.Identifier(settings.embedding),
        )

    def _rows(self, rows: Sequence[tuple[Any, ...]]) -> list[SourceRow]:
        vectors = vectors_of([row[7] for row in rows])
        numbered, fields = self._numbered, self._settings.metadata
        objects = objects_of([row[2] for row in rows], written_in(self._relation, fields))
        return [
            SourceRow(
                key=key,
                title=title,
                text=text,
                acl=acl,
                metadata=spread(metadata, fields),
                piece=Piece(
                    key[0] if numbered else key_text(key),
                    int(key[1]) if numbered else 0,
                    0 if start is None else start,
                    len(text) if end is None else end,
                ),
                vector=vector,
            )
            for (key, acl, _, title, text, start, end, _), metadata, vector in zip(
                rows, objects, vectors, strict=True
            )
        ]


def spread(metadata: Mapping[str, Any], fields: Sequence[str]) -> Mapping[str, Any]:
    """Take the one object apart that holds all metadata of a chunk, as most indexes keep it."""
    if len(fields) == 1 and isinstance(whole := metadata.get(fields[0]), dict):
        return whole
    return metadata


def vectors_of(sent: Sequence[bytes | None]) -> list[NDArray[np.float32] | None]:
    """Return vectors from their wire form; None stays None."""
    sizes = {len(s) for s in sent if s is not None}
    if len(sizes) == 1 and None not in sent:
        width = sizes.pop() // 4
        raw = np.frombuffer(b"".join(sent), dtype=">f4").reshape(-1, width)  # type: ignore[arg-type]
        return list(raw[:, _HEADER_BYTES // 4 :].astype(np.float32))
    return [
        None if s is None else np.frombuffer(s, ">f4", offset=_HEADER_BYTES).astype(np.float32)
        for s in sent
    ]


def _kind(column: Column) -> str:
    """Return the type without schema and length."""
    return column.type.partition("(")[0].rpartition(".")[2]
