"""Compare a source with a generation whole: every key, digest and fingerprint, and no sample.

Both sides are summed up by bucket of their keys, each in the order that is cheapest for it. Only
rows of buckets that differ are read a second time and held side by side, so many at a time as a
bound allows; the rest waits in temporary files. Memory does not grow with rows.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qafila.backfill.load import chunks_of, without_text
from qafila.sources.port import Key, Source, SourceRow
from qafila.stores.port import Chunk, VectorStore, witnesses_of
from qafila.stores.row_sets import (
    NOBODY,
    Differences,
    KeyComparison,
    Sums,
    Witnesses,
    buckets_of,
    digest_words,
    served_buckets_of,
)
from qafila.workload.model import Workload

Place = tuple[str, int]
"""Source key and chunk number."""

BATCH_ROWS = 5_000
MOST_HELD = 200_000  # rows of one side that are held at a time
_IN_MEMORY = 64 * 2**20  # bytes of all spools; beyond, they are files
_MOST_GROUPS = 128
_LOOKED_UP = 1_000
_STOP_SECONDS = 0.5  # until a statement that had not begun yet is stopped again
_ROUNDS, _PAUSE_SECONDS = 5, 1.0  # for rows that live sync is about to write


@runtime_checkable
class HashingSource(Protocol):
    """A source whose server can hash texts itself, so that they need not travel."""

    def witnesses(self, batch_rows: int) -> Iterator[Witnesses] | None:
        """Yield every row as the one chunk of its whole text; None where that cannot be."""

    def sums(self) -> Sums | None:
        """Return the same rows by bucket of their key, summed up by the server."""

    def readers(self) -> Mapping[str, int]:
        """Return how many rows each group may read; ``NOBODY`` stands for no group at all."""


@runtime_checkable
class SummingStore(Protocol):
    """A store whose server can sum up its rows by bucket, as a ``HashingSource`` can."""

    def sums(self) -> Sums:
        """Return all rows by bucket of their key."""

    def stop_sums(self) -> None:
        """Let ``sums``, if it runs in another thread, end with an error; return at once."""


@dataclass(frozen=True)
class Part:
    """A range of the source's keys, as the backfill froze it."""

    number: int
    low: Key | None = None
    high: Key | None = None


@dataclass
class _Seen:
    """What the source held, counted on the way."""

    rows: int = 0
    readers: Counter[str] = field(default_factory=Counter)


def expected_chunks(rows: Sequence[SourceRow], workload: Workload) -> list[Chunk]:
    """Return every chunk that the target should hold of some rows.

    A row without text is expected too, since it must be set aside: it is not just absent.
    """
    chunks = chunks_of(rows, workload)
    return [*chunks, *without_text(rows, chunks, workload)]


def compare_whole(
    source: Source,
    store: VectorStore,
    workload: Workload,
    fingerprint: str,
    set_aside: Collection[Place],
    parts: Sequence[Part] = (),
    *,
    batch_rows: int = BATCH_ROWS,
    most_held: int = MOST_HELD,
    served: bool = True,
) -> KeyComparison:
    """Compare all rows of a source with all chunks of a store.

    ``set_aside`` names the chunks that may be absent, ``parts`` the ranges in which missing rows
    are told. Rows that agree when they are read the second time were written in between, and count
    as equal. With ``served``, servers make the sums where both can.
    """
    absent = _absent(store, set_aside)
    whole = workload.corpus.chunking.method == "whole"
    hashing = source if whole and isinstance(source, HashingSource) else None
    seen, bucket = _Seen(), served_buckets_of
    both = _served(hashing, store, seen) if served and not absent else None
    if both is None:
        bucket, both = buckets_of, (Sums(), Sums())
        for rows in _wanted_quickly(source, hashing, workload, absent, seen, batch_rows):
            both[0].add(rows)
        for rows in store.witnesses(batch_rows):
            both[1].add(rows)
    wanted, found = both
    differing = wanted.differing(found)
    differences = Differences()
    if differing.any():
        groups = _groups(differing, np.maximum(wanted.rows, found.rows), most_held)
        every = parts or [Part(0)]
        _walk(
            differences,
            lambda keys: groups[bucket(keys)],
            int(groups.max()) + 1,
            _wanted_by_part(source, workload, absent, every, batch_rows),
            store.witnesses(batch_rows),
        )
        if bucket is served_buckets_of and not differences.counts:
            # rows moved meanwhile, or two servers hash differently: our own sums say which
            return compare_whole(
                source,
                store,
                workload,
                fingerprint,
                set_aside,
                parts,
                batch_rows=batch_rows,
                most_held=most_held,
                served=False,
            )
        if workload.corpus.live_sync:
            differences = _settled(differences, source, store, workload, fingerprint, absent)
    moved = bool(differing.any()) and not differences.counts
    # counts of rows that are being written say nothing; the next rung compares row by row
    still = not moved and not workload.corpus.live_sync
    readers, there = (seen.readers, store.readers()) if still else ({}, {})
    return KeyComparison(
        rows=seen.rows,
        expected=wanted.count,
        found=found.count,
        set_aside=len(absent),
        differences=differences,
        readers={g: (readers.get(g, 0), there.get(g, 0)) for g in {**readers, **there}},
        moved=int(differing.sum()) if moved else 0,
        shards=max(1, len(parts)),
    )


def _absent(store: VectorStore, set_aside: Collection[Place]) -> set[Place]:
    """Return what was set aside and is not there; what came after all is expected like any."""
    places = sorted(set_aside)
    there: set[Place] = set()
    for start in range(0, len(places), _LOOKED_UP):
        there |= store.digests([key for key, _ in places[start : start + _LOOKED_UP]]).keys()
    return set(set_aside) - there


def _served(
    source: HashingSource | None, store: VectorStore, seen: _Seen
) -> tuple[Sums, Sums] | None:
    """Return the sums of both sides, made by their servers at the same time; None: they cannot."""
    if source is None or not isinstance(store, SummingStore):
        return None
    begun, stopped, over = Event(), Event(), Event()

    def sum_up() -> Sums:
        begun.set()
        try:
            if stopped.is_set():
                raise CancelledError
            return store.sums()
        finally:
            over.set()

    with ThreadPoolExecutor(1, thread_name_prefix="sums") as other:
        try:
            # may be interrupted once the other thread runs, and before its future is known here
            theirs = other.submit(sum_up)
            mine = source.sums()
            found = theirs.result()
        except BaseException:
            stopped.set()
            while begun.is_set() and not over.is_set():  # it would be waited for, to its very end
                store.stop_sums()
                over.wait(_STOP_SECONDS)
            raise
    if mine is None:
        return None
    seen.rows = mine.count
    seen.readers.update(source.readers())
    return mine, found


def _wanted_quickly(
    source: Source,
    hashing: HashingSource | None,
    workload: Workload,
    absent: set[Place],
    seen: _Seen,
    batch_rows: int,
) -> Iterator[Witnesses]:
    """Yield what should be there, hashed by the source's own server where it can."""
    quick = None if hashing is None else hashing.witnesses(batch_rows)
    if hashing is None or quick is None:
        yield from _wanted(source, workload, absent, Part(0), seen, batch_rows)
        return
    gaps = {(key.encode("utf-8", "surrogatepass"), number) for key, number in absent}
    for rows in quick:
        seen.rows += len(rows.keys)
        yield _without(rows, gaps) if gaps else rows
    seen.readers.update(hashing.readers())
    keys = sorted({key for key, _ in absent})
    for start in range(0, len(keys), _LOOKED_UP):
        gone = source.fetch(keys[start : start + _LOOKED_UP])
        seen.readers.subtract(_groups_of(expected_chunks(gone, workload)))


def _wanted(
    source: Source,
    workload: Workload,
    absent: set[Place],
    part: Part,
    seen: _Seen,
    batch_rows: int,
) -> Iterator[Witnesses]:
    for rows in source.read(part.low, part.high, batch_rows):
        chunks = expected_chunks(rows, workload)
        if absent:
            chunks = [c for c in chunks if (c.source_key, c.number) not in absent]
        seen.rows += len(rows)
        seen.readers.update(_groups_of(chunks))
        yield witnesses_of(chunks)


def _groups_of(chunks: Sequence[Chunk]) -> Counter[str]:
    """Count chunks by group; lists of groups repeat, so each is looked at once."""
    counted: Counter[str] = Counter()
    for groups, many in Counter([tuple(c.acl) for c in chunks]).items():
        for group in set(groups) or {NOBODY}:
            counted[group] += many
    return counted


def _without(rows: Witnesses, gaps: set[tuple[bytes, int]]) -> Witnesses:
    places = zip(rows.keys, rows.numbers.tolist(), strict=True)
    return rows.some(np.array([place not in gaps for place in places], np.bool_))


def _wanted_by_part(
    source: Source,
    workload: Workload,
    absent: set[Place],
    parts: Sequence[Part],
    batch_rows: int,
) -> Iterator[tuple[Witnesses, int | None]]:
    for part in parts:
        for rows in _wanted(source, workload, absent, part, _Seen(), batch_rows):
            yield rows, part.number


def _groups(
    differing: NDArray[np.bool_], rows: NDArray[np.int64], most_held: int
) -> NDArray[np.int64]:
    """Return the group of each bucket, in which no more than ``most_held`` rows are; -1: equal.

    A bucket is never cut in two, so one that holds more is a group by itself.
    """
    groups = np.full(len(rows), -1, np.int64)
    most_held = max(most_held, int(rows[differing].sum()) // _MOST_GROUPS + 1)
    group = held = 0
    for bucket in np.flatnonzero(differing).tolist():
        if held and held + int(rows[bucket]) > most_held:
            group, held = group + 1, 0
        groups[bucket] = group
        held += int(rows[bucket])
    return groups


def _walk(
    differences: Differences,
    group_of: Callable[[Sequence[bytes]], NDArray[np.int64]],
    number: int,
    wanted: Iterator[tuple[Witnesses, int | None]],
    found: Iterator[Witnesses],
) -> None:
    """Hold the rows of the differing buckets side by side, one group after the other."""
    with ExitStack() as stack:
        sides = [
            [stack.enter_context(closing(_Spool(number))) for _ in range(number)] for _ in range(2)
        ]
        for rows, shard in wanted:
            for group, part in _by_group(rows, group_of(rows.keys)):
                sides[0][group].put((part, shard))
        for rows in found:
            for group, part in _by_group(rows, group_of(rows.keys)):
                sides[1][group].put((part, None))
        for expected, there in zip(*sides, strict=True):
            differences.compare(expected.all(), (part for part, _ in there.all()))


def _by_group(rows: Witnesses, mine: NDArray[np.int64]) -> Iterator[tuple[int, Witnesses]]:
    for group in np.unique(mine[mine >= 0]).tolist():
        yield group, rows.some(mine == group)


class _Spool:
    """Batches that wait to be read once; in a file of its own when they are many."""

    def __init__(self, of: int) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY // of)  # noqa: SIM115

    def put(self, batch: tuple[Witnesses, int | None]) -> None:
        pickle.dump(batch, self._file, pickle.HIGHEST_PROTOCOL)

    def all(self) -> Iterator[tuple[Witnesses, int | None]]:
        self._file.seek(0)
        while True:
            try:
                yield pickle.load(self._file)
            except EOFError:
                return

    def close(self) -> None:
        self._file.close()


def _settled(
    first: Differences,
    source: Source,
    store: VectorStore,
    workload: Workload,
    fingerprint: str,
    absent: set[Place],
) -> Differences:
    """Look again at what differs while live sync writes; what stays different is a difference.

    Where more differs than is kept by name, it is no race, and nothing is looked at again.
    """
    named = first.named()
    if not named or len(named) < sum(first.counts.values()) or first.counts["repeated"]:
        return first
    left = first
    for _ in range(_ROUNDS):
        if not left.counts:
            break
        time.sleep(_PAUSE_SECONDS)
        keys = sorted({d.place[0] for d in left.named()})
        left = Differences()
        rows = source.fetch(keys)
        chunks = [
            c for c in expected_chunks(rows, workload) if (c.source_key, c.number) not in absent
        ]
        there = store.digests(keys)
        left.compare([(witnesses_of(chunks), None)], [_found(there, fingerprint)])
    return left


def _found(there: Mapping[Place, tuple[bytes, str]], fingerprint: str) -> Witnesses:
    return Witnesses(
        [key.encode("utf-8", "surrogatepass") for key, _ in there],
        np.array([number for _, number in there], np.int64),
        np.array([mark == fingerprint for _, mark in there.values()], np.bool_),
        digest_words([digest for digest, _ in there.values()]),
    )
