"""Rung 9: what a thousand queries cost, and the month at the projected volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal

from qafila.decision.prices import Price, PriceBook
from qafila.decision.steps import load_price_book
from qafila.ledger.ledger import open_ledger
from qafila.validation.checks import judge_cost as core
from qafila.validation.judge_common import judge_arm
from qafila.validation.judged import Answer
from qafila.validation.model import Detail, Finding, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.questions import SYSTEMS
from qafila.validation.suite import Climb, check
from qafila.workload.corpus import PgvectorSource, PgvectorTarget, QdrantSource, WordLlamaEmbedder
from qafila.workload.model import Workload
from qafila.workload.verdict import Judgement, Verdict

_STORAGE = "block-storage"


@check(Rung.COST, "price a query")
def judge_cost(climb: Climb) -> Climbed:
    """Price machine time, embedding and vectors of each system; judge the candidate's month."""
    book, budget = load_price_book(), climb.workload.budget
    machine = book.prices.get(climb.options.machine)
    if (why := unusable(book, machine, climb)) or machine is None:
        return nothing_priced(climb, why)
    volume = core.Volume.of(climb.workload.projection)
    usages = usages_of(climb, book)
    costs = {
        s: core.cost_of(
            usage,
            volume,
            machine,
            book.prices.get(_STORAGE),
            seed=climb.options.seed,
            dearer=climb.dearer if s == "candidate" else 1.0,
        )
        for s, usage in usages.items()
        if usage.ms
    }
    if "candidate" not in costs:
        return nothing_priced(climb, "no query was answered")
    ratio = compared(climb, machine, usages)
    month = core.judge_month(
        costs["candidate"], Decimal(repr(budget.monthly)), book.currency, volume
    )
    most = core.judge_cost_ratio(ratio, climb.workload.objectives.cost_ratio.at_most_ratio)
    parts = {"month": month} | ({} if most is None else {"ratio": most})
    judged = judge_arm("candidate", list(parts.values()))
    said = " ".join(j.sentence for j in parts.values())
    if most is None and ratio is not None:
        said = f"{said} {core.ratio_said(ratio).capitalize()}; not judged."
    per_thousand = {s: str(c.per_thousand) for s, c in costs.items() if c.per_thousand is not None}
    return Finding(
        Rung.COST,
        Judgement(judged.verdict, said, month.numbers),
        compared="machine time at list price, paid embedding and stored vectors with the budget "
        "of a month",
        on=f"{len(climb.queries):,} queries",
        parts=parts,
        details=[Detail("What a month costs", cost_rows(costs, book.currency))],
        figures={
            "cost_per_1000_queries": {**per_thousand, "currency": book.currency},
            "cost": {
                "currency": book.currency,
                "queries_a_month": str(volume.queries),
                "budget": str(budget.monthly),
                "ratio": None if ratio is None else asdict(ratio),
                "prices": [
                    {
                        "item": p.item,
                        "amount": str(p.amount),
                        "unit": p.unit,
                        "source": p.source,
                        "as_of": p.as_of.isoformat(),
                    }
                    for p in (machine, book.prices.get(_STORAGE))
                    if p is not None
                ],
                "systems": {
                    s: {
                        "machine_per_1000": str(c.machine),
                        "embedding_per_1000": None if c.embedding is None else str(c.embedding),
                        "month": {k: None if v is None else str(v) for k, v in c.month.items()},
                    }
                    for s, c in costs.items()
                },
            },
        },
    )


def unusable(book: PriceBook, machine: Price | None, climb: Climb) -> str:
    """Return why nothing can be priced; empty when it can."""
    budget = climb.workload.budget
    if budget.currency != book.currency:
        return (
            f"the budget is in {budget.currency}, the price book in {book.currency}, and nothing "
            "is converted"
        )
    if machine is None or machine.vcpus < 1 or machine.unit != "hour":
        return f"the price book has no machine {climb.options.machine!r} (machine)"
    return ""


def nothing_priced(climb: Climb, why: str) -> Finding:
    """Return that a price or a measurement is missing."""
    return Finding(
        Rung.COST,
        Judgement(Verdict.INCONCLUSIVE, f"cost: {why}."),
        compared="nothing",
        on=f"{len(climb.queries):,} queries",
    )


def usages_of(climb: Climb, book: PriceBook) -> dict[str, core.Usage]:
    """Return what each system takes."""
    workload = climb.workload
    source, target = workload.corpus.source, workload.corpus.target
    with open_ledger() as ledger, climb.store(ledger) as store:
        chunks = store.count()
    halved = isinstance(target, PgvectorTarget) and target.vector_type == "halfvec"
    stored = chunks * workload.corpus.embedder.dimensions * (2 if halved else 4)
    texts = [q.text for q in climb.queries]
    had_vectors = isinstance(source, PgvectorSource | QdrantSource)
    new = embedding_price(workload, texts)
    old = Decimal(0)
    found = {
        "baseline": core.Usage(
            answered_ms(climb.answers["baseline"]),
            _old_embedding(workload, texts, book) if had_vectors else old,
            None if had_vectors else 0,
        )
    }
    for system in SYSTEMS[1:]:
        found[system] = core.Usage(answered_ms(climb.answers[system]), new, stored)
    return found


def embedding_price(workload: Workload, texts: Sequence[str]) -> Decimal:
    """Return the mean price of embedding one query with the new model; estimated tokens."""
    embedder = workload.corpus.embedder
    if isinstance(embedder, WordLlamaEmbedder) or embedder.price_per_million_tokens == 0:
        return Decimal(0)
    return _priced(texts, Decimal(repr(embedder.price_per_million_tokens)))


def _old_embedding(workload: Workload, texts: Sequence[str], book: PriceBook) -> Decimal | None:
    """Return the same of the model behind an existing index; None: its price is not known."""
    source, embedder = workload.corpus.source, workload.corpus.embedder
    assert isinstance(source, PgvectorSource | QdrantSource)
    model = source.vectors.model
    if model == getattr(embedder, "model", None):
        return embedding_price(workload, texts)
    if model.startswith("wordllama"):
        return Decimal(0)
    price = book.prices.get(model)
    return _priced(texts, price.amount) if price and price.unit == "million tokens" else None


def _priced(texts: Sequence[str], per_million: Decimal) -> Decimal:
    from qafila.embedders.tokens import estimate_tokens

    tokens = sum(estimate_tokens(texts))
    return per_million * tokens / len(texts) / 1_000_000


def answered_ms(answers: Sequence[Answer]) -> list[float]:
    """Return the times of what was answered."""
    return [a.ms for a in answers if a.ranking is not None]


def compared(
    climb: Climb, machine: Price, usages: Mapping[str, core.Usage]
) -> core.CostRatio | None:
    """Return the ratio of the cost of a query, on those that both systems answered."""
    each = {
        s: (
            float(machine.amount)
            * (climb.dearer if s == "candidate" else 1.0)
            / 3_600_000
            / machine.vcpus,
            usages[s].embedding,
        )
        for s in ("candidate", "baseline")
    }
    if any(embedding is None for _, embedding in each.values()):
        return None
    both = [
        (new.ms, old.ms)
        for new, old in zip(climb.answers["candidate"], climb.answers["baseline"], strict=True)
        if new.ranking is not None and old.ranking is not None
    ]
    (new_ms, new_more), (old_ms, old_more) = each["candidate"], each["baseline"]
    return core.compare_costs(
        [new * new_ms + float(new_more or 0) for new, _ in both],
        [old * old_ms + float(old_more or 0) for _, old in both],
        seed=climb.options.seed,
    )


def cost_rows(costs: Mapping[str, core.SystemCost], currency: str) -> list[dict[str, object]]:
    """Return one row a system."""
    return [
        {
            "system": system,
            f"{currency} per 1,000 queries": "–"
            if cost.per_thousand is None
            else f"{cost.per_thousand:.6f}",
            **{part: "not known" if v is None else f"{v:.4f}" for part, v in cost.month.items()},
            f"{currency} a month": "–" if cost.total is None else f"{cost.total:.2f}",
        }
        for system, cost in costs.items()
    ]
