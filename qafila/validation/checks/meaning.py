"""Rung 3: some rows, chosen at random, are embedded anew and met with what is stored of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from qafila.errors import BackfillHalted, Unavailable
from qafila.ledger.ledger import open_ledger
from qafila.stores.port import Chunk, Vectors, VectorStore
from qafila.validation.checks.expected_vectors import Remade, remake
from qafila.validation.checks.judge_meaning import (
    Lot,
    Remet,
    Tolerance,
    judge_meaning,
    meet,
    sample_size,
)
from qafila.validation.model import Detail, Finding, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.suite import Climb, check
from qafila.workload.corpus import PgvectorTarget, WordLlamaEmbedder
from qafila.workload.fingerprint import canonical_json
from qafila.workload.verdict import Judgement, Verdict

_BATCH_ROWS = 10_000
_LOOKED_UP = 500
_WORST = 20
_POINTS = 60  # of the picture
_COMPARED = "the vector that is stored with the one that the model makes of the stored text"


@check(Rung.MEANING, "embed a sample anew")
def compare_meaning(climb: Climb) -> Climbed:
    """Embed a random sample anew and compare it with what is stored, by cosine and by length.

    As many rows as it takes to see a fault of ``detect_share`` of them. An embedder behind a
    network is paid for these texts, and for a few of them twice, to see whether it answers alike.
    """
    share, confidence = climb.options.detect_share, climb.options.detect_confidence
    lot = Lot(sample_size(share, confidence), climb.options.seed)
    with open_ledger() as ledger, climb.store(ledger) as store:
        for rows in store.witnesses(_BATCH_ROWS):
            lot.add(rows)
        wanted = lot.drawn(sample_size(share, confidence, lot.population))
        chunks, stored = _stored(store, wanted, climb)
        try:
            made = remake(ledger, climb, chunks)
        except (BackfillHalted, Unavailable) as error:
            return _not_measured(f"the sample could not be embedded anew: {error}", len(chunks))
    places = [(c.source_key, c.number) for c in chunks]
    met = meet(places, stored, made.vectors, made.known, lot.population)
    tolerance = _tolerance(climb, made)
    judged = judge_meaning(met, tolerance, share=share, confidence=confidence, mapped=made.mapped)
    paid = made.cost_words
    return Finding(
        Rung.MEANING,
        Judgement(judged.verdict, f"{judged.sentence} {paid}".strip(), judged.numbers),
        compared=_COMPARED,
        on=f"{len(chunks):,} of {lot.population:,} rows, at random",
        smallest_effect=f"a fault of {100 * share:g} % of all rows ({100 * confidence:g} %)"
        if len(chunks) < lot.population
        else "",
        details=_details(met, tolerance, chunks),
        figures={
            "meaning": {
                "rows": len(chunks),
                "drawn": drawn_digest(places),
                "population": lot.population,
                "faulty": judged.numbers["faulty"],
                "most_faulty_share": judged.numbers["most_faulty_share"],
                "tolerance": tolerance.distance,
                "mapped": made.mapped,
                "texts_paid": made.texts,
                "cost": str(made.cost),
                "answers_apart": made.spread,
            }
        },
        series={"distance": _series(met)},
    )


def drawn_digest(places: Sequence[tuple[str, int]]) -> str:
    """Return what shows that two runs drew the same rows: SHA-256 of their places, in hex."""
    return hashlib.sha256(canonical_json(sorted(places))).hexdigest()


def _stored(
    store: VectorStore, places: Sequence[tuple[str, int]], climb: Climb
) -> tuple[list[Chunk], Vectors]:
    """Return the chunks at these places with their vectors; one that is gone is left out."""
    wanted = set(places)
    chunks, vectors = list[Chunk](), list[Vectors]()
    keys = list(dict.fromkeys(key for key, _ in places))
    for start in range(0, len(keys), _LOOKED_UP):
        held = store.stored(keys[start : start + _LOOKED_UP])
        chosen = [n for n, c in enumerate(held.chunks) if (c.source_key, c.number) in wanted]
        chunks += [held.chunks[n] for n in chosen]
        vectors.append(held.vectors[np.array(chosen, np.intp)])
    if not vectors:
        return [], np.zeros((0, climb.workload.corpus.embedder.dimensions), np.float32)
    return chunks, np.concatenate(vectors)


def _tolerance(climb: Climb, made: Remade) -> Tolerance:
    corpus = climb.workload.corpus
    return Tolerance.of(
        half=isinstance(corpus.target, PgvectorTarget) and corpus.target.vector_type == "halfvec",
        service=not isinstance(corpus.embedder, WordLlamaEmbedder) and not made.mapped,
        spread=made.spread,
    )


def _not_measured(why: str, rows: int) -> Finding:
    return Finding(
        Rung.MEANING, Judgement(Verdict.ERROR, why), compared=_COMPARED, on=f"{rows:,} rows"
    )


def _details(met: Remet, tolerance: Tolerance, chunks: Sequence[Chunk]) -> list[Detail]:
    worst = met.worst(tolerance)[:_WORST]
    if not worst:
        return []
    rows = []
    for n in worst:
        twin = met.twins.get(n)
        rows.append(
            {
                "document": chunks[n].source_key,
                "chunk": chunks[n].number,
                "cosine": "–" if np.isnan(met.distance[n]) else f"{met.cosine(n):.4f}",
                "length": f"{met.length[n]:.4f}",
                "vector of": "–" if twin is None else met.places[twin][0],
                "text": chunks[n].text[:120],
            }
        )
    return [Detail("Vectors that are not those of their texts, the farthest first", rows)]


def _series(met: Remet) -> list[dict[str, object]]:
    """Return the distances as a curve: this share of the sample is at most so far apart."""
    known = np.sort(met.distance[np.isfinite(met.distance)])
    if not len(known):
        return []
    at = np.unique(np.linspace(0, len(known) - 1, _POINTS).round().astype(int))
    return [{"share": float((n + 1) / len(known)), "distance": float(known[n])} for n in at]
