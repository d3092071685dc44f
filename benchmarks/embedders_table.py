"""The comparison of embedders as lines that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.machine import surroundings


def table(figures: Mapping[str, Any], seed: int) -> list[str]:
    """Return the ranking, the languages, and what the figures rest on."""
    sample, rows = figures["sample"], figures["candidates"]
    current, by = figures["current"], figures["ranked_by"]
    beside = "hybrid" if by == "vector" else "vector"
    lines = [
        f"{figures['corpus']}: {figures['queries']} {figures['judged_by']}; a sample of "
        f"{sample['documents']} of {sample['of_documents']} documents, {sample['relevant']} of "
        f"them relevant and {sample['others']} random others, in {sample['chunks']} chunks; "
        f"{sample['note']}",
        "vector: exact search; hybrid: " + (figures["hybrid_by"] or "not served"),
        f"ranked by {by} search, nDCG@10; of a tie the cheaper comes first",
        "",
        *_aligned(
            [
                (
                    "place",
                    "embedder",
                    f"{by} nDCG@10",
                    f"minus {current}",
                    beside,
                    "MRR",
                    "recall@100",
                    "query ms p50 p95",
                    "texts/s",
                    "a million chunks",
                    "storage, halfvec",
                ),
                *(_cells(row, by) for row in rows),
            ]
        ),
        "",
        figures["sentence"],
    ]
    if len(figures["languages"]) > 1:
        lines += ["", *_aligned(_languages(figures))]
    for row in rows:
        for why, texts in row["why_without_vector"].items():
            lines.append(f"{row['name']}: {texts} texts without a vector: {why}")
    for key, what in (
        ("queries_without_judgement", "queries without a relevant document were left out"),
        ("unknown_documents", "judged documents are not in the corpus and count as never found"),
    ):
        if named := figures[key]:
            more = "" if len(named) <= 10 else f" and {len(named) - 10} more"
            lines.append(f"{len(named)} {what}: {', '.join(named[:10])}{more}")
    about = surroundings()
    kept = f"; kept as evidence {figures['evidence']}" if "evidence" in figures else ""
    return [
        *lines,
        "",
        f"paid now: {figures['spent']} {figures['currency']}{kept}",
        f"seed {seed}; {about['machine']['cores']} cores, {about['machine']['processor']}",
        "versions: " + ", ".join(f"{k} {v}" for k, v in about["versions"].items()),
    ]


def _cells(row: Mapping[str, Any], by: str) -> tuple[str, ...]:
    found, beside = _of(row, by), row["hybrid"] if by == "vector" else row
    low, high = found["ci"]
    times = [row[f"query_ms_{p}"] for p in ("p50", "p95")]
    return (
        f"{row['place']}{' tied' if row['tied'] else ''}",
        row["name"],
        f"{found['ndcg_at_10']:.3f} ({low:.3f}…{high:.3f})",
        _difference(found, row["reference"]),
        "–" if beside is None else f"{beside['ndcg_at_10']:.3f}",
        f"{found['mrr']:.3f}",
        f"{found['recall_at_100']:.3f}",
        " ".join("–" if t is None else f"{t:.2f}" for t in times),
        "–" if row["texts_per_s"] is None else f"{row['texts_per_s']:,.0f}",
        "not known"
        if row["per_million_chunks"] is None
        else f"{row['per_million_chunks']} {row['currency']}",
        f"{_size(row['storage_bytes'])}, {_size(row['storage_bytes_halfvec'])}",
    )


def _of(row: Mapping[str, Any], by: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = row if by == "vector" else row["hybrid"]
    return found


def _difference(found: Mapping[str, Any], reference: bool) -> str:
    if reference:
        return "–"
    if found["difference"] is None:
        return "too few queries"
    low, high = found["difference_ci"]
    p = "< 0.001" if found["p_holm"] < 0.001 else f"{found['p_holm']:.3f}"
    return f"{found['difference']:+.3f} ({low:+.3f}…{high:+.3f}), p {p}"


def _languages(figures: Mapping[str, Any]) -> list[tuple[str, ...]]:
    languages = sorted(figures["languages"], key=lambda x: -figures["languages"][x])
    rows = [(row["name"], _of(row, figures["ranked_by"])) for row in figures["candidates"]]
    return [
        ("nDCG@10 in", *(f"{x} ({figures['languages'][x]})" for x in languages)),
        *(
            (name, *(f"{found['by_language'][x]['ndcg_at_10']:.3f}" for x in languages))
            for name, found in rows
        ),
    ]


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
