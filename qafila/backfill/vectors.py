"""Give every chunk of a batch its vector: copied, reused, mapped or made; or a reason why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from qafila.backfill.claims import Spent
from qafila.backfill.generations import fingerprint_of, model_of
from qafila.backfill.load import Vectored
from qafila.connections.postgres import connect_postgres
from qafila.embedders.careful import embed_carefully
from qafila.embedders.mapped import find_map
from qafila.embedders.port import Embedder, WaitingEmbedder
from qafila.endpoints import Reach, open_embedder
from qafila.errors import Refused
from qafila.ledger.ledger import Generation
from qafila.sources.modes import Decision, Mode, mode_of
from qafila.sources.port import SourceRow
from qafila.stores.admission import limits_of, rejections
from qafila.stores.port import Chunk
from qafila.stores.vector_cache import EmbeddingCache
from qafila.text.blanks import is_blank
from qafila.workload.corpus import PgvectorSource, QdrantSource
from qafila.workload.fingerprint import VectorPart
from qafila.workload.model import Workload

Mapper = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Ways:
    """How each chunk of a batch gets its vector, and what the first two ways gave already."""

    decisions: Sequence[Decision]
    vectors: NDArray[np.float32]

    def of(self, mode: Mode) -> list[int]:
        """Return the places of the chunks that go one way."""
        return [n for n, decision in enumerate(self.decisions) if decision.mode is mode]


class Vectorise:
    """Called with the rows of a batch and their chunks; keeps the order of the chunks."""

    def __init__(
        self,
        workload: Workload,
        embedder: Embedder,
        cache: EmbeddingCache | None = None,
        maps: Callable[[VectorPart], Mapper] | None = None,
    ) -> None:
        """``maps`` finds the map of a bridge from what made a row's vector."""
        corpus = workload.corpus
        model, revision = model_of(corpus.embedder)
        self._wanted = VectorPart(model, revision, corpus.embedder.dimensions, True)
        self._source = corpus.source
        self._holds_vectors = isinstance(corpus.source, PgvectorSource | QdrantSource)
        self._whole = corpus.chunking.method == "whole"
        self._limits = limits_of(corpus.target, corpus.embedder.dimensions)
        self._embedder, self._cache, self._maps = embedder, cache, maps

    def __call__(self, rows: Sequence[SourceRow], chunks: Sequence[Chunk]) -> Vectored:
        ways = self.ways(rows, chunks)
        vectors = ways.vectors
        rejected: dict[int, str] = {}
        tokens, cost = 0, Decimal(0)
        made = ways.of(Mode.RE_EMBED)
        if made:  # all of them in most loads, which then need no copies
            answer = embed_carefully(self._embedder, [chunks[n].text for n in made])
            vectors[made] = answer.vectors
            tokens, cost = answer.tokens, answer.cost
            rejected = {made[n]: reason for n, reason in answer.rejected.items()}
            if self._cache is not None:
                fine = [n for n in made if n not in rejected]
                self._cache.put([chunks[n].digest for n in fine], vectors[fine])
        for n, reason in rejections(chunks, vectors, self._limits).items():
            rejected.setdefault(n, reason)
        spent = Spent(
            copied=len(ways.of(Mode.COPY)) + len(ways.of(Mode.MAP)),
            reused=len(ways.of(Mode.REUSE)),
            embedded=len(made),
            tokens=tokens,
            cost=cost,
        )
        if not rejected:
            return Vectored(chunks, vectors, [], spent)
        kept = [n for n in range(len(chunks)) if n not in rejected]
        return Vectored(
            [chunks[n] for n in kept],
            vectors[kept],
            [(chunks[n], reason) for n, reason in sorted(rejected.items())],
            spent,
        )

    def waits_for(self) -> str:
        """Return what the embedder waits for right now; empty when it does not."""
        embedder = self._embedder
        return embedder.waiting if isinstance(embedder, WaitingEmbedder) else ""

    def ways(self, rows: Sequence[SourceRow], chunks: Sequence[Chunk]) -> Ways:
        """Decide for each chunk, and take what need not be made; costs no token."""
        vectors = np.zeros((len(chunks), self._wanted.dimensions), np.float32)
        if not self._holds_vectors and self._cache is None:
            return Ways([mode_of(self._wanted, None)] * len(chunks), vectors)
        brought = self._brought(rows) if self._whole else [None] * len(chunks)
        held = [None if v is None else self._part(len(v)) for v in brought]
        sound = [v is not None and bool(np.isfinite(v).all() and v.any()) for v in brought]
        found = np.zeros(len(chunks), np.bool_)
        if self._cache is not None:
            lacking = [n for n, h in enumerate(held) if h != self._wanted or not sound[n]]
            there, cached = self._cache.find([chunks[n].digest for n in lacking])
            found[lacking] = there
            vectors[lacking] = cached
        bridged = self._maps is not None
        decisions = [
            mode_of(
                self._wanted,
                h,
                whole=self._whole,
                sound=s,
                cached=bool(f),
                map_from=h if bridged else None,
            )
            for h, s, f in zip(held, sound, found, strict=True)
        ]
        ways = Ways(decisions, vectors)
        for n in ways.of(Mode.COPY):
            vectors[n] = brought[n]
        for part in {h for n in ways.of(Mode.MAP) if (h := held[n]) is not None}:
            assert self._maps is not None
            same = [n for n in ways.of(Mode.MAP) if held[n] == part]
            vectors[same] = self._maps(part)(np.array([brought[n] for n in same], np.float32))
        return ways

    def _brought(self, rows: Sequence[SourceRow]) -> list[NDArray[np.float32] | None]:
        return [row.vector for row in rows if not is_blank(row.text)]

    def _part(self, dimensions: int) -> VectorPart | None:
        if not isinstance(self._source, PgvectorSource | QdrantSource):
            return None
        origin = self._source.vectors
        return VectorPart(origin.model, origin.revision, dimensions, origin.normalised)


@contextmanager
def open_vectorise(
    workload: Workload,
    generation: Generation,
    reach: Reach,
    *,
    wait: Callable[[float], None],
    run_id: str | None,
) -> Iterator[Vectorise]:
    """Open what makes the vectors of this generation: embedder, cache, and map of a bridge.

    Raises:
        Refused: it is a bridge, and its map is not in the target.
    """
    corpus = workload.corpus
    with ExitStack() as opened:
        embedder = opened.enter_context(
            open_embedder(
                None, workload, reach, wait=wait, run_id=run_id, generation=generation.number
            )
        )
        cache = maps = None
        if corpus.cache or corpus.bridge is not None:
            target = opened.enter_context(connect_postgres(**reach.target))
            model, revision = model_of(corpus.embedder)
            wanted = VectorPart(model, revision, corpus.embedder.dimensions, True)
            if corpus.cache:
                cache = EmbeddingCache(target, wanted)
            if corpus.bridge is not None:
                maps = lru_cache(maxsize=16)(
                    partial(_map_from, target, workload, generation, wanted)
                )
        yield Vectorise(workload, embedder, cache, maps)


def _map_from(
    target: psycopg.Connection[Any],
    workload: Workload,
    generation: Generation,
    wanted: VectorPart,
    held: VectorPart,
) -> Mapper:
    """Return the map that this generation was opened with; no other may take part in it."""
    kept = find_map(target, workload.name, held, wanted)
    digest = None if kept is None else kept[0].digest
    if kept is None or fingerprint_of(workload, digest).digest != generation.fingerprint:
        raise Refused(
            f"the target has no map from {held.model} with {held.dimensions} dimensions that "
            f"generation {generation.number} of {workload.name} was opened with.",
            kept="everything up to the last checkpoints.",
            remedy=f"qafila bridge {workload.name}, for a new generation.",
        )
    return kept[0].apply
