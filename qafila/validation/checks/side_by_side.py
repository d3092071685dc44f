"""Queries whose answers got worse or changed most, with the texts of both answers, for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qafila.sources.port import Source, SourceRow
from qafila.validation.judged import Answer, JudgedQuery, worst_changes
from qafila.validation.known_items import fetch_documents

WORST = 15
FIRST = 3
_SNIPPET = 90


def side_by_side(
    source: Source,
    queries: Sequence[JudgedQuery],
    baseline: Sequence[Answer],
    candidate: Sequence[Answer],
) -> list[dict[str, object]]:
    """Return one row a query that lost nDCG@10, the greatest loss first, at most 15."""
    worst = worst_changes(queries, baseline, candidate, WORST)
    shown = [d for c in worst for d in (*c.baseline[:FIRST], *c.candidate[:FIRST], *c.query.grades)]
    documents = fetch_documents(source, list(dict.fromkeys(shown)))
    return [
        {
            "query": change.query.text,
            "known answer": named(_best(change.query)[:FIRST], documents),
            "nDCG@10 lost": f"{-change.delta:.3f}",
            "baseline's first three": named(change.baseline[:FIRST], documents),
            "candidate's first three": named(change.candidate[:FIRST], documents),
        }
        for change in worst
    ]


def _best(query: JudgedQuery) -> list[str]:
    relevant = [d for d, grade in query.grades.items() if grade > 0]
    return sorted(relevant, key=lambda d: -query.grades[d])


def named(keys: Sequence[str], documents: Mapping[str, SourceRow]) -> str:
    """Return the documents in order, each with its title or the beginning of its text."""
    return "; ".join(f"{n}. {k}{_told(documents.get(k))}" for n, k in enumerate(keys, 1)) or "none"


def _told(document: SourceRow | None) -> str:
    if document is None:
        return " (not in the source)"
    text = " ".join(document.text.split())
    title = " ".join(document.title.split())
    if title:
        text = f"{title} – {text.removeprefix(title).strip()}"
    return f": {text}" if len(text) <= _SNIPPET else f": {text[:_SNIPPET].rstrip()}…"
