"""Make one ranked list of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

RRF_K = 60  # Cormack, Clarke and Büttcher, SIGIR 2009: robust from 20 to 100


def reciprocal_rank_fusion(
    rankings: Iterable[Sequence[str]], *, k: int = RRF_K
) -> list[tuple[str, float]]:
    """Return (key, score) by falling score Σ 1 / (k + rank); ranks start at 1.

    Equal scores are ordered by key, so that the same lists always give the same answer. Of a key
    that one list names twice, the better rank counts.
    """
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(dict.fromkeys(ranking), 1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (k + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
