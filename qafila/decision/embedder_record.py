"""What a decision record says of the embedders that were compared on the corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qafila.text.foreign_text import markdown_row, markdown_text

_SEARCHES = {
    "vector": "By exact search with vectors alone",
    "hybrid": "By exact search with vectors, fused with keywords",
}


def summary(
    number: int, recorded_on: str, sentence: str, body: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a decision keeps of one comparison: what was compared, where, and who won.

    ``number`` and ``recorded_on`` (a date) are those of its evidence.
    """
    return {
        "evidence": number,
        "date": recorded_on,
        "sentence": sentence,
        "queries": body["queries"],
        "judged_by": body["judged_by"],
        "documents": body["sample"]["documents"],
        "of_documents": body["sample"]["of_documents"],
        "note": body["sample"]["note"],
        "current": body["current"],
        "winner": body["candidates"][0]["name"],
        "ranked_by": body["ranked_by"],
        "candidates": [_kept(row, body["ranked_by"]) for row in body["candidates"]],
    }


def _kept(row: Mapping[str, Any], ranked_by: str) -> dict[str, Any]:
    quality = row["hybrid"] if ranked_by == "hybrid" else row
    kept = ("name", "place", "tied", "query_ms_p95", "per_million_chunks", "currency", "dimensions")
    return {**{k: row[k] for k in kept}, "ndcg_at_10": quality["ndcg_at_10"], "ci": quality["ci"]}


def section(found: Mapping[str, Any] | None) -> list[str]:
    """Return the section as lines of markdown; nothing when no comparison was made."""
    if found is None:
        return []
    rows = found["candidates"]
    return [
        "## Embedders compared on this corpus",
        "",
        f"{markdown_text(found['sentence'])} (evidence {found['evidence']}, {found['date']})",
        "",
        markdown_row(
            ["place", "embedder", "dimensions", "nDCG@10 (95 %)", "query p95", "a million chunks"]
        ),
        "|" + " --- |" * 6,
        *(markdown_row(_cells(r, found["current"])) for r in rows),
        "",
        f"{_SEARCHES[found['ranked_by']]}, on {found['queries']} "
        f"{markdown_text(found['judged_by'])} over a "
        f"sample of {found['documents']:,} of {found['of_documents']:,} documents: "
        f"{markdown_text(found['note'])}.",
        "",
    ]


def _cells(row: Mapping[str, Any], current: str) -> Sequence[str]:
    low, high = row["ci"]
    ms, price = row["query_ms_p95"], row["per_million_chunks"]
    return [
        f"{row['place']}{', tied' if row['tied'] else ''}",
        row["name"] + (" (in use)" if row["name"] == current else ""),
        str(row["dimensions"]),
        f"{row['ndcg_at_10']:.3f} ({low:.3f}…{high:.3f})",
        "not measured" if ms is None else f"{ms:.1f} ms",
        "not known" if price is None else f"{price} {row['currency']}",
    ]
