"""The decision record: a page a board can read, and the same facts as JSON-able evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qafila.decision import embedder_record, patterns
from qafila.decision.choice import Choice
from qafila.decision.patterns import Assessment, Need
from qafila.decision.prices import Price, PriceBook, Uncertainty
from qafila.stores import sizes as sizing
from qafila.text.foreign_text import markdown_row, markdown_text


def evidence_body(
    need: Need,
    book: PriceBook,
    assessments: Sequence[Assessment],
    choice: Choice,
    changes: Sequence[str],
    *,
    context: Mapping[str, object],
    seed: int,
    samples: int,
) -> dict[str, Any]:
    """Return what was compared, on which volumes and prices, and what was chosen."""
    reasons = dict(choice.rejected)
    return {
        "patterns": [_pattern_row(a, book.currency, reasons) for a in assessments],
        "chosen": None if choice.chosen is None else choice.chosen.pattern.name,
        "sentence": choice.sentence,
        "what_would_change_our_mind": list(changes),
        "currency": book.currency,
        "need": {
            "documents": need.documents,
            "text_bytes": need.text_bytes,
            "dimensions": need.dimensions,
            "queries_per_month": need.queries_per_month,
            "growth_per_year": need.growth_per_year,
            "generated_tokens_per_query": need.generated_tokens_per_query,
            "hosting": list(need.hosting),
            "monthly_budget": str(need.monthly_budget),
            "storage": need.storage,
        },
        "context": dict(context),
        "prices": [_pricemarkdown_row(p) for p in _used(assessments)],
        "seed": seed,
        "samples": samples,
    }


def _pattern_row(a: Assessment, currency: str, reasons: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": a.pattern.name,
        "compute": a.pattern.compute,
        "storage": a.pattern.storage,
        "topology": a.pattern.topology,
        "monthly_p50": str(a.monthly.p50),
        "monthly_p90": str(a.monthly.p90),
        "network_p50": str(a.network.p50),
        "network_p90": str(a.network.p90),
        "currency": currency,
        "lock_in": a.pattern.lock_in,
        "lock_in_why": a.pattern.lock_in_why,
        "memory_bytes": a.memory_bytes,
        "memory_available_bytes": a.memory_available_bytes,
        "fits": a.fits,
        "serves": a.serves,
        "resides": a.resides,
        "countries": list(a.countries),
        "machines": list(a.machines),
        "rejected_because": reasons.get(a.pattern.name),
        "notes": "; ".join(a.notes),
    }


def _pricemarkdown_row(price: Price) -> dict[str, str]:
    return {
        "item": price.item,
        "amount": str(price.amount),
        "currency": price.currency,
        "unit": price.unit,
        "source": price.source,
        "as_of": price.as_of.isoformat(),
    }


def _used(assessments: Sequence[Assessment]) -> list[Price]:
    return sorted({p.item: p for a in assessments for p in a.prices}.values(), key=lambda p: p.item)


def table(body: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the patterns as rows of text, in the order they were compared."""
    return [
        {
            "pattern": ("→ " if row["name"] == body["chosen"] else "") + row["name"],
            "compute": row["compute"],
            "storage": row["storage"],
            "topology": row["topology"],
            f"P50–P90 {body['currency']}/month": f"{row['monthly_p50']}–{row['monthly_p90']}",
            "of that network": f"{row['network_p50']}–{row['network_p90']}",
            "memory": f"{_gib(row['memory_bytes'])} of {_gib(row['memory_available_bytes'])} GiB"
            + ("" if row["fits"] else ", does not fit"),
            "lock-in": row["lock_in"],
            "data in": ", ".join(row["countries"]) or "as today",
            "verdict": "chosen" if row["name"] == body["chosen"] else str(row["rejected_because"]),
        }
        for row in body["patterns"]
    ]


def markdown(workload: str, generation: int, body: Mapping[str, Any]) -> str:
    """Return the record as markdown: context, patterns, choice, why, costs, what would change."""
    need, context = body["need"], body["context"]
    rows = table(body)
    head = list(rows[0])
    store = need.get("storage")
    growth = f"{need['growth_per_year']:+.0%}"
    lines = [
        f"# Decision: architecture of {workload}, generation {generation}",
        "",
        f"**{markdown_text(body['sentence'])}**",
        "",
        "## Context",
        "",
        f"- Corpus: {need['documents']:,} documents, {need['text_bytes'] / 1e6:,.1f} MB of text, "
        f"{need['dimensions']} dimensions ({markdown_text(context['measured'])}).",
        f"- Load: {need['queries_per_month']:,} queries a month, {growth} a year, "
        f"{need['generated_tokens_per_query']} generated tokens a query.",
        f"- Data may be in {markdown_text(', '.join(need['hosting']))}; budget "
        f"{need['monthly_budget']} {body['currency']} a month.",
        *([f"- The index is in {markdown_text(store)} (corpus.target)."] if store else []),
        *(f"- {markdown_text(line)}" for line in context["audit"]),
        "",
        "## Patterns compared",
        "",
        markdown_row(head),
        "|" + " --- |" * len(head),
        *(markdown_row(list(r.values())) for r in rows),
        "",
        "Costs are P50 to P90 of a month in the coming year, from "
        f"{body['samples']:,} drawn months (seed {body['seed']}), network included. Labour, taxes "
        "and discounts are not in them; the load balancer is the same in all patterns and left "
        "out.",
        "",
        "## Lock-in",
        "",
        *(
            f"- {r['name']}: {r['lock_in']}; {markdown_text(r['lock_in_why'])}."
            for r in body["patterns"]
        ),
        "",
        "## Machines",
        "",
        *(
            f"- {r['name']}: {markdown_text(', '.join(r['machines']))}"
            + (f" ({markdown_text(r['notes'])})" if r["notes"] else "")
            for r in body["patterns"]
        ),
        "",
        *embedder_record.section(context.get("embedders")),
        "## What would change our mind",
        "",
        *(f"- {markdown_text(line)}" for line in body["what_would_change_our_mind"]),
        "",
        "## Assumptions",
        "",
        *(f"- {line}" for line in assumptions()),
        "",
        "## Prices used",
        "",
        markdown_row(["item", "price", "unit", "as of", "source"]),
        "|" + " --- |" * 5,
        *(
            markdown_row(
                [p["item"], f"{p['amount']} {p['currency']}", p["unit"], p["as_of"], p["source"]]
            )
            for p in body["prices"]
        ),
        "",
    ]
    return "\n".join(lines)


def assumptions() -> list[str]:
    """Return what the costs assume and nobody has measured yet."""
    u = Uncertainty()
    return [
        f"Volumes are lognormal around the plan: queries σ {u.volume_sigma}, documents σ "
        f"{u.corpus_sigma}; up to {u.overhead:.0%} overhead on everything.",
        f"One virtual CPU answers {patterns.QUERIES_PER_S_PER_VCPU:.0f} hybrid queries a second; "
        f"the peak is {patterns.PEAK_OVER_MEAN:g} times the mean.",
        f"An answer sends {patterns.RESPONSE_BYTES / 1000:.0f} kB to the user; "
        f"{patterns.CHURN_PER_MONTH:.0%} of the documents change in a month.",
        f"The static embedder makes {patterns.EMBED_TEXTS_PER_S:,.0f} vectors a second on one "
        f"core; an open embedding model {patterns.GPU_EMBED_TEXTS_PER_S:,.0f} on one GPU.",
        f"Generation, where asked for, is {patterns.MODEL} with "
        f"{patterns.SERVING_CONCURRENCY} contexts of {patterns.SERVING_CONTEXT:,} tokens.",
        "Staying is costed as the server that keyword search needs, since a bill rarely says "
        "which part of it belongs to one workload.",
    ]


def _gib(size: float) -> str:
    return f"{size / sizing.GIB:.1f}"
