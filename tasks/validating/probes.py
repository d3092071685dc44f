"""The sample of queries that is embedded once and asked of the stores by several rungs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qafila.core.judged import JudgedQuery
from qafila.core.ladder.options import LadderOptions
from qafila.core.workload import Workload
from tasks.embedders.careful import embed_carefully
from tasks.ledger import Generation, open_ledger
from tasks.opening import open_embedder, reach_of
from tasks.stores.port import Vectors


@dataclass(frozen=True)
class Probes:
    """Queries with their vectors, shape (queries, dimensions); none of them is zero."""

    queries: Sequence[JudgedQuery]
    vectors: Vectors


def embed_sample(
    workload: Workload,
    generation: Generation,
    queries: Sequence[JudgedQuery],
    options: LadderOptions,
) -> Probes:
    """Embed a seeded sample of ``recall_queries``; without those that the model knows no word of.

    An embedder behind a network is paid for these texts.
    """
    sample = min(options.recall_queries, len(queries))
    chosen = random.Random(options.seed).sample(list(queries), sample)
    with open_ledger() as ledger:
        reach = reach_of(ledger, workload)
    with open_embedder(None, workload, reach, generation=generation.number) as embedder:
        vectors = embed_carefully(embedder, [q.text for q in chosen]).vectors
    known = np.flatnonzero(vectors.any(axis=1))
    return Probes([chosen[n] for n in known], vectors[known])
