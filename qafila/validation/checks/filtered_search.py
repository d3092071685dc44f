"""Search under a filter, by the index and by looking at every row: what both rungs of recall do."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from qafila.errors import Refused, Unavailable
from qafila.stores.port import Effort, Hit, Part, Vectors, VectorStore, Where
from qafila.stores.row_sets import NOBODY
from qafila.validation.checks.judge_recall import Filter, Reached, Scores, foreign_hits, share_found
from qafila.validation.judged import K

SELECTIVITIES = (0.1, 0.01, 0.001)  # beside all rows
MOST_READERS = 200  # groups of one reader who sees nearly everything
_NEARLY_ALL = 0.95  # a filter that leaves more narrows nothing
_NEAR = 3.0  # a real filter stands for a selectivity that it is within this factor of
_FEWEST_ROWS = K  # a filter that leaves fewer has no ten nearest to lose
_SCANNED = 10  # queries, where every row is looked at anyway

BROKEN = (Unavailable, psycopg.OperationalError)
"""What a store raises that does not answer: it was not measured."""


@dataclass(frozen=True)
class Narrowed:
    """A filter as a store takes it, with what is said of it."""

    groups: Sequence[str]
    where: Where | None
    filter: Filter


class Truth:
    """The k nearest by looking at every row, query by query, under one filter; asked once."""

    def __init__(self, store: VectorStore, narrowed: Narrowed, vectors: Vectors) -> None:
        self.times_ms: list[float] = []
        self._store, self._narrowed, self.vectors = store, narrowed, vectors
        self.scores = [self._timed(v) for v in vectors]

    def again(self, number: int) -> Scores:
        """Return the same as it is now: rows may have changed since."""
        return scores_of(self._ask(self.vectors[number]))

    def _ask(self, vector: Vectors) -> list[Hit]:
        return self._store.search_exact(vector, K, self._narrowed.groups, self._narrowed.where)

    def _timed(self, vector: Vectors) -> Scores:
        begun = time.perf_counter()
        found = self._ask(vector)
        self.times_ms.append((time.perf_counter() - begun) * 1000)
        return scores_of(found)


def reach(store: VectorStore, narrowed: Narrowed, vectors: Vectors) -> tuple[Reached, Truth]:
    """Search by the index and by looking at every row, under one filter."""
    scanned = store.scans(narrowed.groups, narrowed.where)
    truth = Truth(store, narrowed, vectors[:_SCANNED] if scanned else vectors)
    shares, times, foreign = _compare(store, narrowed, truth, None)
    return Reached(narrowed.filter, shares, times, truth.times_ms, scanned, foreign), truth


def reach_with(
    store: VectorStore, narrowed: Narrowed, truth: Truth, effort: Effort
) -> tuple[list[float], list[float]]:
    """Return shares and times (ms) of the same searches with another effort."""
    shares, times, _ = _compare(store, narrowed, truth, effort)
    return shares, times


def _compare(
    store: VectorStore, narrowed: Narrowed, truth: Truth, effort: Effort | None
) -> tuple[list[float], list[float], list[tuple[str, int]]]:
    shares: list[float] = []
    times: list[float] = []
    foreign: list[tuple[str, int]] = []
    how = () if effort is None else (effort,)
    for number, exact in enumerate(truth.scores):
        begun = time.perf_counter()
        hits = store.search(truth.vectors[number], K, narrowed.groups, narrowed.where, *how)
        times.append((time.perf_counter() - begun) * 1000)
        found = scores_of(hits)
        if foreign_hits(exact, found, K):
            foreign += foreign_hits(truth.again(number), found, K)
        share = share_found(exact, found, K)
        if share is not None:
            shares.append(share)
    return shares, times, list(dict.fromkeys(foreign))


def scores_of(hits: Sequence[Hit]) -> Scores:
    """Return hits by their place."""
    return {(h.source_key, h.chunk_number): h.score for h in hits}


def everybody(readers: Mapping[str, int]) -> list[str]:
    """Return the groups of a reader who sees (nearly) everything, the largest first."""
    named = (g for g in readers if g != NOBODY)
    return sorted(named, key=lambda g: (-readers[g], g))[:MOST_READERS]


def groups_to_try(
    readers: Mapping[str, int], of: int, at_most: int, chance: random.Random
) -> list[str]:
    """Return groups that narrow a search: of many, those near each selectivity, then by chance."""
    narrow = sorted(
        (g for g, n in readers.items() if g != NOBODY and 0 < n < _NEARLY_ALL * of),
        key=lambda g: (-readers[g], g),
    )
    if len(narrow) <= at_most:
        return narrow
    chosen = [narrow[0], narrow[-1]]
    for share in SELECTIVITIES:
        chosen.append(min(narrow, key=lambda g: (_off(readers[g] / of, share), g)))
    rest = [g for g in narrow if g not in chosen]
    chance.shuffle(rest)
    kept = set(list(dict.fromkeys([*chosen, *rest]))[:at_most])
    return [g for g in narrow if g in kept]


def filters_of(
    store: VectorStore, at_most_groups: int, seed: int
) -> tuple[list[Narrowed], list[str]]:
    """Return the filters to search under, all rows first, and what could not be had.

    Real ones where there are some: groups of readers, then values of the metadata; a part drawn at
    random for each selectivity that none of them is near.
    """
    readers, of = store.readers(), store.count()
    everyone, chance = everybody(readers), random.Random(seed)
    visible = store.matching(everyone)
    found = [Narrowed(everyone, None, Filter("all rows", "all", visible, of))]
    for group in groups_to_try(readers, of, at_most_groups, chance):
        named = Filter(f"readers of {group}", "group", readers[group], of)
        found.append(Narrowed([group], None, named))
    values = store.values()
    missing: list[str] = []
    for share in SELECTIVITIES:
        if any(_near(n.filter.rows / of, share) for n in found if of):
            continue
        near = [w for w, n in values.items() if of and _near(n / of, share)]
        name = f"{100 * share:g} % of the rows"
        if near:
            value = min(near, key=lambda w: (_off(values[w] / of, share), str(w)))
            rows = store.matching(everyone, value)
            found.append(Narrowed(everyone, value, Filter(str(value), "value", rows, of)))
        elif share * of < _FEWEST_ROWS:
            missing.append(f"{name}: of {of} they are fewer than {_FEWEST_ROWS}")
        else:
            part = Part(share, seed)
            try:
                rows = store.matching(everyone, part)
            except Refused as refused:
                missing.append(f"{name}: {refused.what}")
                continue
            named = Filter(f"{name}, drawn at random", "drawn", rows, of)
            found.append(Narrowed(everyone, part, named))
    return found, missing


def _near(share: float, wanted: float) -> bool:
    return share > 0 and _off(share, wanted) <= math.log(_NEAR)


def _off(share: float, wanted: float) -> float:
    return abs(math.log(share / wanted))
