"""What was paid for, on disk: vectors under the digest of their text and of what made them.

Kept in the home folder, so that a second comparison pays nothing. No text is in it, but a vector
tells much of its text: the file is for its owner only, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qafila.compare.embedders.candidates import Candidate
from qafila.stores.port import Vectors
from qafila.stores.vector_cache import EmbeddingCache

FILE = Path("cache") / "embeddings.sqlite"
_ASKED = 500  # names in one statement

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    made_by text NOT NULL,
    text_digest blob NOT NULL,
    vector blob,
    reason text NOT NULL,
    tokens real,
    seconds real,
    alone integer NOT NULL,
    PRIMARY KEY (made_by, text_digest)
) WITHOUT ROWID
"""
_FIND = (
    "SELECT text_digest, vector, reason, tokens, seconds, alone FROM entry "
    "WHERE made_by = ? AND text_digest IN ({})"
)
_PUT = "INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Entry:
    """What one text gave: float32 bytes, or None and the reason.

    ``tokens`` and ``seconds`` are its share of what its request took, None where nobody counted;
    ``alone`` says that it was the only text of its request, so that they are its own.
    """

    vector: bytes | None
    reason: str = ""
    tokens: float | None = None
    seconds: float | None = None
    alone: bool = False


class VectorCache:
    """Entries of one candidate; where the workload has a cache beside its target, also that one.

    What is in the target's is found first. New vectors go into both, so that a load with the same
    model pays for none of them again.
    """

    def __init__(
        self, home: Path, candidate: Candidate, beside: EmbeddingCache | None = None
    ) -> None:
        self._file = home / FILE
        self._beside = beside
        self._dimensions = candidate.vectors.dimensions
        # two services may call two models by one name
        named = f"{candidate.service}\n{candidate.vectors.digest}"
        self._made_by = hashlib.sha256(named.encode()).hexdigest()[:32]
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch(mode=0o600)
        with closing(self._open()) as database:
            database.execute(_SCHEMA)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=30, isolation_level=None)

    def find(self, digests: Iterable[bytes]) -> dict[bytes, Entry]:
        """Return what is known of these texts; one of another length than the model's is not."""
        wanted = list(dict.fromkeys(digests))
        found: dict[bytes, Entry] = {}
        with closing(self._open()) as database:
            for start in range(0, len(wanted), _ASKED):
                some = wanted[start : start + _ASKED]
                marks = ", ".join("?" * len(some))
                for row in database.execute(_FIND.format(marks), [self._made_by, *some]):
                    digest, vector, reason, tokens, seconds, alone = row
                    if vector is None or len(vector) == 4 * self._dimensions:
                        found[digest] = Entry(vector, reason, tokens, seconds, bool(alone))
        if self._beside is not None:
            left = [d for d in wanted if d not in found]
            there, vectors = self._beside.find(left)
            for place in np.flatnonzero(there).tolist():
                found[left[place]] = Entry(vectors[place].astype("<f4").tobytes())
        return found

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Keep what was paid for."""
        rows = [
            (self._made_by, digest, e.vector, e.reason, e.tokens, e.seconds, int(e.alone))
            for digest, e in entries.items()
        ]
        with closing(self._open()) as database:
            database.execute("BEGIN IMMEDIATE")
            database.executemany(_PUT, rows)
            database.execute("COMMIT")
        if self._beside is not None:
            made = {d: e.vector for d, e in entries.items() if e.vector is not None}
            self._beside.put(list(made), vectors_of(made.values(), self._dimensions))


def vectors_of(bodies: Iterable[bytes], dimensions: int) -> Vectors:
    """Return the vectors of these bytes as an array of shape (vectors, dimensions)."""
    found: Vectors = np.frombuffer(b"".join(bodies), "<f4").reshape(-1, dimensions)
    return found
