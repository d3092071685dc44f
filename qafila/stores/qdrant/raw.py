"""Rows of an existing pgvector table as chunks and vectors, straight from COPY's binary form.

The source's server makes the digests and says which rows cannot be copied; what is left to do here
is to cut its stream at the right places (``pgvector_copy.COLUMNS`` is its order).
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qafila.sources.port import Key
from qafila.stores.pgvector.copy import HEADER, TRAILER
from qafila.stores.pgvector.raw import SNAPSHOT_SECONDS, RawSource
from qafila.stores.pgvector.stream import Passed
from qafila.stores.port import Chunk, Place, Vectors

_REMEMBERED = 4096  # distinct lists of groups, distinct metadata
_DIGEST_BYTES = 32
_int4 = struct.Struct(">i").unpack_from


@dataclass(frozen=True)
class RawBatch:
    """One batch of a source: what it holds, and what the source said of it."""

    chunks: Sequence[Chunk]
    vectors: Vectors
    passed: Passed


def read_ahead(
    raw: RawSource, place: Place, low: Key | None, high: Key | None, batch_rows: int
) -> Generator[RawBatch, None, None]:
    """Yield the batches of a range; the next one is read while the caller works on this one.

    The last batch says that it is (``passed.finished``).
    """
    unpacker = Unpacker(place.dimensions, place.fingerprint)
    while True:
        with raw.reading(low, high, batch_rows) as reading:
            begun = time.monotonic()
            while time.monotonic() - begun < SNAPSHOT_SECONDS:
                passed = Passed()
                chunks, vectors = unpacker.unpack(reading.batch(passed))
                yield RawBatch(chunks, vectors, passed)
                if passed.finished:
                    return
                low = passed.last_key


class Unpacker:
    """Cuts binary COPY rows of ``COLUMNS``; remembers groups and metadata that come again.

    Every row has the same ``fingerprint``, so all before the key has the same length in each, and
    is taken apart at once.
    """

    def __init__(self, dimensions: int, fingerprint: str) -> None:
        self._dimensions = dimensions
        # x: what is known already; the number of fields, lengths of fixed fields, our own marks
        self._fixed = struct.Struct(
            f">2x 4x {4 + 4 * dimensions}s 4x {_DIGEST_BYTES}s 8x 4x {len(fingerprint.encode())}x"
            " 4x i 4x i 4x i i"
        )
        self._groups: dict[bytes, list[str]] = {}
        self._metadata: dict[bytes, Any] = {}

    def unpack(self, pieces: Iterable[bytes]) -> tuple[list[Chunk], Vectors]:
        """Return all chunks of a stream and their vectors, in its order."""
        chunks: list[Chunk] = []
        sent: list[bytes] = []
        for piece in pieces:
            if piece not in (HEADER, TRAILER):
                self._cut(piece, chunks, sent)
        width = 1 + self._dimensions  # a word of dimensions and flags stands before the numbers
        raw = np.frombuffer(b"".join(sent), ">f4").reshape(len(sent), width)
        return chunks, raw[:, 1:].astype(np.float32)

    def _cut(self, piece: bytes, chunks: list[Chunk], sent: list[bytes]) -> None:
        fixed, fixed_bytes, end, at = self._fixed.unpack_from, self._fixed.size, len(piece), 0
        while at < end:
            vector, digest, number, start, stop, size = fixed(piece, at)
            sent.append(vector)
            at += fixed_bytes
            key = piece[at : at + size].decode()
            at += size + 4
            size = _int4(piece, at - 4)[0]
            title = piece[at : at + size].decode()
            at += size + 4
            size = _int4(piece, at - 4)[0]
            text = piece[at : at + size].decode()
            at += size + 4
            size = _int4(piece, at - 4)[0]
            acl = self._of(self._groups, piece[at : at + size], _groups_of)
            at += size + 4
            size = max(0, _int4(piece, at - 4)[0])  # metadata may be NULL
            metadata = self._of(self._metadata, piece[at : at + size], _object_of)
            at += size
            chunks.append(Chunk(key, number, start, stop, title, text, digest, acl, metadata))

    @staticmethod
    def _of(remembered: dict[bytes, Any], value: bytes, made_by: Callable[[bytes], Any]) -> Any:
        found = remembered.get(value)
        if found is None:
            found = made_by(value)
            if len(remembered) < _REMEMBERED:
                remembered[value] = found
        return found


def _groups_of(value: bytes) -> list[str]:
    """Return a text[] in its binary form: dimensions, NULLs or not, type, length, first index."""
    if _int4(value, 0)[0] == 0:
        return []
    groups, at = [], 20
    for _ in range(_int4(value, 12)[0]):
        size = _int4(value, at)[0]
        if size >= 0:
            groups.append(value[at + 4 : at + 4 + size].decode())
        at += 4 + max(0, size)
    return groups


def _object_of(value: bytes) -> Any:
    """Return a jsonb in its binary form: a version byte, then the text; nothing for NULL."""
    return json.loads(value[1:]) if value else {}
