"""Rung 5: what approximate search finds of what exact search finds, filter by filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qafila.ledger.ledger import open_ledger
from qafila.statistics.ranking_metrics import percentile
from qafila.stores.port import Effort, VectorStore
from qafila.validation.checks.filtered_search import (
    BROKEN,
    Narrowed,
    Truth,
    filters_of,
    reach,
    reach_with,
)
from qafila.validation.checks.judge_recall import (
    IndexFound,
    Reached,
    Setting,
    interval_of,
    judge_filter,
    judge_index,
    judge_parts,
    remedy_of,
)
from qafila.validation.model import Detail, Finding, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.suite import Climb, check
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload
from qafila.workload.verdict import Judgement, Verdict

EFFORTS = (40, 100, 200, 400, 800)
_COMPARED = "the ten nearest by the index with the ten nearest by looking at every row"


@check(Rung.INDEX, "meet exact search")
def measure_index(climb: Climb) -> Climbed:
    """Compare the index with exact search on a sample of the queries, through the store's port.

    Over all rows and under filters: groups of readers, values of the metadata, or parts drawn at
    random. Where recall falls short, the settings that look harder are measured as well.
    """
    try:
        with open_ledger() as ledger, climb.store(ledger) as store:
            problems = store.index_problems()
            if problems:  # what a search finds without its index says nothing about the index
                return _finding(climb, IndexFound(problems), {})
            found, tried = _measure(climb, store)
    except BROKEN as error:
        return Finding(
            Rung.INDEX,
            Judgement(Verdict.ERROR, f"the store was not measured: {str(error).splitlines()[0]}"),
            compared=_COMPARED,
            on="no query",
        )
    return _finding(climb, found, tried)


def _measure(climb: Climb, store: VectorStore) -> tuple[IndexFound, dict[str, Sequence[Setting]]]:
    options, at_least = climb.options, climb.workload.objectives.recall_at_10
    narrowed, missing = filters_of(store, options.recall_groups, options.seed)
    judged = sum(n.filter.kind != "drawn" for n in narrowed)
    reached: list[Reached] = []
    remedies: dict[str, str] = {}
    tried: dict[str, Sequence[Setting]] = {}
    for one in narrowed:
        here, truth = reach(store, one, climb.probes.vectors)
        reached.append(here)
        verdict = judge_filter(here, at_least, of=judged, seed=options.seed).verdict
        low = here.recall is not None and here.recall < at_least
        if here.foreign or verdict is Verdict.PASS or not low:
            continue
        name = here.filter.name
        tried[name] = list(_settings(climb.workload, store, one, truth, at_least, options.seed))
        remedies[name] = remedy_of(tried[name], at_least, seed=options.seed)
    return IndexFound([], reached, remedies, missing), tried


def _settings(
    workload: Workload,
    store: VectorStore,
    narrowed: Narrowed,
    truth: Truth,
    at_least: float,
    seed: int,
) -> Iterator[Setting]:
    """Yield what looking harder reaches; no further than the first that is enough."""
    target = workload.corpus.target
    for ef in EFFORTS:
        if ef <= target.ef_search:
            continue
        shares, times = reach_with(store, narrowed, truth, Effort(ef))
        yield Setting(
            f"ef_search {ef}", f"set corpus.target.ef_search: {ef}", shares, percentile(times, 0.5)
        )
        found = interval_of(shares, of=1, seed=seed)
        if found is not None and found.low >= at_least:
            return
    pgvector = isinstance(target, PgvectorTarget)
    if pgvector and narrowed.filter.kind != "all":
        shares, times = reach_with(store, narrowed, truth, Effort(target.ef_search, strict=True))
        strict = "a service would set hnsw.iterative_scan to strict_order"
        yield Setting("strict iterative scan", strict, shares, percentile(times, 0.5))
    every = (
        f"let the planner go by the filter: an index on it, as CREATE INDEX … USING gin "
        f"({'acl' if narrowed.where is None else 'metadata'})"
        if narrowed.filter.kind != "all"
        else "set corpus.target.index: none, or build anew with a larger m and ef_construction"
    )
    if not pgvector:
        every = "search such readers with exact: true, or build anew with a larger m"
    exact = [1.0] * len(truth.scores)
    name = f"looking at each of the {narrowed.filter.rows:,} rows"
    yield Setting(name, every, exact, percentile(truth.times_ms, 0.5))


def _finding(climb: Climb, found: IndexFound, tried: dict[str, Sequence[Setting]]) -> Finding:
    at_least, seed = climb.workload.objectives.recall_at_10, climb.options.seed
    everything = next((r for r in found.reached if r.filter.kind == "all"), None)
    whole = interval_of(everything.shares, of=1, seed=seed) if everything else None
    parts = judge_parts(found, at_least, seed=seed)
    queries = sum(len(r.shares) for r in found.reached)
    return Finding(
        Rung.INDEX,
        judge_index(found, at_least, seed=seed),
        compared=_COMPARED,
        on=f"{queries:,} searches under {len(found.reached)} filters"
        if queries
        else "the catalogue",
        smallest_effect=""
        if whole is None
        else f"{whole.mean - whole.low:.3f} of recall less, over all rows",
        parts=parts,
        details=_details(found, tried),
        figures={
            "recall_at_10": whole and whole.mean,
            "recall_ci": whole and [whole.low, whole.high],
            "recall_queries": whole.queries if whole else 0,
            "index": {
                "problems": list(found.problems),
                "not_measured": list(found.not_measured),
                "filters": {n: dict(j.numbers) for n, j in parts.items() if j.numbers},
                "remedies": dict(found.remedies),
            },
        },
        series={
            "recall_by_share": [
                {
                    "filter": r.filter.name,
                    "kind": r.filter.kind,
                    "rows": r.filter.rows,
                    "share": r.filter.rows / r.filter.of if r.filter.of else 0.0,
                    "recall": r.recall,
                    "p50_ms": r.p50_ms,
                    "exact_p50_ms": r.exact_p50_ms,
                }
                for r in found.reached
            ]
        },
    )


def _details(found: IndexFound, tried: dict[str, Sequence[Setting]]) -> list[Detail]:
    rows = [
        {
            "filter": name,
            "setting": setting.name,
            "recall@10": f"{sum(setting.shares) / len(setting.shares):.3f}",
            "p50 ms": "–" if setting.p50_ms is None else f"{setting.p50_ms:.2f}",
        }
        for name, settings in tried.items()
        for setting in settings
        if setting.shares
    ]
    details = [Detail("What other settings reach", rows)] if rows else []
    if found.not_measured:
        gaps = [{"filter": gap} for gap in found.not_measured]
        details.append(Detail("Shares of the rows that were not measured", gaps))
    return details
