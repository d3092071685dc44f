"""Rung 11 as tables for people: what each system did, and which prompts the candidate lost."""

from __future__ import annotations

from collections.abc import Sequence

from qafila.llm_eval.answer_figures import Answered, SystemFigures
from qafila.llm_eval.golden import Prompt

_SHOWN = 15
_CHARACTERS = 160


def lost_prompts(
    prompts: Sequence[Prompt], baseline: Sequence[Answered], candidate: Sequence[Answered]
) -> list[dict[str, object]]:
    """Return the prompts that lost most, for a person to judge; the greatest loss first."""
    rows: list[tuple[float, dict[str, object]]] = []
    for prompt, old, new in zip(prompts, baseline, candidate, strict=True):
        if old.score is None or new.score is None or new.score >= old.score:
            continue
        assert new.graded is not None
        why = "; ".join(g.because for g in new.graded.grades if g.because)
        rows.append(
            (
                new.score - old.score,
                {
                    "prompt": prompt.id,
                    "class": prompt.group,
                    "asked": _short(prompt.asked),
                    "baseline": _short(old.text),
                    "candidate": _short(new.text),
                    "why": _short(why),
                    "format": new.graded.format_break,
                },
            )
        )
    return [row for _, row in sorted(rows, key=lambda r: (r[0], str(r[1]["prompt"])))[:_SHOWN]]


def system_row(system: SystemFigures) -> dict[str, object]:
    """Return the figures of one system, ready to be shown."""

    def number(value: float | None, form: str) -> str:
        return "not measured" if value is None else format(value, form)

    about = "about " if system.tokens_estimated else ""
    return {
        "score": number(system.score, ".3f"),
        "errors": f"{system.errors:,} of {system.prompts:,}",
        "refusals": system.refusals,
        "broken formats": system.format_breaks,
        "tokens in": about + number(system.tokens_in, ".0f"),
        "tokens out": about + number(system.tokens_out, ".0f"),
        "cost an answer": system.cost_per_answer or "not known",
        "first token p50 ms": number(system.first_token_p50_ms, ".0f"),
        "a token p50 ms": number(system.per_token_p50_ms, ".1f"),
        "answer p50 ms": number(system.total_p50_ms, ".0f"),
    }


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CHARACTERS else line[: _CHARACTERS - 1] + "…"
