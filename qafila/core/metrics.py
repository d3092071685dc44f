"""How good one ranked list is, given what people judged relevant.

Grades are non-negative; an unjudged document counts as grade 0. A query without any relevant
document has no value: it is ``None``, never zero, and is left out of means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2


def ndcg_at_k(ranking: Sequence[str], grades: Mapping[str, float], k: int = 10) -> float | None:
    """Return nDCG@k with linear gain and log2 discount, as trec_eval's ``ndcg_cut`` defines it.

    DCG is Σ grade / log2(rank + 1) over the first k ranks (Järvelin and Kekäläinen, TOIS 2002,
    in trec_eval's form); the ideal takes all judged documents by falling grade. A document that
    the ranking names twice counts once, where it comes first.
    """
    ideal = _dcg(sorted((g for g in grades.values() if g > 0), reverse=True)[:k])
    if ideal == 0:
        return None
    return _dcg([grades.get(d, 0.0) for d in list(dict.fromkeys(ranking))[:k]]) / ideal


def reciprocal_rank(ranking: Sequence[str], grades: Mapping[str, float]) -> float | None:
    """Return 1 / rank of the first relevant document, 0 when the ranking has none."""
    if not any(g > 0 for g in grades.values()):
        return None
    for rank, document in enumerate(ranking, 1):
        if grades.get(document, 0.0) > 0:
            return 1.0 / rank
    return 0.0


def recall_at_k(ranking: Sequence[str], grades: Mapping[str, float], k: int = 10) -> float | None:
    """Return the share of all relevant documents that the first k ranks hold."""
    relevant = {d for d, g in grades.items() if g > 0}
    if not relevant:
        return None
    return len(relevant.intersection(ranking[:k])) / len(relevant)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what was measured; of nothing it is None."""
    measured = [v for v in values if v is not None]
    return sum(measured) / len(measured) if measured else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of all values do not exceed.

    This is the nearest-rank definition: always a value that was measured.
    """
    if not values:
        return None
    ordered = sorted(values)
    position = -(-share * len(ordered) // 1)  # ceiling
    return ordered[min(len(ordered), max(1, int(position))) - 1]


def _dcg(gains: Sequence[float]) -> float:
    return sum(g / log2(rank + 1) for rank, g in enumerate(gains, 1))
