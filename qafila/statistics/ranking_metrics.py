"""How good one ranked list is, given what people judged relevant, and how alike two lists are.

Grades are non-negative; an unjudged document counts as grade 0. A query without any relevant
document has no value: it is ``None``, never zero, and is left out of means. trec_eval gives such a
query 0; on all others the definitions are trec_eval's, whatever the length of the ranking.

A document that a ranking names twice counts once, where it comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2


def ndcg_at_k(ranking: Sequence[str], grades: Mapping[str, float], k: int = 10) -> float | None:
    """Return nDCG@k with linear gain and log2 discount, as trec_eval's ``ndcg_cut`` defines it.

    DCG is Σ grade / log2(rank + 1) over the first k ranks (Järvelin and Kekäläinen, TOIS 2002,
    in trec_eval's form); the ideal takes all judged documents by falling grade.

    Raises:
        ValueError: k is below 1.
    """
    first = _first(ranking, k)
    ideal = _dcg(sorted((g for g in grades.values() if g > 0), reverse=True)[:k])
    if ideal == 0:
        return None
    return _dcg([grades.get(d, 0.0) for d in first]) / ideal


def reciprocal_rank(ranking: Sequence[str], grades: Mapping[str, float]) -> float | None:
    """Return 1 / rank of the first relevant document, 0 when the ranking has none."""
    if not any(g > 0 for g in grades.values()):
        return None
    for rank, document in enumerate(dict.fromkeys(ranking), 1):
        if grades.get(document, 0.0) > 0:
            return 1.0 / rank
    return 0.0


def recall_at_k(ranking: Sequence[str], grades: Mapping[str, float], k: int = 10) -> float | None:
    """Return the share of all relevant documents that the first k ranks hold.

    Raises:
        ValueError: k is below 1.
    """
    first = _first(ranking, k)
    relevant = {d for d, g in grades.items() if g > 0}
    if not relevant:
        return None
    return len(relevant.intersection(first)) / len(relevant)


def precision_at_k(
    ranking: Sequence[str], grades: Mapping[str, float], k: int = 10
) -> float | None:
    """Return the share of the first k ranks that is relevant; ranks left empty count as not.

    Raises:
        ValueError: k is below 1.
    """
    first = _first(ranking, k)
    relevant = {d for d, g in grades.items() if g > 0}
    return len(relevant.intersection(first)) / k if relevant else None


def overlap_at_k(old: Sequence[str], new: Sequence[str], k: int = 10) -> float | None:
    """Return the share of the two first k that both hold, whatever the order: change, not quality.

    Shared documents over k, or over the longer list where both are shorter: two answers alike in
    all they hold overlap fully. Of two empty answers it is None.

    Raises:
        ValueError: k is below 1.
    """
    before, after = _first(old, k), _first(new, k)
    longer = max(len(before), len(after))
    return len(set(before).intersection(after)) / longer if longer else None


def rank_biased_overlap(
    old: Sequence[str], new: Sequence[str], persistence: float = 0.9
) -> float | None:
    """Return how alike two rankings are, the first ranks counting most: 0 disjoint, 1 the same.

    Extrapolated RBO (Webber, Moffat and Zobel, TOIS 2010, equation 32), which takes the agreement
    seen at the end to go on. ``persistence`` is the chance that a reader goes on to the next rank;
    at 0.9 the first ten carry 86 % of the weight. Of two empty rankings it is None.

    Raises:
        ValueError: persistence is not in (0, 1).
    """
    if not 0 < persistence < 1:
        raise ValueError(f"persistence must lie between 0 and 1, not at {persistence}")
    short, long = sorted((list(dict.fromkeys(old)), list(dict.fromkeys(new))), key=len)
    if not long:
        return None
    if not short:
        return 0.0
    seen_short: set[str] = set()
    seen_long: set[str] = set()
    p, shared, total, shared_at_short = persistence, 0, 0.0, 0
    for depth, document in enumerate(long, 1):
        seen_long.add(document)
        if depth <= len(short):
            seen_short.add(short[depth - 1])
            shared = len(seen_short & seen_long)
            shared_at_short = shared
        else:
            shared += document in seen_short
            total += shared_at_short * (depth - len(short)) / (len(short) * depth) * p**depth
        total += shared / depth * p**depth
    s, n = len(short), len(long)
    tail = (shared - shared_at_short) / n + shared_at_short / s
    return (1 - p) / p * total + tail * p**n


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


def _first(ranking: Sequence[str], k: int) -> list[str]:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    return list(dict.fromkeys(ranking))[:k]


def _dcg(gains: Sequence[float]) -> float:
    return sum(g / log2(rank + 1) for rank, g in enumerate(gains, 1))
