"""What rows of an index show when they are looked at one by one: counted here, judged elsewhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qafila.text.blanks import is_blank

Numbers = NDArray[np.float32]

EXAMPLES = 5  # keys kept for each finding
UNIT_TOLERANCE = 0.02  # half precision and a sum of 4 000 squares stay within it
SAME_VECTOR = 0.9  # cosine under which one text cannot have two vectors of one model
_SKETCH = 64  # components kept of a text's first vector, evenly spaced
_BINS = 40
_BYTES_PER_TOKEN = 4  # UTF-8; near enough for Latin and Arabic script, within about a third


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands. ``elsewhere`` names where its text is when it is not in ``text``."""

    key: str
    vector: Numbers | None
    text: str | None
    model: str | None = None
    elsewhere: str = ""


@dataclass(frozen=True)
class Tally:
    """How many rows have a property, and the keys of the first few."""

    count: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Norms:
    """Lengths of the vectors that have one: not zero, and finite.

    ``clusters`` holds the medians of two clearly apart groups and the smaller group's tally.
    """

    count: int
    least: float
    median: float
    most: float
    unit: int
    not_unit: Tally
    histogram: tuple[tuple[float, float, int], ...]  # from, to, vectors
    clusters: tuple[float, float, Tally] | None


@dataclass(frozen=True)
class Observed:
    """What the rows that were read show."""

    rows: int = 0
    null_vectors: Tally = Tally()
    zero_vectors: Tally = Tally()
    broken_vectors: Tally = Tally()
    dimensions: Mapping[int, Tally] = field(default_factory=dict)
    norms: Norms | None = None
    missing_texts: Tally = Tally()
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    duplicate_texts: Tally = Tally()
    shared_vectors: Tally = Tally()
    contradictions: Tally = Tally()
    longest: int = 0
    cut_texts: Tally = Tally()
    characters: int = 0
    tokens: int = 0
    models: Mapping[str, Tally] = field(default_factory=dict)


class _Count:
    def __init__(self) -> None:
        self.count, self.examples = 0, list[str]()

    def add(self, key: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(key)

    def tally(self) -> Tally:
        return Tally(self.count, tuple(self.examples))


def observe(rows: Iterable[Row]) -> Observed:
    """Count everything in one pass; memory grows with rows by a few hundred bytes, not by vectors.

    A text is the same as another after case and spaces are evened out, since models that lower-case
    give those the same vector: only vectors shared by really different texts are suspicious.
    """
    null, zero, broken, missing = _Count(), _Count(), _Count(), _Count()
    again, contradicting = _Count(), _Count()
    dimensions: dict[int, _Count] = {}
    models: dict[str, _Count] = {}
    elsewhere: dict[str, int] = {}
    lengths: list[tuple[float, str]] = []
    sketches: dict[bytes, Numbers | None] = {}
    texts_of: dict[bytes, set[bytes]] = {}
    vector_of: list[tuple[bytes, str]] = []
    ends: list[tuple[int, str, bool]] = []
    total = characters = text_bytes = 0
    for row in rows:
        total += 1
        digest = None
        if row.text and not is_blank(row.text):
            digest = _digest(" ".join(row.text.casefold().split()).encode("utf-8", "replace"))
            characters += len(row.text)
            text_bytes += len(row.text.encode("utf-8", "replace"))
            ends.append((len(row.text), row.key, bool(_ENDED.search(row.text))))
        else:
            missing.add(row.key)
            if row.elsewhere:
                elsewhere[row.elsewhere] = elsewhere.get(row.elsewhere, 0) + 1
        if row.model is not None:
            models.setdefault(row.model, _Count()).add(row.key)
        length = _length(row, null, zero, broken, dimensions)
        if length is not None:
            lengths.append((length, row.key))
        sound = row.vector if length is not None else None
        if digest is not None:
            if digest in sketches:
                again.add(row.key)
                if _differs(sketches[digest], sound):
                    contradicting.add(row.key)
            else:
                sketches[digest] = None if sound is None else _sketch(sound)
            if sound is not None:
                mark = _digest(sound.tobytes())
                texts_of.setdefault(mark, set()).add(digest)
                vector_of.append((mark, row.key))
    shared = _Count()
    for mark, key in vector_of:
        if len(texts_of[mark]) > 1:
            shared.add(key)
    longest = max((n for n, _, _ in ends), default=0)
    return Observed(
        rows=total,
        null_vectors=null.tally(),
        zero_vectors=zero.tally(),
        broken_vectors=broken.tally(),
        dimensions={d: c.tally() for d, c in sorted(dimensions.items())},
        norms=_norms(lengths),
        missing_texts=missing.tally(),
        elsewhere=elsewhere,
        duplicate_texts=again.tally(),
        shared_vectors=shared.tally(),
        contradictions=contradicting.tally(),
        longest=longest,
        cut_texts=_cut(ends, longest),
        characters=characters,
        tokens=round(text_bytes / _BYTES_PER_TOKEN),
        models={m: c.tally() for m, c in sorted(models.items())},
    )


_ENDED = re.compile(r"[.!?…:;。؟۔)\]}»\"'”`>|]\s*$")


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _length(
    row: Row, null: _Count, zero: _Count, broken: _Count, dimensions: dict[int, _Count]
) -> float | None:
    """Return the length of a sound vector; count it where it is not one."""
    if row.vector is None:
        null.add(row.key)
        return None
    dimensions.setdefault(len(row.vector), _Count()).add(row.key)
    length = float(np.linalg.norm(row.vector.astype(np.float64)))
    if not np.isfinite(length):
        broken.add(row.key)
        return None
    if length == 0.0:
        zero.add(row.key)
        return None
    return length


def _sketch(vector: Numbers) -> Numbers:
    return vector[:: max(1, len(vector) // _SKETCH)].copy()


def _differs(first: Numbers | None, vector: Numbers | None) -> bool:
    """Tell whether two vectors of one text cannot come from one model."""
    if first is None or vector is None:
        return False
    second = _sketch(vector)
    if len(first) != len(second):
        return True
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return lengths > 0 and float(first @ second) / lengths < SAME_VECTOR


def _cut(ends: Sequence[tuple[int, str, bool]], longest: int) -> Tally:
    """Return the texts that are exactly as long as the longest, when that looks like a limit.

    A limit is where at least five texts, and one in a hundred, end at the same length; of them,
    more than half without the mark that ends a sentence.
    """
    at_end = [(key, ended) for length, key, ended in ends if length == longest]
    cut = [key for key, ended in at_end if not ended]
    if longest < 100 or len(at_end) < max(5, len(ends) // 100) or len(cut) * 2 <= len(at_end):
        return Tally()
    return Tally(len(at_end), tuple(cut[:EXAMPLES]))


def _norms(lengths: Sequence[tuple[float, str]]) -> Norms | None:
    if not lengths:
        return None
    values = np.array([n for n, _ in lengths], np.float64)
    off = _Count()
    for length, key in lengths:
        if abs(length - 1) > UNIT_TOLERANCE:
            off.add(key)
    low, high = float(values.min()), float(values.max())
    span = (low, high) if high - low > 1e-3 * high else (0.99 * low, 1.01 * high)
    counts, edges = np.histogram(values, bins=_BINS, range=span)
    return Norms(
        count=len(lengths),
        least=low,
        median=float(np.median(values)),
        most=high,
        unit=len(lengths) - off.count,
        not_unit=off.tally(),
        histogram=tuple(
            (float(a), float(b), int(n)) for a, b, n in zip(edges, edges[1:], counts, strict=False)
        ),
        clusters=_clusters(lengths),
    )


def _clusters(lengths: Sequence[tuple[float, str]]) -> tuple[float, float, Tally] | None:
    """Return two groups of lengths when a gap wider than either of them parts them.

    Each group must hold at least five vectors and one in two hundred; lengths are compared as
    ratios. One model may give lengths of any shape, but not two lumps with nothing between.
    """
    ordered = sorted(lengths)
    logs = np.log([n for n, _ in ordered])
    if len(logs) < 10:
        return None
    gaps = np.diff(logs)
    at = int(gaps.argmax()) + 1
    below, above = logs[:at], logs[at:]
    widest = max(float(np.ptp(below)), float(np.ptp(above)), 0.05)
    fewest = min(len(below), len(above))
    if fewest < max(5, len(logs) // 200) or float(gaps[at - 1]) <= widest:
        return None
    minority = ordered[:at] if len(below) <= len(above) else ordered[at:]
    keys = tuple(key for _, key in minority[:EXAMPLES])
    medians = float(np.exp(np.median(below))), float(np.exp(np.median(above)))
    return (*medians, Tally(fewest, keys))
