"""Rung 1: two sets of rows compared whole, in memory that does not grow with them.

First both sides are summed up in buckets of their keys. The sums take rows in any order, so no
store has to sort, and no collation can put two stores into different orders. Rows are then held
side by side only for the buckets that differ, and named in the order of their keys' bytes.

A row enters its bucket's sum as a 64-bit hash that is a bijection of each word of its digest, so a
change of one word never leaves it the same. Two different rows meet in one hash with a chance of
2^-64; the hash of the key has a secret of its own in every process. Where source and target are
both PostgreSQL their servers make the sums, of another hash, and no row travels.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qafila.workload.verdict import Judgement, Verdict

BUCKETS = 4096
MOST_NAMED = 1_000  # rows that are kept by name; all are counted
NOBODY = "(nobody)"  # stands for an empty list of groups

Fault = Literal["missing", "stale", "foreign", "extra", "repeated"]
_WORDS: Mapping[Fault, str] = {
    "missing": "missing",
    "repeated": "twice",
    "stale": "stale",
    "foreign": "of another fingerprint",
    "extra": "extra",
}
_ODD = np.uint64(0x9E3779B97F4A7C15)  # Steele, Lea and Flood, OOPSLA 2014: splitmix64
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Witnesses:
    """Some rows by what identifies them, of one length.

    ``keys`` are in UTF-8, ``digests`` of shape (rows, 4): the 32 bytes of SHA-256 as they stand in
    memory. ``marked`` says which rows have the generation's own fingerprint.
    """

    keys: Sequence[bytes]
    numbers: NDArray[np.int64]
    marked: NDArray[np.bool_]
    digests: NDArray[np.uint64]

    def some(self, chosen: NDArray[np.bool_]) -> Witnesses:
        """Return the rows that are chosen."""
        keys = [k for k, yes in zip(self.keys, chosen.tolist(), strict=True) if yes]
        return Witnesses(keys, self.numbers[chosen], self.marked[chosen], self.digests[chosen])


def digest_words(digests: Iterable[bytes]) -> NDArray[np.uint64]:
    """Return SHA-256 digests as an array of shape (rows, 4); one of another length is all zero."""
    joined = b"".join([d if len(d) == 32 else bytes(32) for d in digests])
    return np.frombuffer(joined, np.uint64).reshape(-1, 4)


def buckets_of(keys: Sequence[bytes]) -> NDArray[np.int64]:
    """Return the bucket of each key, the same everywhere in this process."""
    return (_mixed(_hashes(keys)) >> np.uint64(52)).astype(np.int64)


def served_buckets_of(keys: Sequence[bytes]) -> NDArray[np.int64]:
    """Return each key's bucket where a server made the sums: the first 12 bits of its SHA-256."""
    heads = b"".join([hashlib.sha256(k).digest()[:2] for k in keys])
    return (np.frombuffer(heads, ">u2") >> 4).astype(np.int64)


class Sums:
    """Rows of one side by bucket: how many, and two sums over their hashes."""

    def __init__(self) -> None:
        self.rows = np.zeros(BUCKETS, np.int64)
        self._sums = np.zeros((2, BUCKETS), np.uint64)

    @classmethod
    def of(cls, buckets: Iterable[tuple[int, int, int, int]]) -> Sums:
        """Return what a server summed up: bucket, rows, and two sums, which count modulo 2^64."""
        sums = cls()
        for bucket, rows, first, second in buckets:
            sums.rows[bucket] = rows
            sums._sums[:, bucket] = int(first) % 2**64, int(second) % 2**64
        return sums

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return int(self.rows.sum())

    def add(self, rows: Witnesses) -> None:
        """Take some rows in; their order never counts."""
        if not rows.keys:
            return
        hashes = _hashes(rows.keys)
        place = (_mixed(hashes) >> np.uint64(52)).astype(np.int64)
        with np.errstate(over="ignore"):
            state = _mixed(hashes ^ _mixed(rows.numbers.astype(np.uint64) + _ODD))
            for word in range(4):
                state = _mixed(state ^ rows.digests[:, word])
            state = _mixed(state ^ rows.marked.astype(np.uint64))
            np.add.at(self._sums[0], place, state)
            np.add.at(self._sums[1], place, _mixed(state ^ _ODD))
        self.rows += np.bincount(place, minlength=BUCKETS)

    def differing(self, other: Sums) -> NDArray[np.bool_]:
        """Return which buckets do not hold the same rows."""
        first, second = self._sums != other._sums
        unequal: NDArray[np.bool_] = first | second | (self.rows != other.rows)
        return unequal


def _hashes(keys: Sequence[bytes]) -> NDArray[np.uint64]:
    return np.fromiter(map(hash, keys), np.int64, len(keys)).view(np.uint64)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return splitmix64's finaliser of every number: a bijection."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * _FIRST
        x = (x ^ (x >> np.uint64(27))) * _SECOND
        return x ^ (x >> np.uint64(31))


@dataclass(frozen=True, order=True)
class Difference:
    """One row that differs; in the order of keys' bytes. ``shard`` is that of a missing row."""

    key: bytes
    number: int
    fault: Fault
    shard: int | None = field(default=None, compare=False)

    @property
    def place(self) -> tuple[str, int]:
        """Return source key and chunk number."""
        return self.key.decode("utf-8", "surrogatepass"), self.number


class Differences:
    """All that differs: counted whole, named up to ``MOST_NAMED`` rows, the first by key."""

    def __init__(self) -> None:
        self.counts: Counter[Fault] = Counter()
        self.missing_by_shard: Counter[int] = Counter()
        self.documents_missing = 0
        self._named: list[Difference] = []

    def compare(
        self, expected: Iterable[tuple[Witnesses, int | None]], found: Iterable[Witnesses]
    ) -> None:
        """Compare all rows of some buckets; ``expected`` comes with the shard of its rows."""
        wanted: dict[tuple[bytes, int], tuple[bytes, int | None]] = {}
        for rows, shard in expected:
            for key, number, digest in zip(
                rows.keys, rows.numbers.tolist(), map(bytes, rows.digests), strict=True
            ):
                wanted[key, number] = (digest, shard)
        seen: set[tuple[bytes, int]] = set()
        for rows in found:
            for key, number, digest, marked in zip(
                rows.keys,
                rows.numbers.tolist(),
                map(bytes, rows.digests),
                rows.marked.tolist(),
                strict=True,
            ):
                place = key, number
                if place in seen:
                    self._say(Difference(key, number, "repeated"))
                    continue
                seen.add(place)
                if place not in wanted:
                    self._say(Difference(key, number, "extra"))
                elif wanted[place][0] != digest:
                    self._say(Difference(key, number, "stale"))
                elif not marked:
                    self._say(Difference(key, number, "foreign"))
        gone = wanted.keys() - seen
        self.documents_missing += len({key for key, _ in gone})
        for place in gone:
            shard = wanted[place][1]
            if shard is not None:
                self.missing_by_shard[shard] += 1
            self._say(Difference(*place, "missing", shard))

    def _say(self, difference: Difference) -> None:
        self.counts[difference.fault] += 1
        self._named.append(difference)
        if len(self._named) > 8 * MOST_NAMED:
            self._named = heapq.nsmallest(MOST_NAMED, self._named)

    def named(self) -> list[Difference]:
        """Return the differing rows in the order of their keys, at most ``MOST_NAMED``."""
        return heapq.nsmallest(MOST_NAMED, self._named)


@dataclass(frozen=True)
class KeyComparison:
    """A source and a generation, compared whole.

    Attributes:
        rows: of the source.
        expected: chunks that should be there.
        found: chunks that are there.
        set_aside: chunks that a reason was written down for, and that are not there.
        readers: chunks expected and found, by group.
        moved: buckets that differed at first and agreed when they were read again.
        shards: how many shards the source was read in to say where rows are missing.
    """

    rows: int
    expected: int
    found: int
    set_aside: int
    differences: Differences
    readers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    moved: int = 0
    shards: int = 1

    @property
    def complete(self) -> bool:
        """Say whether every chunk is there once, with the right text and fingerprint."""
        return not self.differences.counts

    @property
    def unequal_readers(self) -> dict[str, tuple[int, int]]:
        """Return the groups that may read another number of chunks than they should."""
        return {g: both for g, both in self.readers.items() if both[0] != both[1]}


def judge_keys(compared: KeyComparison) -> Judgement:
    """Judge a whole comparison: PASS when nothing differs, else FAIL; it was no sample."""
    counts, named = compared.differences.counts, compared.differences.named()
    numbers: dict[str, object] = {
        "rows": compared.rows,
        "expected": compared.expected,
        "found": compared.found,
        "set_aside": compared.set_aside,
        **{fault: counts[fault] for fault in _WORDS},
        "examples": [f"{d.fault} {d.place}" for d in named[:10]],
        "readers": {g: list(both) for g, both in compared.unequal_readers.items()},
    }
    said = (
        f"{compared.rows:,} rows in, {compared.found:,} chunks found of {compared.expected:,}: "
        + ", ".join(f"{counts[fault]} {word}" for fault, word in _WORDS.items())
        + f", {compared.set_aside:,} set aside"
    )
    unequal = compared.unequal_readers
    if compared.complete and not unequal:
        moved = f"; {compared.moved:,} differed at first, while rows were written" * bool(
            compared.moved
        )
        return Judgement(Verdict.PASS, f"{said}; keys and digests equal{moved}.", numbers)
    parts = [said + "."]
    if named:
        told = ", ".join(f"{_WORDS[d.fault]} {d.place[0]} (chunk {d.number})" for d in named[:3])
        parts.append(f"First by key: {told}.")
    shards = compared.differences.missing_by_shard
    if shards and compared.shards > 1:
        parts.append(f"Missing in {_shards(shards)}.")
    if unequal and compared.complete:
        parts.append("Readers: " + "; ".join(_readers(*item) for item in sorted(unequal.items())))
    return Judgement(Verdict.FAIL, " ".join(parts), numbers)


def readers_parts(compared: KeyComparison) -> dict[str, Judgement]:
    """Return one judgement a group: as many chunks for it as the source says, or not."""
    return {
        f"readers: {group}": Judgement(
            Verdict.PASS if both[0] == both[1] else Verdict.FAIL,
            _readers(group, both),
            {"expected": both[0], "found": both[1]},
        )
        for group, both in sorted(compared.readers.items())
    }


def _readers(group: str, both: tuple[int, int]) -> str:
    return f"{group} may read {both[1]:,} chunks, by the source {both[0]:,}."


def _shards(missing: Mapping[int, int]) -> str:
    first = sorted(missing.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"shard {n} ({many})" for n, many in first[:5])
    return told + (f" and {len(first) - 5} more shards" if len(first) > 5 else "")
