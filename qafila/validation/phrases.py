"""What the ladder found, in words and tables for Prefect's artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qafila.ledger.ledger import Generation
from qafila.text.foreign_text import markdown_row, markdown_text
from qafila.validation.check_labels import rung_lines
from qafila.validation.model import NotApplicable, Rung
from qafila.validation.outcome import CANDIDATE, Climbed, Outcome
from qafila.workload.verdict import Verdict

_SHOWN = 20  # rows of a detail in an artifact


def headline(outcome: Outcome) -> str:
    """Return the climb in one sentence."""
    body = outcome.body()
    pair, arm = body["paired"].get(CANDIDATE), body["systems"].get(CANDIDATE)
    if pair is None or arm is None or outcome.verdict is not Verdict.PASS:
        return f"{CANDIDATE} {outcome.verdict}: {outcome.sentence.removeprefix(f'{CANDIDATE}: ')}"
    alone = outcome.verdicts.get("vector_only")
    return (
        f"candidate PASS: nDCG@10 {pair['delta']:+.3f} over the baseline "
        f"(95 % {pair['ci_low']:+.3f}…{pair['ci_high']:+.3f}, {pair['pairs']} queries), "
        f"p95 {arm['p95_ms']:.1f} ms"
        + ("." if alone is None else f"; vectors alone {alone.verdict}.")
    )


def finding_page(found: Climbed) -> str:
    """Return one rung as a page: the verdict, what was compared, its parts, its tables."""
    if isinstance(found, NotApplicable):
        return f"# {found.rung} does not apply\n\n{markdown_text(found.because)}"
    judged = found.judgement
    lines = [
        f"# {found.rung.value} {judged.verdict}",
        "",
        markdown_text(judged.sentence),
        "",
        f"Compared: {markdown_text(found.compared)}; on {markdown_text(found.on)}; "
        f"in {found.seconds:.1f} s.",
    ]
    if found.smallest_effect:
        lines += [
            f"The least that this run could have seen: {markdown_text(found.smallest_effect)}."
        ]
    if found.parts:
        lines += [
            "",
            *markdown_table(
                [
                    {"part": name, "verdict": j.verdict.value, "what was found": j.sentence}
                    for name, j in found.parts.items()
                ]
            ),
        ]
    for detail in found.details:
        lines += [
            "",
            f"## {markdown_text(detail.caption)}",
            "",
            *markdown_table(detail.rows[:_SHOWN]),
        ]
        if len(detail.rows) > _SHOWN:
            lines += ["", f"… and {len(detail.rows) - _SHOWN} more."]
    return "\n".join(lines)


def verdict_page(generation: Generation, outcome: Outcome) -> str:
    """Return the verdict as a page: the sentence, the systems, the rungs, the assumptions."""
    lines = [f"# {outcome.verdict}", "", markdown_text(headline(outcome)), ""]
    systems = system_rows(outcome)
    if systems:
        lines += [*markdown_table(systems), ""]
    lines += markdown_table(rung_rows(outcome))
    lines += [
        "",
        "Latency past the router: of baseline and candidate from when requests were due, arriving "
        "at a rate of their own; of vectors alone from question to answer. Cost: list price an "
        "hour / 3,600 × mean service time × 1,000 / vCPUs, a fully used machine assumed.",
    ]
    lines += ["", f"With pictures: `qafila report {generation.workload} --validation`"]
    if outcome.verdict is Verdict.PASS:
        lines += ["", f"Next: `qafila run rollback-drill {generation.workload}`"]
    return "\n".join(lines)


def rung_rows(outcome: Outcome) -> list[dict[str, object]]:
    """Return one row a rung, also for those that do not apply or were not reached.

    In the words of the report that ``qafila report --validation`` writes.
    """
    return [
        {
            "rung": f"{line.number} {line.name}",
            "what": line.title,
            "verdict": line.verdict,
            "what was compared": line.compared,
            "on": line.on,
            "what was found": line.found,
            "the least it could have seen": line.smallest_effect,
        }
        for line in rung_lines(outcome.body())
    ]


def system_rows(outcome: Outcome) -> list[dict[str, object]]:
    """Return one row a system, ready to be shown."""
    body = outcome.body()
    costs, rows = body["cost_per_1000_queries"], []
    for name, arm in body["systems"].items():
        pair, verdict = body["paired"].get(name), body["verdicts"].get(name)
        rows.append(
            {
                "system": name,
                "verdict": verdict or "–",
                "nDCG@10": _number(arm["ndcg_at_10"], ".3f"),
                "minus baseline (95 %)": "–"
                if pair is None
                else f"{pair['delta']:+.3f} ({pair['ci_low']:+.3f}…{pair['ci_high']:+.3f})",
                "p": "–" if pair is None else f"{pair['p_value']:.4f}",
                "MRR": _number(arm["mrr"], ".3f"),
                "p50 ms": _number(arm["p50_ms"], ".1f"),
                "p95 ms": _number(arm["p95_ms"], ".1f"),
                "errors": f"{arm['errors']} of {arm['queries']}",
                f"{costs.get('currency', 'cost')} per 1,000 queries": str(costs.get(name, "–")),
            }
        )
    return rows


def worst_rows(outcome: Outcome) -> list[dict[str, object]]:
    """Return one row a query where the candidate lost most, ready to be shown."""
    quality = outcome.finding(Rung.QUALITY)
    return [dict(r) for d in (quality.details if quality else ())[:1] for r in d.rows]


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table; nothing in a cell ends the cell or the line."""
    if not rows:
        return []
    heads = list(rows[0])
    return [
        markdown_row(heads),
        "|" + "---|" * len(heads),
        *(markdown_row(row.get(head, "") for head in heads) for row in rows),
    ]


def _number(value: float | None, form: str) -> str:
    return "not measured" if value is None else format(value, form)
