"""Judged queries and what a system answered: from single answers to the figures of one arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qafila.statistics.ranking_metrics import (
    mean,
    ndcg_at_k,
    percentile,
    recall_at_k,
    reciprocal_rank,
)

K = 10  # the ladder judges first pages
DEPTH = 100  # of the lists by which searches and embedders are compared
DEEP_METRICS = ("ndcg_at_10", "mrr", "recall_at_100")


@dataclass(frozen=True)
class JudgedQuery:
    """A question and the documents that are known to answer it, with their grades.

    ``query_class`` and ``language`` are what its owner says; None where nobody has said it.
    """

    query_id: str
    text: str
    grades: Mapping[str, float]
    query_class: str | None = None
    language: str | None = None

    @property
    def judged(self) -> bool:
        """Say whether some document is known to answer it."""
        return any(g > 0 for g in self.grades.values())


@dataclass(frozen=True)
class Answer:
    """What one system said to one query; ``ranking`` is None when it was an error."""

    ranking: tuple[str, ...] | None
    ms: float


@dataclass(frozen=True)
class ArmMeasurement:
    """What one system did over the judged queries; None where nothing could be measured."""

    queries: int
    errors: int
    ndcg_at_10: float | None
    mrr: float | None
    p50_ms: float | None
    p95_ms: float | None
    mean_ms: float | None
    recall_at_10: float | None = None


@dataclass(frozen=True)
class Change:
    """One query whose answer changed, for a person to look at."""

    query: JudgedQuery
    baseline: tuple[str, ...]
    candidate: tuple[str, ...]
    delta: float  # of nDCG@10


@dataclass(frozen=True)
class QueryScores:
    """Every query's value by metric, in the order of the queries; None where there is none."""

    ndcg_at_10: Sequence[float | None]
    mrr: Sequence[float | None]
    recall_at_10: Sequence[float | None]


def query_scores(queries: Sequence[JudgedQuery], answers: Sequence[Answer]) -> QueryScores:
    """Return all metrics of every query; None for an error, and without a relevant document."""
    pairs = list(zip(queries, answers, strict=True))
    return QueryScores(
        ndcg_scores(queries, answers),
        [None if a.ranking is None else reciprocal_rank(a.ranking[:K], q.grades) for q, a in pairs],
        [None if a.ranking is None else recall_at_k(a.ranking, q.grades, K) for q, a in pairs],
    )


def ndcg_scores(queries: Sequence[JudgedQuery], answers: Sequence[Answer]) -> list[float | None]:
    """Return nDCG@10 a query; None for an error and for a query without a relevant document."""
    return [
        None if a.ranking is None else ndcg_at_k(a.ranking, q.grades, K)
        for q, a in zip(queries, answers, strict=True)
    ]


def deep_scores(
    queries: Sequence[JudgedQuery], rankings: Sequence[Sequence[str]]
) -> dict[str, list[float]]:
    """Return nDCG@10, MRR and recall@100 of lists of up to a hundred, a value a query.

    Every query has a relevant document, so none is missing.
    """
    found: dict[str, list[float]] = {m: [] for m in DEEP_METRICS}
    for query, ranking in zip(queries, rankings, strict=True):
        for metric, value in zip(
            DEEP_METRICS,
            (
                ndcg_at_k(ranking, query.grades, K),
                reciprocal_rank(ranking[:DEPTH], query.grades),
                recall_at_k(ranking, query.grades, DEPTH),
            ),
            strict=True,
        ):
            assert value is not None
            found[metric].append(value)
    return found


def measure_arm(queries: Sequence[JudgedQuery], answers: Sequence[Answer]) -> ArmMeasurement:
    """Return the figures of one system. Errors have no quality and no latency: they are counted."""
    answered = [(q, a) for q, a in zip(queries, answers, strict=True) if a.ranking is not None]
    times = [a.ms for _, a in answered]
    return ArmMeasurement(
        queries=len(queries),
        errors=len(queries) - len(answered),
        ndcg_at_10=mean(ndcg_scores(queries, answers)),
        mrr=mean([reciprocal_rank((a.ranking or ())[:K], q.grades) for q, a in answered]),
        p50_ms=percentile(times, 0.50),
        p95_ms=percentile(times, 0.95),
        mean_ms=mean(times),
        recall_at_10=mean([recall_at_k(a.ranking or (), q.grades, K) for q, a in answered]),
    )


def both_measured(
    candidate: Sequence[float | None], baseline: Sequence[float | None]
) -> tuple[list[float], list[float]]:
    """Return the values of the queries that both systems have one for, in the same order."""
    pairs = [
        (c, b) for c, b in zip(candidate, baseline, strict=True) if c is not None and b is not None
    ]
    return [c for c, _ in pairs], [b for _, b in pairs]


def worst_changes(
    queries: Sequence[JudgedQuery],
    baseline: Sequence[Answer],
    candidate: Sequence[Answer],
    limit: int,
) -> list[Change]:
    """Return the queries that lost most, the greatest loss first; ties by query id."""
    changes = [
        Change(q, b.ranking or (), c.ranking or (), new - old)
        for q, b, c, old, new in zip(
            queries,
            baseline,
            candidate,
            ndcg_scores(queries, baseline),
            ndcg_scores(queries, candidate),
            strict=True,
        )
        if old is not None and new is not None and new < old
    ]
    return sorted(changes, key=lambda c: (c.delta, c.query.query_id))[:limit]
