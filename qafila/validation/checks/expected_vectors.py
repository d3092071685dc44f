"""What the vectors of stored chunks should be: made anew by the model, or mapped as a bridge does.

Nothing is taken from the cache and nothing is copied: what came from there is on trial as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from qafila.backfill.load import chunks_of
from qafila.backfill.vectors import open_vectorise
from qafila.embedders.careful import Embedded, embed_carefully
from qafila.endpoints import open_embedder, open_source, reach_of
from qafila.ledger.ledger import Connection
from qafila.stores.port import Chunk, Vectors
from qafila.validation.suite import Climb
from qafila.workload.corpus import WordLlamaEmbedder

REPEATED = 16  # texts that a service is asked for twice, to see whether it answers alike


@dataclass(frozen=True)
class Remade:
    """Vectors of shape (chunks, dimensions); ``known`` says which chunks have one.

    Attributes:
        mapped: they came through the map of a bridge.
        spread: largest distance between two answers of a service to the same text; 0 in process.
        texts: how many texts were sent to a service, those that were sent twice included.
        cost: what that cost, in the budget's currency.
    """

    vectors: Vectors
    known: NDArray[np.bool_]
    mapped: bool = False
    spread: float = 0.0
    texts: int = 0
    cost: Decimal = Decimal(0)

    @property
    def cost_words(self) -> str:
        """Return what was asked and paid, in words; empty when it was free."""
        return f"{self.texts} texts sent to the embedder, cost {self.cost}" if self.texts else ""


def remake(ledger: Connection, climb: Climb, chunks: Sequence[Chunk]) -> Remade:
    """Return the vectors that the generation should hold for these chunks.

    Asks an embedder behind a network once for each text, and for ``REPEATED`` of them twice.

    Raises:
        SpendCapReached: the next call could cross the cap, so it was not made.
        BackfillHalted: the service gave no usable answer for longer than we try.
        Refused: it does not let us in; or it is a bridge, and its map is gone.
    """
    if climb.workload.corpus.bridge is not None:
        return _mapped(ledger, climb, chunks)
    corpus, texts = climb.workload.corpus, [c.text for c in chunks]
    reach = reach_of(ledger, climb.workload)
    with open_embedder(None, climb.workload, reach, generation=climb.original.number) as embedder:
        first = embed_carefully(embedder, texts)
        if isinstance(corpus.embedder, WordLlamaEmbedder):
            return Remade(first.vectors, first.kept)
        again = embed_carefully(embedder, texts[:REPEATED])
    return Remade(
        first.vectors,
        first.kept,
        spread=_spread(first, again),
        texts=len(texts) + len(again.vectors),
        cost=first.cost + again.cost,
    )


def _spread(first: Embedded, again: Embedded) -> float:
    both = again.kept & first.kept[: len(again.vectors)]
    apart = first.vectors[: len(both)][both] - again.vectors[both]
    return float(np.linalg.norm(apart, axis=1).max(initial=0.0))


def _mapped(ledger: Connection, climb: Climb, chunks: Sequence[Chunk]) -> Remade:
    """Return what the map of the bridge makes of the source's own vectors.

    A text that has no vector there was made by the new model, and is here again.
    """
    workload, reach = climb.workload, reach_of(ledger, climb.workload)
    with (
        open_source(ledger, workload, reach) as source,
        open_vectorise(
            workload, climb.generation, reach, wait=time.sleep, run_id=None
        ) as vectorise,
    ):
        rows = source.fetch(list(dict.fromkeys(c.source_key for c in chunks)))
        made = vectorise(rows, chunks_of(rows, workload))
    vectors = np.zeros((len(chunks), workload.corpus.embedder.dimensions), np.float32)
    places = {(c.source_key, c.number): n for n, c in enumerate(made.chunks)}
    known = np.zeros(len(chunks), np.bool_)
    for n, chunk in enumerate(chunks):
        place = places.get((chunk.source_key, chunk.number))
        if place is not None:
            vectors[n], known[n] = made.vectors[place], True
    asked = (
        made.spent.embedded if not isinstance(workload.corpus.embedder, WordLlamaEmbedder) else 0
    )
    return Remade(vectors, known, mapped=True, texts=asked, cost=made.spent.cost)
