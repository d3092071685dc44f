"""The sample of queries that is embedded once and asked of the stores by several rungs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qafila.embedders.careful import embed_carefully
from qafila.endpoints import open_embedder, reach_of
from qafila.ledger.ledger import Generation, open_ledger
from qafila.stores.port import Vectors
from qafila.validation.judged import JudgedQuery
from qafila.validation.options import LadderOptions
from qafila.workload.model import Workload


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
