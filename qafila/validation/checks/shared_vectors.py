"""Find vectors that stand under several texts, in memory that does not grow with rows.

A hash of the vector and one of the text go to a temporary file for every row; at the end they are
sorted some millions at a time, by ranges of the vectors' hashes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qafila.stores.port import Chunk, Vectors
from qafila.stores.row_sets import digest_words
from qafila.validation.checks.judge_content import vector_hashes

MOST_SORTED = 2_000_000  # rows that are sorted at a time
_RECORD = np.dtype(
    [("vector", "u8"), ("text", "u8"), ("at", "u8"), ("size", "u4"), ("number", "i4")]
)


@dataclass(frozen=True)
class Shared:
    """One vector under several texts: the first place of two of them, and how many rows it has."""

    places: tuple[tuple[str, int], tuple[str, int]]
    rows: int


class SharedVectors:
    """Takes rows in batches; says at the end which vectors several texts have."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._records = tempfile.TemporaryFile()  # noqa: SIM115
        self._names = tempfile.TemporaryFile()  # noqa: SIM115
        self._rows = self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._records.close()
        self._names.close()

    def add(self, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        """Take some rows in; zero vectors say nothing, and are left out."""
        names = [c.source_key.encode("utf-8", "surrogatepass") for c in chunks]
        records = np.zeros(len(chunks), _RECORD)
        records["vector"] = vector_hashes(vectors, self._seed)
        records["text"] = digest_words([c.digest for c in chunks])[:, 0]
        records["size"] = sizes = np.array([len(n) for n in names], np.uint64)
        records["at"] = self._at + np.cumsum(sizes) - sizes
        records["number"] = [c.number for c in chunks]
        self._at += int(sizes.sum())
        self._names.write(b"".join(names))
        kept = records[vectors.any(axis=1)]
        self._records.write(kept.tobytes())
        self._rows += len(kept)

    def found(self) -> Iterator[Shared]:
        """Yield every vector that stands under more than one text."""
        self._records.flush()
        parts = -(-self._rows // MOST_SORTED)
        for part in range(parts):
            rows = np.sort(self._of_part(part, parts), order=("vector", "text"))
            starts = np.flatnonzero(np.diff(rows["vector"], prepend=~rows["vector"][:1]))
            ends = np.append(starts[1:], len(rows))
            several = rows["text"][starts] != rows["text"][ends - 1]
            for start, end in zip(starts[several].tolist(), ends[several].tolist(), strict=True):
                places = self._place(rows[start]), self._place(rows[end - 1])
                yield Shared(places, end - start)

    def _of_part(self, part: int, parts: int) -> NDArray[np.void]:
        kept = []
        self._records.seek(0)
        while block := self._records.read(_RECORD.itemsize * 250_000):
            rows = np.frombuffer(block, _RECORD)
            kept.append(rows[(rows["vector"] >> np.uint64(32)) % np.uint64(parts) == part])
        return np.concatenate(kept) if kept else np.zeros(0, _RECORD)

    def _place(self, record: np.void) -> tuple[str, int]:
        self._names.seek(int(record["at"]))
        name = self._names.read(int(record["size"]))
        return name.decode("utf-8", "surrogatepass"), int(record["number"])
