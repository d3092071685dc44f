"""Rung 5: what approximate search finds of what exact search finds."""

from __future__ import annotations

import random

from qafila.core.corpus import EVERYBODY
from qafila.core.judged import K
from qafila.core.ladder.climb import Climbed
from qafila.core.ladder.judging import judge_recall
from qafila.core.ladder.rungs import Finding, Rung
from qafila.core.metrics import mean
from qafila.core.statistics import mean_share
from tasks.embedders.careful import embed_carefully
from tasks.ledger import open_ledger
from tasks.opening import open_embedder, reach_of
from tasks.validating.climb import Climb, rung


@rung(Rung.INDEX, "meet exact search")
def measure_index(climb: Climb) -> Climbed:
    """Compare the index with exact search on a sample of the queries, through the store's port."""
    seed = climb.options.seed
    sample = min(climb.options.recall_queries, len(climb.queries))
    chosen = random.Random(seed).sample(list(climb.queries), sample)
    with open_ledger() as ledger:
        reach = reach_of(ledger, climb.workload)
        number = climb.generation.number
        with open_embedder(None, climb.workload, reach, generation=number) as embedder:
            vectors = embed_carefully(embedder, [q.text for q in chosen]).vectors
        shares = []
        with climb.store(ledger) as store:
            for vector in vectors:
                if not vector.any():
                    continue  # the model knows no word of it: nothing is near
                exact = {(h.source_key, h.chunk_number)
                         for h in store.search_exact(vector, K, [EVERYBODY])}  # fmt: skip
                found = {(h.source_key, h.chunk_number)
                         for h in store.search(vector, K, [EVERYBODY])}  # fmt: skip
                if exact:
                    shares.append(len(exact & found) / len(exact))
    low, high = mean_share(shares, seed=seed)
    recall = mean(shares)
    judged = judge_recall(
        recall, low, high, climb.workload.objectives.recall_at_10, queries=len(shares)
    )
    return Finding(
        Rung.INDEX,
        judged,
        compared="the ten nearest by the index with the ten nearest by looking at every chunk",
        on=f"{len(shares)} queries",
        figures={
            "recall_at_10": recall,
            "recall_ci": [low, high],
            "recall_queries": len(shares),
        },
    )
