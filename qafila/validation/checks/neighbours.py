"""Rung 4: exact search finds the same in the old index and in the new, where both exist."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import psycopg

from qafila.backfill.generations import model_of
from qafila.backfill.verify import list_set_aside
from qafila.endpoints import open_source, open_store
from qafila.errors import Refused
from qafila.ledger.ledger import Connection, fingerprint_body, generation_of, open_ledger
from qafila.ledger.promoted import serving_generation
from qafila.sources.pgvector import FULL_ROUNDS, HALF_ROUNDS
from qafila.sources.port import IndexSource
from qafila.stores.port import Vectors, VectorStore
from qafila.validation.checks.filtered_search import BROKEN, everybody, scores_of
from qafila.validation.checks.judge_neighbours import (
    Compared,
    compare,
    judge_other,
    judge_same,
    least_seen,
)
from qafila.validation.checks.judge_recall import Scores
from qafila.validation.judged import K
from qafila.validation.model import Detail, Finding, NotApplicable, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.suite import Climb, check
from qafila.workload.corpus import PgvectorSource, PgvectorTarget, QdrantSource
from qafila.workload.fingerprint import VectorPart
from qafila.workload.verdict import Judgement, Verdict

Place = tuple[str, int]

_SPARE = 30  # more are asked for, since some of the old index may rightly be absent from the new
_BATCH_ROWS = 10_000
_MADE_OF = ("model", "model_revision", "dimensions", "normalised", "chunker", "chunker_version")
_COMPARED = "the ten nearest by exact search in the old index and in the new"


@dataclass(frozen=True)
class OldIndex:
    """What was searched before: its name, why its vectors are others (None: the same), its ports.

    ``vectors`` gives the stored vector of each chunk of some documents.
    """

    name: str
    why_other: str | None
    rounds: float
    nearest: Callable[[Vectors, int], Scores]
    vectors: Callable[[Sequence[str]], Mapping[Place, Vectors]]


@check(Rung.NEIGHBOURS, "meet the old index")
def compare_neighbours(climb: Climb) -> Climbed:
    """Ask old and new index for the neighbours of documents drawn by the seed, and of queries.

    Where the vectors should be the same, so should the neighbours; elsewhere the overlap is told.
    """
    try:
        with (
            open_ledger() as ledger,
            _old_index(ledger, climb) as old,
            climb.store(ledger) as new,
        ):
            if isinstance(old, str):
                return NotApplicable(Rung.NEIGHBOURS, old)
            compared, tie = _compare(climb, ledger, old, new)
    except BROKEN as error:
        return Finding(
            Rung.NEIGHBOURS,
            Judgement(Verdict.ERROR, f"nothing was compared: {str(error).splitlines()[0]}"),
            compared=_COMPARED,
            on="no question",
        )
    except (Refused, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction) as error:
        said = str(error).splitlines()[0]
        return NotApplicable(Rung.NEIGHBOURS, f"the old index cannot be searched: {said}")
    return _finding(climb, old, compared, tie)


@contextmanager
def _old_index(ledger: Connection, climb: Climb) -> Iterator[OldIndex | str]:
    """Open the index of before; a sentence where there is none.

    The source itself, when it is an index; else the generation that serves.
    """
    workload, source = climb.workload, climb.workload.corpus.source
    if isinstance(source, PgvectorSource | QdrantSource):
        with open_source(ledger, workload) as opened:
            index = cast(IndexSource, opened)

            def vectors(keys: Sequence[str]) -> Mapping[Place, Vectors]:
                return {
                    (r.piece.source_key, r.piece.number): r.vector
                    for r in index.fetch(keys)
                    if r.piece is not None and r.vector is not None
                }

            yield OldIndex(
                f"the source {source.name}",
                _why_other(climb, source),
                index.rounds,
                lambda vector, k: {(key, n): s for key, n, s in index.nearest(vector, k)},
                vectors,
            )
        return
    number = serving_generation(ledger, workload.name)
    if number is None or number == climb.original.number:
        yield (
            "there is no old index: the source holds no vectors, and no other generation of "
            f"{workload.name} serves."
        )
        return
    before = generation_of(ledger, workload.name, number)
    was, now = (fingerprint_body(ledger, g) for g in (before, climb.original))
    different = [n for n in _MADE_OF if was.get(n) != now.get(n)]
    named = " and ".join(d.replace("_", " ") for d in different)
    why = f"it differs in {named}" if different else None
    with open_store(ledger, workload, before) as store:
        yield OldIndex(f"generation {number}", why, _rounds(climb), *_ports(store))


def _ports(
    store: VectorStore,
) -> tuple[Callable[[Vectors, int], Scores], Callable[[Sequence[str]], Mapping[Place, Vectors]]]:
    groups = everybody(store.readers())
    return (
        lambda vector, k: scores_of(store.search_exact(vector, k, groups)),
        lambda keys: _stored(store, keys),
    )


def _stored(store: VectorStore, keys: Sequence[str]) -> Mapping[Place, Vectors]:
    found = store.stored(keys)
    places = [(c.source_key, c.number) for c in found.chunks]
    return dict(zip(places, found.vectors, strict=True))


def _why_other(climb: Climb, source: PgvectorSource | QdrantSource) -> str | None:
    corpus = climb.workload.corpus
    if corpus.bridge is not None:
        return "a bridge maps its vectors"
    if corpus.chunking.method != "whole":
        return "its chunks are cut anew"
    model, revision = model_of(corpus.embedder)
    wanted = VectorPart(model, revision, corpus.embedder.dimensions, True)
    origin = source.vectors
    held = VectorPart(origin.model, origin.revision, wanted.dimensions, origin.normalised)
    different = wanted.differences(held)
    return f"its vectors have {'; '.join(different)}" if different else None


def _rounds(climb: Climb) -> float:
    target = climb.workload.corpus.target
    half = isinstance(target, PgvectorTarget) and target.vector_type == "halfvec"
    return HALF_ROUNDS if half else FULL_ROUNDS


def _compare(
    climb: Climb, ledger: Connection, old: OldIndex, new: VectorStore
) -> tuple[list[Compared], float]:
    options = climb.options
    tie = max(old.rounds, _rounds(climb))
    find, _ = _ports(new)
    absent = _Absent(new, {*list_set_aside(ledger, climb.original)})
    places = drawn(new, options.neighbour_queries, options.seed)
    keys = list(dict.fromkeys(key for key, _ in places))
    before, after = old.vectors(keys), _stored(new, keys)
    asked: list[tuple[str, Vectors, Vectors, Place | None]] = [
        (_question(p), before[p], before[p] if old.why_other is None else after[p], p)
        for p in places
        if p in before and p in after
    ]
    if old.why_other is None:  # what users ask, in vectors that both understand
        some = climb.probes.queries[: options.neighbour_queries // 2]
        asked += [
            (f"{q.text!r}", v, v, None) for q, v in zip(some, climb.probes.vectors, strict=False)
        ]
    compared = []
    for name, old_vector, new_vector, itself in asked:
        found = absent.without(old.nearest(old_vector, K + _SPARE))
        there = find(new_vector, K + 1)
        if old.why_other is not None:  # a document is its own nearest, which says nothing
            found, there = _others(found, itself), _others(there, itself)
        compared.append(compare(name, found, there, K, tie))
    return compared, tie


class _Absent:
    """Rows of the old index that searches of the new one rightly do not show."""

    def __init__(self, store: VectorStore, set_aside: Collection[Place]) -> None:
        self._store = store
        self._set_aside = set_aside
        self._groups = everybody(store.readers())

    def without(self, found: Scores) -> Scores:
        """Leave out what was set aside, and what is there and nobody may read."""
        keys = list(dict.fromkeys(key for key, _ in found))
        hidden = set(found) - self._store.visible(keys, self._groups)
        if not hidden:
            return found
        there = self._store.digests([key for key, _ in hidden])
        rightly = {p for p in hidden if p in self._set_aside or p in there}
        return {p: score for p, score in found.items() if p not in rightly}


def drawn(store: VectorStore, at_most: int, seed: int) -> list[Place]:
    """Return chunks drawn by chance, the same by the same seed whatever order they come in."""

    def lots() -> Iterator[tuple[int, Place]]:
        for batch in store.witnesses(_BATCH_ROWS):
            for key, number in zip(batch.keys, batch.numbers.tolist(), strict=True):
                lot = zlib.crc32(b"%d:%d:%s" % (seed, number, key))
                yield lot, (key.decode("utf-8", "surrogatepass"), number)

    return [place for _, place in heapq.nsmallest(at_most, lots())]


def _others(found: Scores, itself: Place | None) -> Scores:
    return {p: score for p, score in found.items() if p != itself}


def _question(place: Place) -> str:
    return place[0] if place[1] == 0 else f"{place[0]} ({place[1]})"


def _finding(climb: Climb, old: OldIndex, compared: Sequence[Compared], tie: float) -> Finding:
    same = old.why_other is None
    judged = (
        judge_same(compared, tie)
        if old.why_other is None
        else judge_other(compared, f"{old.name}: {old.why_other}", seed=climb.options.seed)
    )
    shown = sorted(
        (c for c in compared if (c.differs(tie) if same else c.overlap < 1)),
        key=lambda c: (c.overlap, c.query),
    )
    rows = [
        {
            "asked": c.query,
            "overlap@10": f"{c.overlap:.2f}",
            "only in the old": ", ".join(map(_question, c.lost[:3])) or "–",
            "only in the new": ", ".join(map(_question, c.gained[:3])) or "–",
            "scores apart": f"{c.off:.1g}",
        }
        for c in shown[:50]
    ]
    return Finding(
        Rung.NEIGHBOURS,
        judged,
        compared=f"{_COMPARED}; old is {old.name}",
        on=f"{len(compared)} questions",
        smallest_effect=least_seen(len(compared)) if same and compared else "",
        details=[Detail("Where neighbours differ most", rows)] if rows else (),
        figures={"neighbours": {**judged.numbers, "old": old.name, "same_vectors": same}},
    )
