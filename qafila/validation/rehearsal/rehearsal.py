"""Climb the ladder over a whole copy, then over the same copy with one fault after the other."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from psycopg import sql

from qafila.connections.postgres import connect_postgres
from qafila.embedders.careful import embed_carefully
from qafila.endpoints import open_embedder, reach_of
from qafila.ledger.ledger import Connection
from qafila.search.table import place_name
from qafila.stores.port import Hit, Vectors, VectorStore
from qafila.validation.judged import JudgedQuery
from qafila.validation.model import Rung
from qafila.validation.outcome import Climbed, Outcome, stops
from qafila.validation.questions import OpenArm
from qafila.validation.rehearsal.arms import Questions, arm_over
from qafila.validation.rehearsal.judge_rehearsal import FAULTS, Fault, Trial
from qafila.validation.rehearsal.plants import PLANTS
from qafila.validation.rehearsal.scratch import Scratch, scratch_copy
from qafila.validation.suite import Check, Climb
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import AtMostRatio, CostRatio, Workload

# a copy against itself: below what is planted, above the noise
LATENCY_RATIO, COST_RATIO = 1.25, 1.15
LOW_EF_SEARCH = 1
SLOWER, DEARER = 1.5, 1.3
QUERIES = 300  # are enough for faults of these doses; the climb itself asks all


@dataclass(frozen=True)
class Broken:
    """What a planted fault changes about a climb; everything else is that of the whole copy."""

    rows: int = 0
    ef_search: int | None = None
    stretch: float = 1.0
    dearer: float = 1.0
    seen_as: Callable[[VectorStore], VectorStore] | None = None


class CannotPlant(Exception):
    """A fault has no place in this corpus or store; its text says why."""


@dataclass(frozen=True)
class Rehearsed:
    """The climb over the whole copy, and one trial a fault."""

    clean: Outcome
    trials: Sequence[Trial]
    documents: int
    seconds: float = field(default=0.0)


def rehearse(
    ledger: Connection,
    climb: Climb,
    ladder: Sequence[Check],
    *,
    faults: Sequence[Fault] = FAULTS,
    told: Callable[[str], None] = lambda _: None,
    seen: Callable[[Check, Climbed], None] = lambda _, __: None,
) -> Rehearsed:
    """Copy a generation, climb the ladder over the copy, then break it in every way there is.

    The copy is compared with itself as the baseline, so what the faults do is all there is to see.
    ``told`` hears a line a climb, ``seen`` what each check found. The generation, its services and
    the router are not touched.

    Raises:
        Refused: another rehearsal of this workload is going on.
    """
    begun = time.perf_counter()
    reach = reach_of(ledger, climb.workload)
    seed = climb.options.seed
    with (
        scratch_copy(ledger, climb.workload, climb.generation, reach, seed) as scratch,
        open_embedder(None, climb.workload, reach, generation=climb.generation.number) as embedder,
    ):
        queries = _some(climb.queries, seed)

        def embed(texts: Sequence[str]) -> Vectors:
            return embed_carefully(embedder, texts).vectors

        vectors = Questions(embed)
        vectors.learn([q.text for q in queries])
        again = partial(_climb, climb, scratch, queries, vectors)
        up = partial(_up, ladder, seen)
        told(f"a copy of {scratch.count} documents stands; climbing it whole")
        clean = up(again(Broken(), None))
        told(f"whole: {clean.verdict}. {clean.sentence}")
        least = _least_recall(clean)
        trials = []
        for fault in faults:
            trial = _try(fault, scratch, embed, partial(again, least_recall=least), up)
            trials.append(trial)
            told(f"{fault.name}: {trial.skipped or trial.caught_at or 'MISSED'}")
        return Rehearsed(clean, trials, scratch.count, time.perf_counter() - begun)


def _try(
    fault: Fault,
    scratch: Scratch,
    embed: Callable[[Sequence[str]], Vectors],
    again: Callable[[Broken], Climb],
    up: Callable[[Climb], Outcome],
) -> Trial:
    begun = time.perf_counter()
    try:
        with _planted(fault, scratch, embed) as broken:
            outcome = up(again(broken))
    except CannotPlant as reason:
        return Trial(fault, 0, None, "", 0.0, skipped=str(reason))
    failed = next((f for f in outcome.findings if f.judgement.verdict == "FAIL"), None)
    return Trial(
        fault,
        broken.rows,
        None if failed is None else failed.rung,
        outcome.sentence,
        time.perf_counter() - begun,
    )


def _up(ladder: Sequence[Check], seen: Callable[[Check, Climbed], None], climb: Climb) -> Outcome:
    climbed: list[Climbed] = []
    for check in ladder:
        climbed.append(check(climb))
        seen(check, climbed[-1])
        if stops(climbed[-1]):
            break
    return Outcome(climbed)


def _climb(
    climb: Climb,
    scratch: Scratch,
    queries: Sequence[JudgedQuery],
    vectors: Questions,
    broken: Broken,
    least_recall: float | None,
) -> Climb:
    """Return the climb of a copy: itself as the baseline, itself with a fault as the candidate."""
    whole = _with_objectives(scratch.workload, least_recall)
    faulty = whole if broken.ef_search is None else _with_ef_search(whole, broken.ef_search)

    asked = climb.options
    options = asked.model_copy(
        # results beyond the first page tell nothing that these faults do not show on it
        update={"recall_queries": max(QUERIES, asked.recall_queries), "deep_queries": 0}
    )

    def arm(workload: Workload, stretch: float) -> OpenArm:
        return partial(arm_over, workload, scratch.generation, scratch.reach, vectors, stretch)

    return Climb(
        faulty,
        scratch.generation,
        options,
        queries,
        baseline=arm(whole, 1.0),
        candidate=arm(faulty, broken.stretch),
        original=climb.generation,
        seen_as=broken.seen_as,
        dearer=broken.dearer,
        run_id=climb.run_id,
    )


def _least_recall(clean: Outcome) -> float | None:
    """Return the lower bound of what the index of the whole copy finds; None: not measured."""
    found = clean.finding(Rung.INDEX)
    bounds = None if found is None else found.figures.get("recall_ci")
    return float(bounds[0]) if isinstance(bounds, list) and bounds[0] is not None else None


def _with_objectives(workload: Workload, least_recall: float | None) -> Workload:
    """Return the workload, held to what a copy of itself must reach.

    The index of a broken copy is held to the lower bound of what that of the whole one found.
    """
    least = max(workload.objectives.recall_at_10, least_recall or 0.0)
    objectives = workload.objectives.model_copy(
        update={
            "recall_at_10": least,
            "latency_p95": AtMostRatio(at_most_ratio=LATENCY_RATIO),
            "cost_ratio": CostRatio(at_most_ratio=COST_RATIO),
        }
    )
    return workload.model_copy(update={"objectives": objectives})


def _with_ef_search(workload: Workload, ef_search: int) -> Workload:
    target = workload.corpus.target.model_copy(update={"ef_search": ef_search})
    corpus = workload.corpus.model_copy(update={"target": target})
    return workload.model_copy(update={"corpus": corpus})


def _some(queries: Sequence[JudgedQuery], seed: int) -> Sequence[JudgedQuery]:
    if len(queries) <= QUERIES:
        return queries
    chosen = random.Random(seed).sample(list(queries), QUERIES)
    return sorted(chosen, key=lambda q: q.query_id)


# --- faults ------------------------------------------------------------------------------------


@contextmanager
def _planted(
    fault: Fault, scratch: Scratch, embed: Callable[[Sequence[str]], Vectors]
) -> Iterator[Broken]:
    """Plant a fault for the block.

    Raises:
        CannotPlant: it has no place here; says why.
    """
    if fault.share is not None:
        before = (
            scratch.neighbours(fault.share)
            if fault.name == "dropped shard"
            else scratch.some(fault.share, at_least=2 if fault.name == "swapped vectors" else 1)
        )
        after = PLANTS[fault.name](before, scratch.workload, embed)
        with scratch.with_rows(before, after):
            yield Broken(rows=len(before))
        return
    special: Mapping[str, Callable[[Scratch], Any]] = {
        "lower ef_search": _lower_ef_search,
        "missing index": _missing_index,
        "broken filter": lambda _: nullcontext(Broken(seen_as=Unfiltered)),
        "latency +50 %": lambda _: nullcontext(Broken(stretch=SLOWER)),
        "cost +30 %": lambda _: nullcontext(Broken(dearer=DEARER)),
    }
    with special[fault.name](scratch) as broken:
        yield broken


@contextmanager
def _lower_ef_search(scratch: Scratch) -> Iterator[Broken]:
    _need_pgvector_index(scratch)
    yield Broken(ef_search=LOW_EF_SEARCH)


@contextmanager
def _missing_index(scratch: Scratch) -> Iterator[Broken]:
    _need_pgvector_index(scratch)
    with connect_postgres(**scratch.reach.target) as target:
        found = target.execute(
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'qafila' AND tablename = %s"
            " AND indexdef LIKE '%%USING hnsw%%'",
            [place_name(scratch.workload.name, scratch.generation.number)],
        ).fetchall()
        for (name,) in found:
            target.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier("qafila", name)))
    try:
        yield Broken()
    finally:
        scratch.store.build_index()


def _need_pgvector_index(scratch: Scratch) -> None:
    target = scratch.workload.corpus.target
    if not isinstance(target, PgvectorTarget):
        raise CannotPlant("the settings of this store's index are not ours to break")
    if target.index == "none":
        raise CannotPlant("the workload asks for no index: corpus.target.index is none")


class Unfiltered:
    """A store whose searches do not ask who is reading."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self._everyone = sorted(
            {group for chunks, _ in store.scan(1_000) for c in chunks for group in c.acl}
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def search(
        self, vector: Vectors, k: int, groups: Sequence[str], *more: Any, **other: Any
    ) -> list[Hit]:
        del groups
        return self._store.search(vector, k, self._everyone, *more, **other)
