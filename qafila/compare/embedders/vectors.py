"""Vectors of a sample by one candidate: the price, then the vectors, timed and paid once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from qafila.compare.embedders.candidates import Candidate
from qafila.compare.embedders.vector_cache import Entry, VectorCache
from qafila.embedders.careful import embed_carefully
from qafila.embedders.limit_arithmetic import price_of
from qafila.embedders.port import Embedder
from qafila.embedders.tokens import estimate_tokens, on_the_safe_side
from qafila.stores.port import Vectors
from qafila.workload.fingerprint import text_digest

ALONE = 100  # questions that are asked one at a time, for their time; the rest go together
_BATCH = 256  # texts between two looks at the clock, and most that a stop can lose


@dataclass(frozen=True)
class Purchase:
    """What a candidate still has to be asked; P95 is on the safe side of the model's own count."""

    candidate: Candidate
    texts: int
    tokens: int
    tokens_p95: int
    cost: Decimal
    cost_p95: Decimal


@dataclass(frozen=True)
class Made:
    """Vectors of documents and questions, zero where there is none; what it took.

    ``query_seconds`` are those of questions asked alone. ``seconds``, ``cpu_seconds`` (in process
    only) and ``tokens`` are means a text; None: not measured.
    """

    documents: Vectors
    queries: Vectors
    rejected: Mapping[str, int]  # reason: texts
    query_seconds: Sequence[float]
    seconds: float | None
    cpu_seconds: float | None
    tokens: float | None
    spent: Decimal = field(default_factory=Decimal)
    asked: int = 0  # texts that the service was asked now


def plan_purchase(
    candidate: Candidate,
    texts: Iterable[str],
    cache: VectorCache,
    ratio: float | None,
) -> Purchase:
    """Return what is not in the cache. ``ratio``: tokens of the service per token of our count."""
    by_digest = {text_digest(t): t for t in texts}
    found = cache.find(by_digest)
    missing = [t for d, t in by_digest.items() if d not in found]
    estimated = estimate_tokens(missing) if missing else []
    tokens = round(sum(estimated) * (ratio or 1.0))
    most = sum(
        on_the_safe_side(n, ratio, len(t.encode("utf-8", "surrogatepass")))
        for n, t in zip(estimated, missing, strict=True)
    )
    price = Decimal(repr(candidate.price))
    return Purchase(
        candidate, len(missing), tokens, most, price_of(tokens, price), price_of(most, price)
    )


def embed_in_process(embedder: Embedder, documents: Sequence[str], queries: Sequence[str]) -> Made:
    """Make all vectors anew: nothing is paid, so nothing is kept, and every time is of now."""
    embed_carefully(embedder, ["words to warm up with"])
    begun, worked = time.perf_counter(), time.process_time()
    parts = [
        embed_carefully(embedder, documents[start : start + _BATCH])
        for start in range(0, len(documents), _BATCH)
    ]
    seconds, cpu = time.perf_counter() - begun, time.process_time() - worked
    rows, times = [], []
    for query in queries:
        begun = time.perf_counter()
        rows.append(embed_carefully(embedder, [query]).vectors[0])
        times.append(time.perf_counter() - begun)
    reasons = [r for part in parts for r in part.rejected.values()]
    return Made(
        np.concatenate([p.vectors for p in parts]),
        np.stack(rows),
        _counted(reasons),
        times,
        seconds / len(documents),
        cpu / len(documents),
        embedder.count_tokens(documents) / len(documents),
    )


def embed_over_network(
    embedder: Embedder,
    documents: Sequence[str],
    queries: Sequence[str],
    cache: VectorCache,
) -> Made:
    """Ask for what is not in the cache, and keep each batch before the next is asked.

    Times and tokens are those of when a text was asked for, be it in another run.

    Raises:
        SpendCapReached: the next call could cross the cap, so it was not made.
        BackfillHalted: no usable answer for longer than we try, or another dimension.
        Refused: the service does not let us in, or does not know the model.
    """
    all_texts = {text_digest(t): t for t in (*documents, *queries)}
    asked_alone = {text_digest(q) for q in queries}
    found = cache.find(all_texts)
    missing = [d for d in all_texts if d not in found]
    alone = [d for d in missing if d in asked_alone][:ALONE]
    together = [d for d in missing if d not in set(alone)]
    steps = [[d] for d in alone]
    steps += [together[start : start + _BATCH] for start in range(0, len(together), _BATCH)]
    spent = Decimal(0)
    for digests in steps:
        texts = [all_texts[d] for d in digests]
        begun = time.perf_counter()
        made = embed_carefully(embedder, texts)
        seconds = (time.perf_counter() - begun) / len(texts)
        spent += made.cost
        shares = estimate_tokens(texts)
        each = made.tokens / max(1, sum(shares))
        entries = {
            d: Entry(
                None if n in made.rejected else made.vectors[n].astype("<f4").tobytes(),
                made.rejected.get(n, ""),
                shares[n] * each if made.tokens else None,
                seconds,
                len(digests) == 1,
            )
            for n, d in enumerate(digests)
        }
        cache.put(entries)
        found |= entries
    return _assembled(embedder.dimensions, documents, queries, found, spent, len(missing))


def _assembled(
    dimensions: int,
    documents: Sequence[str],
    queries: Sequence[str],
    found: Mapping[bytes, Entry],
    spent: Decimal,
    asked: int,
) -> Made:
    def rows(texts: Sequence[str]) -> tuple[Vectors, list[Entry]]:
        entries = [found[text_digest(t)] for t in texts]
        vectors = np.zeros((len(texts), dimensions), np.float32)
        for place, entry in enumerate(entries):
            if entry.vector is not None:
                vectors[place] = np.frombuffer(entry.vector, "<f4")
        return vectors, entries

    document_rows, of_documents = rows(documents)
    query_rows, of_queries = rows(queries)
    seconds = [e.seconds for e in of_documents if e.seconds is not None and not e.alone]
    counted = [e.tokens for e in of_documents if e.tokens is not None]
    return Made(
        document_rows,
        query_rows,
        _counted([e.reason for e in of_documents if e.vector is None]),
        [e.seconds for e in of_queries if e.alone and e.seconds is not None],
        sum(seconds) / len(seconds) if seconds else None,
        None,
        sum(counted) / len(counted) if counted else None,
        spent,
        asked,
    )


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for reason in reasons:
        found[reason] = found.get(reason, 0) + 1
    return found
