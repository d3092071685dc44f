"""Which pattern to take, why not the others, and what would change our mind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from qafila.decision.patterns import (
    CONTEXT_TOKENS,
    MODEL,
    Assessment,
    Need,
    Storage,
    assess_patterns,
    planned_cost,
    planned_memory,
)
from qafila.decision.prices import CURRENCY, PriceBook, break_even_utilisation, first_where
from qafila.stores import sizes as sizing

_TOP_DOCUMENTS = 1e9
_TOP_QUERIES = 1e10
_IN_PROCESS: Mapping[Storage, str] = {
    "pgvector": "in-process-pgvector",
    "Qdrant": "in-process-qdrant",
}
_GENERATED_TOKENS = 300


@dataclass(frozen=True)
class Choice:
    """Which pattern to take, in one sentence; why each of the others was not taken."""

    chosen: Assessment | None
    sentence: str
    rejected: tuple[tuple[str, str], ...]


def choose(assessments: Sequence[Assessment], need: Need) -> Choice:
    """Take the cheapest P50 that serves the need, fits, resides and is within the budget.

    "Stay" is always costed, as the baseline, and always loses on need: it has no vectors.
    """
    rejected: list[tuple[str, str]] = []
    standing: list[Assessment] = []
    for a in sorted(assessments, key=lambda a: (a.monthly.p50, a.pattern.name)):
        if reason := _disqualified(a, need):
            rejected.append((a.pattern.name, reason))
        else:
            standing.append(a)
    stay = next((a for a in assessments if a.pattern.compute == "as today"), None)
    beside = "" if stay is None else f' "stay" {_range(stay)}, but {stay.serves_why}.'
    compared = f"{len(assessments)} patterns compared"
    if not standing:
        return Choice(
            None,
            f"{compared}; none serves the need, fits, resides and is within the budget.{beside}",
            tuple(rejected),
        )
    best = standing[0]
    for a in standing[1:]:
        more = a.monthly.p50 - best.monthly.p50
        rejected.append((a.pattern.name, f"feasible, but {more:,} a month more at the median"))
    return Choice(
        best,
        f"{compared}; {best.pattern.name} {_range(best)} a month (P50–P90) is the cheapest that "
        f"serves, fits, resides and is within the budget.{beside}",
        tuple(rejected),
    )


def _range(a: Assessment) -> str:
    return f"{a.monthly.p50:,}–{a.monthly.p90:,} {CURRENCY}"


def _disqualified(a: Assessment, need: Need) -> str:
    if not a.serves:
        return f"loses on need: {a.serves_why}"
    if not _stored(a, need):
        return (
            f"the workload's target is {need.storage}, this is {a.pattern.storage}: "
            f"{a.monthly.p50:,} a month at the median"
        )
    if not a.fits:
        return (
            f"does not fit: needs {a.memory_bytes / sizing.GIB:.1f} GiB, the largest machine has "
            f"{a.memory_available_bytes / sizing.GIB:.0f}"
        )
    if not a.resides:
        outside = ", ".join(c for c in a.countries if c not in need.hosting)
        return f"data would be in {outside}; allowed: {', '.join(need.hosting)}"
    if a.monthly.p50 > need.monthly_budget:
        idle = "".join(f"; {note}" for note in a.notes if note.startswith("the GPU"))
        return (
            f"feasible but overpriced: {a.monthly.p50:,} a month at the median, budget "
            f"{need.monthly_budget:,}{idle}"
        )
    return ""


def _stored(a: Assessment, need: Need) -> bool:
    return need.storage is None or a.pattern.storage == need.storage


def with_volumes(
    need: Need, *, documents: float | None = None, queries: float | None = None
) -> Need:
    """Return the same need at other volumes; text grows with the documents."""
    docs = need.documents if documents is None else math.ceil(documents)
    return replace(
        need,
        documents=docs,
        text_bytes=math.ceil(docs * need.bytes_per_document),
        queries_per_month=need.queries_per_month if queries is None else math.ceil(queries),
    )


def what_would_change_our_mind(
    need: Need, book: PriceBook, choice: Choice, *, seed: int, samples: int
) -> tuple[str, ...]:
    """Return thresholds, each computed from the same formulas and prices as the choice."""
    return (
        *_documents(need, book),
        *_queries(need, book, choice),
        _language_model(need, book, seed=seed, samples=samples),
        _by_token(book),
        _residency(need, book, choice, seed=seed, samples=samples),
    )


def _documents(need: Need, book: PriceBook) -> list[str]:
    start = max(need.documents, 1)
    store = need.storage or "pgvector"
    _, today = planned_memory(_IN_PROCESS[store], need, book)

    def outgrown(n: float) -> bool:
        at = with_volumes(need, documents=n)
        return planned_memory(_IN_PROCESS[store], at, book)[1] > today

    def too_large(n: float, store: Storage) -> bool:
        at = with_volumes(need, documents=n)
        return not sizing.MemoryFit(*planned_memory(_IN_PROCESS[store], at, book)).fits

    def qdrant_cheaper(n: float) -> bool:
        at = with_volumes(need, documents=n)
        costs = {s: planned_cost(p, at, book) for s, p in _IN_PROCESS.items()}
        return costs["Qdrant"] < costs["pgvector"]

    size = f"{today / sizing.GIB:.0f} GiB"
    larger = first_where(outgrown, start=start, stop=_TOP_DOCUMENTS)
    none = first_where(partial(too_large, store=store), start=start, stop=_TOP_DOCUMENTS)
    plain = first_where(partial(too_large, store="pgvector"), start=start, stop=_TOP_DOCUMENTS)
    rival = first_where(qdrant_cheaper, start=start, stop=min(plain or _TOP_DOCUMENTS, 1e9))
    return [
        f"Memory: {store} outgrows a machine of {size} at about {_count(larger)} documents."
        if larger
        else f"Memory: {store} stays on a machine of {size} up to {_count(_TOP_DOCUMENTS)}.",
        f"Memory: beyond about {_count(none)} documents no machine in the price book holds the "
        "index, and it must be partitioned or quantised."
        if none
        else f"Memory: a machine in the price book holds the index up to {_count(_TOP_DOCUMENTS)}.",
        f"Qdrant becomes the cheaper store at about {_count(rival)} documents."
        if rival
        else "Qdrant is at no volume that one machine holds the cheaper store: its second machine "
        "costs more than its smaller memory saves.",
    ]


def _queries(need: Need, book: PriceBook, choice: Choice) -> list[str]:
    if choice.chosen is None:
        return []
    name = choice.chosen.pattern.name
    start = max(need.queries_per_month, 1)
    now = planned_cost(name, need, book)

    def dearer(q: float) -> bool:
        return planned_cost(name, with_volumes(need, queries=q), book) > now * 1.5

    def over_budget(q: float) -> bool:
        at = with_volumes(need, queries=q)
        return planned_cost(name, at, book) > float(need.monthly_budget)

    half_more = first_where(dearer, start=start, stop=_TOP_QUERIES)
    broke = first_where(over_budget, start=start, stop=_TOP_QUERIES)
    sentences = []
    if half_more:
        sentences.append(
            f"Load: {name} costs half as much again from about {_count(half_more)} queries a month."
        )
    if broke:
        sentences.append(
            f"Budget: {name} passes {need.monthly_budget:,} {book.currency} a month at about "
            f"{_count(broke)} queries a month."
        )
    return sentences


def _language_model(need: Need, book: PriceBook, *, seed: int, samples: int) -> str:
    if need.generated_tokens_per_query:
        searching = replace(need, generated_tokens_per_query=0)
        other = choose(assess_patterns(searching, book, seed=seed, samples=samples), searching)
        return f"Without generated answers: {other.sentence}"
    tokens = _GENERATED_TOKENS
    writing = replace(need, generated_tokens_per_query=tokens)
    assessed = assess_patterns(writing, book, seed=seed, samples=samples)
    fitting = [a for a in assessed if a.serves and a.fits and _stored(a, need)]
    able = [a for a in fitting if a.resides]
    outside = [a for a in fitting if not a.resides]
    if not able:
        return (
            f"Generated answers ({tokens} tokens a query): no pattern would serve, fit and reside."
        )
    best = min(able, key=lambda a: (a.monthly.p50, a.pattern.name))
    sentence = (
        f"Generated answers ({tokens} tokens a query) make a GPU or a model by token necessary: "
        f"{best.pattern.name} from {best.monthly.p50:,} a month"
    )
    if outside and (away := min(outside, key=lambda a: a.monthly.p50)).monthly.p50 < (
        best.monthly.p50
    ):
        sentence += f"; {away.pattern.name} would cost {away.monthly.p50:,} but fails on residency"
    if best.monthly.p50 > need.monthly_budget:
        sentence += f"; the budget is {need.monthly_budget:,}"
    return sentence + "."


def _by_token(book: PriceBook) -> str:
    """Compare the cheapest specialist GPU with paying the same model's size by token."""
    model = book.models[MODEL]
    needed = sizing.serving_bytes(model, context_tokens=4_096, concurrency=16)
    gpu = next(
        p
        for p in book.machines("gpu", tier="specialist")
        if sizing.MemoryFit(needed, p.gpu_memory_gib * sizing.GIB).fits
    )
    speed = sizing.tokens_per_s(
        model, book.gpus[gpu.gpu], book.gpus[model.measured_on], gpu.gpu_count
    )
    written = book["mistral-small-output"]
    asked = book["mistral-small-input"]
    # one written token pays for its share of the context that was read
    price = written.amount + asked.amount * Decimal(CONTEXT_TOKENS) / Decimal(_GENERATED_TOKENS)
    share = break_even_utilisation(gpu.amount, speed, price)
    assert share is not None  # both are positive in any valid book
    verdict = f"from {share:.0%} of full load" if share <= 1 else "at no load"
    return (
        f"GPU against tokens: {model.name} on {gpu.item} ({gpu.amount} an hour, {speed:,.0f} "
        f"tokens/s) beats {written.item} {verdict}."
    )


def _residency(need: Need, book: PriceBook, choice: Choice, *, seed: int, samples: int) -> str:
    everywhere = tuple(sorted({p.country for p in book.prices.values() if p.country}))
    free = replace(need, hosting=everywhere)
    other = choose(assess_patterns(free, book, seed=seed, samples=samples), free).chosen
    allowed = ", ".join(need.hosting)
    unpriced = [c for c in need.hosting if c not in everywhere]
    gap = f" The price book has no price in {', '.join(unpriced)}." if unpriced else ""
    if other is None:
        return f"Residency: no pattern would stand without the rule ({allowed}) either.{gap}"
    if choice.chosen is None:
        return (
            f"Residency: without the rule ({allowed}) {other.pattern.name} would stand at "
            f"{other.monthly.p50:,} a month.{gap}"
        )
    saved = choice.chosen.monthly.p50 - other.monthly.p50
    if saved <= 0:
        return f"Residency: the rule ({allowed}) costs nothing; the choice would be the same.{gap}"
    return (
        f"Residency: the rule ({allowed}) costs {saved:,} a month; without it "
        f"{other.pattern.name} would cost {other.monthly.p50:,}.{gap}"
    )


def _count(value: float | None) -> str:
    if value is None:
        return "none"
    for limit, unit in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if value >= limit * 0.9995:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.0f}"
