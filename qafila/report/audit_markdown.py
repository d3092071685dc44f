"""The audit's first page as Markdown, for the run's artifact. Names never become markup."""

from __future__ import annotations

from collections.abc import Sequence

from qafila.report.audit_first_page import FirstPage
from qafila.text.foreign_text import markdown_text

_LONGEST = 400


def audit_markdown(page: FirstPage) -> str:
    """Return the page a director reads in a minute."""
    lines = [f"**{page.verdict}** · {_text(page.sentence)}", ""]
    lines += [page.verdict_means, ""] if page.verdict_means else []
    lines += _table(
        ("", "figure", "about it"), [(f.name, f.value, f.note) for f in page.figures], ""
    )
    if page.month:
        lines += [f"## Spend in {_text(page.month)}", ""]
        lines += _table(("service", "amount", "share"), page.spend, "")
        lines += _table(("month", "amount", "state"), page.months, "")
        if page.months_more:
            lines += [f"… and {page.months_more} more months.", ""]
        lines += _table(("network route", "amount"), page.routes, "")
        lines += [f"- {_text(told)}" for told in page.parting]
        lines += [""]
    lines += ["## To look at", ""]
    lines += _table(("what", "which", "a month", "why"), page.to_look_at, "Nothing stands out.")
    if page.to_look_at_more:
        lines += [f"… and {_text(page.to_look_at_more)}.", ""]
    lines += ["## Can move, in this order", ""]
    lines += [_text(page.waves_told), ""] if page.waves_told else []
    lines += _table(("wave", "what", "why"), page.waves, "Nothing was seen that could move.")
    if page.waves_more:
        lines += [f"… and {page.waves_more} more waves.", ""]
    lines += ["## Will need AI within 12 months", ""]
    lines += _table(
        ("workload", "need", "score", "it would take", "ask"),
        page.candidates,
        "No candidate.",
    )
    if page.candidates_more:
        lines += [f"… and {page.candidates_more} more.", ""]
    lines += [_text(page.corpus), "", "## Since the last audit", ""]
    lines += [f"- {_text(line)}" for line in page.difference]
    lines += ["", "## What we could not see", ""]
    lines += [f"- {_text(note)}" for note in page.unseen] or ["- Nothing was closed to us."]
    if page.unseen_more:
        lines += [f"- … and {page.unseen_more} more."]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> list[str]:
    if not rows:
        return [empty, ""]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in rows]
    return [*lines, ""]


def _text(value: str) -> str:
    return markdown_text(value, _LONGEST)
