"""Chunks as PostgreSQL's binary COPY stream, packed column by column and not value by value.

All columns of fixed length stand together in one structured NumPy array, with the length words
between them; the others are joined in row by row. Pieces are small on purpose: while the server
takes one out of the socket, the next is packed, and both processors are busy.

Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"; a vector is its
dimensions and a reserved number in two bytes each, then big-endian floats (pgvector, vector_send).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal

import numpy as np
from pydantic_core import to_json

from tasks.stores.port import Chunk, Vectors

# the order of the stream; the statements of pgvector.sql name the same
COLUMNS = ("embedding", "text_digest", "generation", "fingerprint", "chunk_number", "start_offset",
           "end_offset", "source_key", "title", "text", "acl", "metadata")  # fmt: skip
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
PIECE_BYTES = 112_000  # half of what a socket holds
_OTHER_BYTES = 500  # a guess at texts, groups and metadata of a row
CHARACTERS_A_PIECE = 1_000_000  # unless a single row has more

VectorType = Literal["vector", "halfvec"]

_int4 = struct.Struct(">i").pack
_WORDS = [_int4(n) for n in range(1 << 16)]  # length words that nearly every value needs
_JSON_HEADS = [_int4(n + 1) + b"\x01" for n in range(1 << 12)]
_TEXT_OID = 25
_REMEMBERED = 4096  # distinct lists of groups


class Packer:
    """Packs the chunks of one generation; keeps its buffers, so one writer at a time."""

    def __init__(
        self, dimensions: int, fingerprint: str, generation: int, vector_type: VectorType = "vector"
    ) -> None:
        mark = fingerprint.encode()
        number, size = ("f4", 4) if vector_type == "vector" else ("f2", 2)
        layout = np.dtype(
            [("fields", ">i2"),
             ("n_embedding", ">i4"), ("dimensions", ">i2"), ("reserved", ">i2"),
             ("embedding", f">{number}", (dimensions,)),
             ("n_digest", ">i4"), ("digest", "V32"),
             ("n_generation", ">i4"), ("generation", ">i4"),
             ("n_fingerprint", ">i4"), ("fingerprint", f"V{len(mark)}"),
             ("n_number", ">i4"), ("number", ">i4"),
             ("n_start", ">i4"), ("start", ">i4"),
             ("n_end", ">i4"), ("end", ">i4"),
             ("n_key", ">i4")]
        )  # fmt: skip
        # below 128 kB psycopg sends a piece on without cutting it up
        self.rows_a_piece = max(32, min(128, PIECE_BYTES // (layout.itemsize + _OTHER_BYTES)))
        rows = np.zeros(self.rows_a_piece, layout)
        rows["fields"] = len(COLUMNS)
        rows["n_embedding"], rows["dimensions"] = 4 + size * dimensions, dimensions
        rows["n_digest"] = 32
        rows["n_generation"], rows["generation"] = 4, generation
        rows["n_fingerprint"], rows["fingerprint"] = len(mark), mark
        rows["n_number"] = rows["n_start"] = rows["n_end"] = 4
        self._rows = rows
        self._cut = self._cutter(len(rows))
        self._acls: dict[tuple[str, ...], bytes] = {}

    def _cutter(self, rows: int) -> struct.Struct:
        return struct.Struct(f"{self._rows.itemsize}s" * rows)

    def pieces(self, chunks: Sequence[Chunk], vectors: Vectors) -> Iterator[bytes]:
        """Yield a whole COPY stream in pieces of some ``PIECE_BYTES``.

        A text that is no Unicode or metadata that are no JSON raise here, in the middle of the
        stream: ``core.admission`` finds them before.
        """
        if len(chunks) != len(vectors):
            raise ValueError(f"{len(chunks)} chunks and {len(vectors)} vectors")
        yield HEADER
        for begin in range(0, len(chunks), self.rows_a_piece):
            end = begin + self.rows_a_piece
            yield from self._bounded(chunks[begin:end], vectors[begin:end])
        yield TRAILER

    def _bounded(self, chunks: Sequence[Chunk], vectors: Vectors) -> Iterator[bytes]:
        """Cut a piece in two until its texts are few or short: memory stays small."""
        if len(chunks) > 1 and sum([len(c.text) for c in chunks]) > CHARACTERS_A_PIECE:
            half = len(chunks) // 2
            yield from self._bounded(chunks[:half], vectors[:half])
            yield from self._bounded(chunks[half:], vectors[half:])
        else:
            yield self._piece(chunks, vectors)

    def _piece(self, chunks: Sequence[Chunk], vectors: Vectors) -> bytes:
        n, acls = len(chunks), self._acls
        keys = [c.source_key.encode() for c in chunks]
        titles = [c.title.encode() for c in chunks]
        texts = [c.text.encode() for c in chunks]
        metadata = [to_json(c.metadata) if c.metadata else b"{}" for c in chunks]
        rows = self._rows[:n]
        rows["embedding"] = vectors
        rows["digest"] = np.frombuffer(b"".join([c.digest for c in chunks]), "V32")
        rows["number"] = [c.number for c in chunks]
        rows["start"] = [c.start for c in chunks]
        rows["end"] = [c.end for c in chunks]
        rows["n_key"] = [len(k) for k in keys]
        cut = self._cut if n == len(self._rows) else self._cutter(n)
        fixed = cut.unpack_from(rows.data)
        return b"".join(
            chain.from_iterable(
                zip(
                    fixed, keys, _length_words(titles), titles, _length_words(texts), texts,
                    [acls.get(tuple(c.acl)) or self._acl(c.acl) for c in chunks],
                    _json_heads(metadata), metadata,
                    strict=True,
                )
            )
        )  # fmt: skip

    def _acl(self, groups: Sequence[str]) -> bytes:
        """Return the field of a text[]; lists of groups repeat, so each is packed once."""
        if len(self._acls) >= _REMEMBERED:
            self._acls.clear()
        packed = self._acls[tuple(groups)] = _text_array(groups)
        return packed


def _length_words(values: Sequence[bytes]) -> list[bytes]:
    try:
        return [_WORDS[len(v)] for v in values]
    except IndexError:
        return [_int4(len(v)) for v in values]


def _text_array(items: Sequence[str]) -> bytes:
    encoded = [i.encode() for i in items]
    if encoded:
        head = struct.pack(">5i", 1, 0, _TEXT_OID, len(encoded), 1)
    else:
        head = struct.pack(">3i", 0, 0, _TEXT_OID)
    body = head + b"".join([_int4(len(i)) + i for i in encoded])
    return _int4(len(body)) + body


def _json_heads(values: Sequence[bytes]) -> list[bytes]:
    """Return what stands before each jsonb: its length, and a version byte."""
    try:
        return [_JSON_HEADS[len(v)] for v in values]
    except IndexError:
        return [_int4(len(v) + 1) + b"\x01" for v in values]
