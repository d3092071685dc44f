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
from typing import Literal

import numpy as np
from pydantic_core import to_json

from qafila.stores.port import Chunk, Vectors

# the order of the stream; the statements of pgvector.sql name the same
COLUMNS = (
    "embedding",
    "text_digest",
    "generation",
    "fingerprint",
    "chunk_number",
    "start_offset",
    "end_offset",
    "source_key",
    "title",
    "text",
    "acl",
    "metadata",
)
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
PIECE_BYTES = 112_000  # half of what a socket holds
_OTHER_BYTES = 500  # a guess at texts, groups and metadata of a row

VectorType = Literal["vector", "halfvec"]

_int4 = struct.Struct(">i").pack
_WORDS = [_int4(n) for n in range(1 << 16)]  # length words that nearly every value needs
_JSON_HEADS = [_int4(n + 1) + b"\x01" for n in range(1 << 12)]
_DIGEST = np.dtype("V32")
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
            [
                ("fields", ">i2"),
                ("n_embedding", ">i4"),
                ("dimensions", ">i2"),
                ("reserved", ">i2"),
                ("embedding", f">{number}", (dimensions,)),
                ("n_digest", ">i4"),
                ("digest", _DIGEST),
                ("n_generation", ">i4"),
                ("generation", ">i4"),
                ("n_fingerprint", ">i4"),
                ("fingerprint", f"V{len(mark)}"),
                ("n_number", ">i4"),
                ("number", ">i4"),
                ("n_start", ">i4"),
                ("start", ">i4"),
                ("n_end", ">i4"),
                ("end", ">i4"),
                ("n_key", ">i4"),
            ]
        )
        # below 128 kB psycopg sends a piece on without cutting it up
        self.rows_a_piece = max(32, min(128, PIECE_BYTES // (layout.itemsize + _OTHER_BYTES)))
        rows = np.zeros(self.rows_a_piece, layout)
        rows["fields"] = len(COLUMNS)
        rows["n_embedding"], rows["dimensions"] = 4 + size * dimensions, dimensions
        rows["n_digest"] = 32
        rows["n_generation"], rows["generation"] = 4, generation
        rows["n_fingerprint"], rows["fingerprint"] = len(mark), mark
        rows["n_number"] = rows["n_start"] = rows["n_end"] = 4
        # views into the one buffer, so that they need not be made again for every piece
        self._embedding, self._digest = rows["embedding"], rows["digest"]
        self._number, self._start, self._end = rows["number"], rows["start"], rows["end"]
        self._key_length = rows["n_key"]
        view, size = rows.view(np.uint8).data, rows.itemsize
        self._fixed = [view[at : at + size] for at in range(0, len(view), size)]
        self._acls: dict[tuple[str, ...], bytes] = {}

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
            yield self._piece(chunks[begin:end], vectors[begin:end])
        yield TRAILER

    def _piece(self, chunks: Sequence[Chunk], vectors: Vectors) -> bytes:
        n, acls = len(chunks), self._acls
        keys = [c.source_key.encode() for c in chunks]
        titles = [c.title.encode() for c in chunks]
        texts = [c.text.encode() for c in chunks]
        metadata = [to_json(c.metadata) if c.metadata else b"{}" for c in chunks]
        self._embedding[:n] = vectors
        self._digest[:n] = np.frombuffer(b"".join([c.digest for c in chunks]), _DIGEST)
        self._number[:n] = [c.number for c in chunks]
        self._start[:n] = [c.start for c in chunks]
        self._end[:n] = [c.end for c in chunks]
        self._key_length[:n] = [len(k) for k in keys]
        columns: tuple[Sequence[bytes | memoryview], ...] = (
            self._fixed if n == len(self._fixed) else self._fixed[:n],
            keys,
            _length_words(titles),
            titles,
            _length_words(texts),
            texts,
            [acls.get(tuple(c.acl)) or self._acl(c.acl) for c in chunks],
            _json_heads(metadata),
            metadata,
        )
        # woven by slices: half the time of chain(zip())
        woven: list[bytes | memoryview] = [b""] * (n * len(columns))
        for place, column in enumerate(columns):
            woven[place :: len(columns)] = column
        return b"".join(woven)

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
