"""The rungs of a climb as evidence keeps them, in the ladder's order and in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qafila.text.figures import NOTHING, text
from qafila.validation.model import Rung

DOES_NOT_APPLY = "does not apply"
NOT_REACHED = "not reached"

TITLES: Mapping[Rung, str] = {
    Rung.KEYS: "Every row is there, once, and no other",
    Rung.CONTENT: "Every row holds what it should",
    Rung.MEANING: "Stored vectors are what the model makes of their texts",
    Rung.NEIGHBOURS: "Exact search finds the same in the old index and in the new",
    Rung.INDEX: "The index finds what looking at every row finds",
    Rung.QUALITY: "Judged queries are answered as well as before",
    Rung.CHANGE: "How much of what users see is different",
    Rung.LATENCY: "Answers come as fast, under the load there is and more",
    Rung.COST: "What a thousand queries and a month cost",
    Rung.ACCESS: "Nobody sees what is not theirs",
    Rung.ANSWERS: "A language model answers as well as before",
}


@dataclass(frozen=True)
class RungLine:
    """One rung in one line of the table; ``kept`` is all that the evidence has of it.

    ``verdict`` is one of the four, or says that the rung does not apply or was not reached;
    ``number`` is empty for a rung that this version does not know.
    """

    name: str
    number: str
    title: str
    verdict: str
    found: str
    compared: str = NOTHING
    on: str = NOTHING
    smallest_effect: str = NOTHING
    kept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        """Say whether the rung was climbed."""
        return self.verdict not in (DOES_NOT_APPLY, NOT_REACHED)


def rung_lines(body: Mapping[str, Any]) -> list[RungLine]:
    """Return every rung that the evidence of a validation speaks of, from the lowest.

    Evidence of an earlier version may lack what a rung says of itself, and may have other rungs:
    those come last.
    """
    measured, absent = body.get("rungs") or {}, body.get("not_applicable") or {}
    not_reached = body.get("not_reached") or []
    stopped = next((n for n in _ordered(measured) if _stops(measured[n])), None)
    because = NOTHING if stopped is None else f"{stopped} stopped the climb"
    lines = []
    for name in _ordered({**measured, **absent, **dict.fromkeys(not_reached)}):
        known = Rung(name) if name in list(Rung) else None
        number, title = (str(known.number), TITLES[known]) if known else ("", name)
        if name in measured:
            kept = measured[name] or {}
            lines.append(
                RungLine(
                    name,
                    number,
                    title,
                    text(kept.get("verdict")),
                    text(kept.get("sentence")),
                    text(kept.get("compared")),
                    text(kept.get("on")),
                    text(kept.get("smallest_effect")),
                    kept,
                )
            )
        elif name in absent:
            lines.append(RungLine(name, number, title, DOES_NOT_APPLY, text(absent[name])))
        else:
            lines.append(RungLine(name, number, title, NOT_REACHED, because))
    return lines


def _ordered(names: Mapping[str, Any]) -> list[str]:
    ladder = [r.value for r in Rung]
    return sorted(names, key=lambda n: ladder.index(n) if n in ladder else len(ladder))


def _stops(kept: Mapping[str, Any] | None) -> bool:
    return (kept or {}).get("verdict") in ("FAIL", "ERROR")
