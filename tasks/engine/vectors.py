"""Give every chunk of a batch its vector: copied, reused or made anew; or a reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

import numpy as np

from qafila.core.workload import Workload
from tasks.embedders.careful import embed_carefully
from tasks.embedders.port import Embedder
from tasks.engine.claims import Spent
from tasks.engine.loading import Vectored
from tasks.ledger import Connection, Generation
from tasks.opening import Reach, open_embedder
from tasks.sources.port import SourceRow
from tasks.stores.port import Chunk


class Vectorise:
    """Called with the rows of a batch and their chunks; keeps the order of the chunks."""

    def __init__(self, workload: Workload, embedder: Embedder) -> None:
        self._embedder = embedder
        self._dimensions = workload.corpus.embedder.dimensions
        self._copies = copies_vectors(workload)

    def __call__(self, rows: Sequence[SourceRow], chunks: Sequence[Chunk]) -> Vectored:
        vectors = np.zeros((len(chunks), self._dimensions), np.float32)
        missing = np.ones(len(chunks), bool)
        if self._copies:
            with_text = [row for row in rows if row.text]
            for n, row in enumerate(with_text):
                if row.vector is not None and len(row.vector) == self._dimensions:
                    vectors[n], missing[n] = row.vector, False
        copied = len(chunks) - int(missing.sum())
        rejected: list[tuple[Chunk, str]] = []
        tokens, cost = 0, Decimal(0)
        wanted = np.flatnonzero(missing).tolist()
        if len(wanted):
            made = embed_carefully(self._embedder, [chunks[i].text for i in wanted])
            vectors[wanted] = made.vectors
            tokens, cost = made.tokens, made.cost
            rejected = [(chunks[wanted[n]], reason) for n, reason in sorted(made.rejected.items())]
            missing[:] = False
            missing[[wanted[n] for n in made.rejected]] = True
        kept = chunks if not rejected else [chunks[i] for i in np.flatnonzero(~missing).tolist()]
        return Vectored(
            kept,
            vectors if not rejected else vectors[~missing],
            rejected,
            Spent(copied=copied, embedded=len(wanted) - len(rejected), tokens=tokens, cost=cost),
        )


def copies_vectors(workload: Workload) -> bool:
    """Say whether the source's vectors are what the embedder would make of the same chunks."""
    from tasks.generations import fingerprint_of

    source = workload.corpus.source
    if source.kind not in ("pgvector", "qdrant") or workload.corpus.chunking.method != "whole":
        return False
    wanted, origin = fingerprint_of(workload), source.vectors
    return (origin.model, origin.revision, origin.normalised) == (
        wanted.model, wanted.model_revision, wanted.normalised,
    )  # fmt: skip


@contextmanager
def open_vectorise(
    ledger: Connection,
    workload: Workload,
    generation: Generation,
    reach: Reach,
    *,
    wait: Callable[[float], None],
    run_id: str | None,
) -> Iterator[Vectorise]:
    """Open what makes the vectors of this generation."""
    with open_embedder(
        None, workload, reach, wait=wait, run_id=run_id, generation=generation.number
    ) as embedder:
        yield Vectorise(workload, embedder)
