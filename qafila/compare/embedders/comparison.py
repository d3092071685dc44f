"""Measure every candidate on one sample, and put them in their places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg

from qafila.compare.embedders.candidates import Candidate, open_candidate
from qafila.compare.embedders.exact_search import SYSTEMS, Layout, rankings, search_by_keywords
from qafila.compare.embedders.ranking import (
    Against,
    LanguageScore,
    Ranked,
    machine_per_million,
    paid_per_million,
    rank,
    vector_bytes,
    verdict_sentence,
)
from qafila.compare.embedders.ranking import Candidate as Scored
from qafila.compare.embedders.sample import Sample
from qafila.compare.embedders.vector_cache import VectorCache
from qafila.compare.embedders.vectors import Made, embed_in_process, embed_over_network
from qafila.decision.prices import Price
from qafila.decision.steps import load_price_book
from qafila.embedders.governor import Purse
from qafila.embedders.tokens import estimate_tokens
from qafila.errors import QafilaError, Refused
from qafila.statistics.intervals import mean_share
from qafila.statistics.rank_fusion import VECTOR_WEIGHT
from qafila.statistics.ranking_metrics import mean, percentile
from qafila.validation.judged import deep_scores
from qafila.validation.language import detect_language
from qafila.validation.options import LadderOptions

WHOLE = "this is the whole"
NOTE = "scores on a sample are higher than on the whole: fewer documents compete"
_LISTED = 1000

Body = dict[str, Any]
Scores = Mapping[str, Mapping[str, list[float]]]  # system: metric: a value a query


@dataclass(frozen=True)
class Means:
    """What a comparison spends and where: ``database`` is for the scratch table of keywords."""

    database: psycopg.Connection[Any]
    ledger_address: str
    purse: Callable[[Candidate], Purse]
    cache: Callable[[Candidate], VectorCache]
    currency: str


@dataclass(frozen=True)
class Compared:
    """The figures, and the seconds of single questions by candidate."""

    figures: Body
    query_seconds: Mapping[str, list[float]]


def compare_embedders(
    sample: Sample,
    candidates: Sequence[Candidate],
    current: str,
    means: Means,
    *,
    seed: int,
    by: str = "vector",
    tell: Callable[[str], None] = lambda _: None,
) -> Compared:
    """Measure and rank. A candidate that cannot be measured is named with the reason.

    ``current`` is compared with every other; where it could not be measured, the first that could.

    Raises:
        Refused: none could be measured; says of each why.
    """
    layout = Layout.of(sample.chunks)
    keywords = None
    if sample.full_text != "none":
        tell(f"keyword search over {len(sample.chunks)} chunks ({sample.full_text})")
        keywords = search_by_keywords(
            means.database, sample.chunks, sample.queries, sample.full_text
        )
    made: dict[str, Made] = {}
    scores: dict[str, Scores] = {}
    failed: dict[str, str] = {}
    for candidate in candidates:
        tell(candidate.name)
        try:
            one = _embed(candidate, sample, means)
        except QafilaError as error:
            failed[candidate.name] = _why(candidate, error)
            continue
        answers = rankings(layout, one.documents, one.queries, keywords)
        scores[candidate.name] = {s: deep_scores(sample.queries, a) for s, a in answers.items()}
        made[candidate.name] = one
    if not made:
        reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise Refused(f"no embedder could be measured: {reasons}")
    reference = current if current in made else next(iter(made))
    measured = [c for c in candidates if c.name in made]
    figures = _figures(sample, measured, made, scores, reference, means, seed=seed, by=by)
    figures["not_measured"] = failed
    return Compared(figures, {n: list(m.query_seconds) for n, m in made.items()})


def _embed(candidate: Candidate, sample: Sample, means: Means) -> Made:
    with open_candidate(candidate, means.ledger_address, means.purse(candidate)) as embedder:
        if candidate.connection is None:
            return embed_in_process(embedder, sample.texts, sample.questions)
        return embed_over_network(embedder, sample.texts, sample.questions, means.cache(candidate))


def _why(candidate: Candidate, error: QafilaError) -> str:
    """Return the reason; of one that does not let us in also where its key comes from."""
    shut_out = isinstance(error, Refused) and candidate.key_from
    return f"{error.what} Its key: {candidate.key_from}." if shut_out else error.what


def _figures(
    sample: Sample,
    candidates: Sequence[Candidate],
    made: Mapping[str, Made],
    scores: Mapping[str, Scores],
    reference: str,
    means: Means,
    *,
    seed: int,
    by: str,
) -> Body:
    machine = load_price_book().prices.get(LadderOptions.model_fields["machine"].default)
    prices = {
        c.name: _price(c, made[c.name], sample.texts, machine, means.currency) for c in candidates
    }
    languages = [q.language or detect_language(q.text) or "not told" for q in sample.queries]
    served = SYSTEMS if sample.full_text != "none" else SYSTEMS[:1]
    ranked = {
        s: rank(
            [
                Scored(c.name, scores[c.name][s]["ndcg_at_10"], prices[c.name][0])
                for c in candidates
            ],
            reference,
            languages,
            seed=seed,
        )
        for s in served
    }
    order = ranked[by if by in served else "vector"]
    named = {c.name: c for c in candidates}
    rows = []
    for place in order:
        name = place.candidate.name
        by_system = {s: next(r for r in ranked[s] if r.candidate.name == name) for s in served}
        row = {
            "name": name,
            "place": place.place,
            "tied": place.tied,
            "reference": name == reference,
            **_system(by_system["vector"], scores[name]["vector"], seed),
            "hybrid": _system(by_system["hybrid"], scores[name]["hybrid"], seed)
            if "hybrid" in by_system
            else None,
            **_cost(named[name], made[name], prices[name], sample, means.currency),
        }
        rows.append(row)
    asked = f"{len(sample.queries)} {sample.judged_by}"
    if order is not ranked["vector"]:
        asked += ", vectors fused with keywords"
    return {
        "corpus": sample.name,
        "sentence": verdict_sentence(order, reference, asked),
        "candidates": rows,
        "current": reference,
        "ranked_by": by if by in served else "vector",
        "queries": len(sample.queries),
        "judged_by": sample.judged_by,
        "languages": {x: languages.count(x) for x in sorted(set(languages))},
        "sample": {
            "documents": sample.documents,
            "relevant": sample.relevant,
            "others": sample.documents - sample.relevant,
            "chunks": len(sample.chunks),
            "of_documents": sample.of_documents,
            "of_chunks": sample.of_chunks,
            "note": NOTE if sample.documents < sample.of_documents else WHOLE,
        },
        "search": "exact",
        "hybrid_by": f"PostgreSQL full-text search ({sample.full_text}) and vectors, fused by "
        f"score, vectors with a weight of {VECTOR_WEIGHT:g}"
        if "hybrid" in served
        else None,
        "queries_without_judgement": list(sample.unjudged[:_LISTED]),
        "unknown_documents": list(sample.unknown[:_LISTED]),
        "machine_price": None
        if machine is None
        else {
            "item": machine.item,
            "amount": str(machine.amount),
            "currency": machine.currency,
            "unit": machine.unit,
            "source": machine.source,
            "as_of": machine.as_of.isoformat(),
        },
        "spent": str(sum((m.spent for m in made.values()), Decimal(0))),
        "currency": means.currency,
    }


def _system(ranked: Ranked, scores: Mapping[str, list[float]], seed: int) -> Body:
    return {
        "ndcg_at_10": round(ranked.mean, 4),
        "ci": _ends(ranked.low, ranked.high),
        **_against(ranked.against),
        **{m: round(mean(scores[m]) or 0.0, 4) for m in ("mrr", "recall_at_100")},
        "mrr_ci": _ends(*mean_share(scores["mrr"], seed=seed)),
        "recall_at_100_ci": _ends(*mean_share(scores["recall_at_100"], seed=seed)),
        "behind": None if ranked.behind is None else round(ranked.behind.delta, 4),
        "behind_ci": None
        if ranked.behind is None
        else _ends(ranked.behind.ci_low, ranked.behind.ci_high),
        "by_language": {s.language: _language(s) for s in ranked.languages},
    }


def _language(score: LanguageScore) -> Body:
    return {
        "queries": score.queries,
        "ndcg_at_10": round(score.mean, 4),
        "ci": _ends(score.low, score.high),
        **_against(score.against),
    }


def _against(found: Against | None) -> Body:
    if found is None:
        return {"difference": None, "difference_ci": None, "p_holm": None, "smallest_effect": None}
    c = found.comparison
    return {
        "difference": round(c.delta, 4),
        "difference_ci": _ends(c.ci_low, c.ci_high),
        "p_holm": round(found.p_holm, 4),
        "smallest_effect": round(c.smallest_effect, 4),
    }


def _ends(low: float, high: float) -> list[float]:
    return [round(low, 4), round(high, 4)]


def _price(
    candidate: Candidate,
    made: Made,
    texts: Sequence[str],
    machine: Price | None,
    currency: str,
) -> tuple[Decimal | None, str]:
    """Return what a million chunks cost and what that is; None where nothing can be compared.

    Prices are compared in one currency; nothing is converted.
    """
    if candidate.connection is not None:
        price = Decimal(repr(candidate.price))
        if made.tokens is not None:
            return paid_per_million(made.tokens, price), "tokens read × price"
        estimated = sum(estimate_tokens(texts)) / len(texts)  # all came from the target's cache
        return paid_per_million(estimated, price), "tokens estimated × price"
    if machine is None or made.cpu_seconds is None:
        return None, "no machine has a price"
    if machine.currency != currency:
        return None, f"the machine's price is in {machine.currency}, nothing is converted"
    return machine_per_million(made.cpu_seconds, machine), "processor time × list price"


def _cost(
    candidate: Candidate,
    made: Made,
    price: tuple[Decimal | None, str],
    sample: Sample,
    currency: str,
) -> Body:
    settings = candidate.settings
    whole, half = (vector_bytes(settings.dimensions, half=h) for h in (False, True))
    p50, p95 = (percentile(made.query_seconds, share) for share in (0.5, 0.95))
    amount, how = price
    return {
        "where": "in process" if candidate.connection is None else candidate.service.split()[0],
        "model": candidate.vectors.model,
        "dimensions": settings.dimensions,
        "lowercase": getattr(settings, "lowercase", None),
        "max_tokens": candidate.max_tokens,
        "query_ms_p50": None if p50 is None else round(p50 * 1000, 3),
        "query_ms_p95": None if p95 is None else round(p95 * 1000, 3),
        "queries_timed": len(made.query_seconds),
        "texts_per_s": None if not made.seconds else round(1 / made.seconds, 1),
        "tokens_per_chunk": None if made.tokens is None else round(made.tokens, 1),
        "per_million_chunks": None if amount is None else str(amount),
        "per_million_by": how,
        "currency": currency,
        "bytes_a_vector": whole,
        "bytes_a_halfvec": half,
        "storage_bytes": whole * sample.of_chunks,
        "storage_bytes_halfvec": half * sample.of_chunks,
        "texts_without_vector": sum(made.rejected.values()),
        "why_without_vector": dict(made.rejected),
        "texts_asked": made.asked,
        "spent": str(made.spent),
    }
