"""The rungs in the order they are climbed, and what measuring one leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from qafila.workload.verdict import Judgement


class Rung(StrEnum):
    """What is compared, cheapest and most certain first."""

    KEYS = "keys"  # every key of the source is there once, and no other
    CONTENT = "content"  # text, metadata, readers and vectors of every row are what they should be
    MEANING = "meaning"  # a stored vector is what the model makes of its text
    NEIGHBOURS = "neighbours"  # exact search finds the same in the old index and in the new
    INDEX = "index"  # approximate search finds what exact search finds
    QUALITY = "quality"  # judged queries are answered as well as before
    CHANGE = "change"  # how much of what users see is different; not how good it is
    LATENCY = "latency"  # under the load there is, and more
    COST = "cost"  # of a thousand queries, and of a month
    ACCESS = "access"  # nobody sees what is not theirs
    ANSWERS = "answers"  # what a language model answers to prompts with known answers

    @property
    def number(self) -> int:
        """Return the place on the ladder, from 1."""
        return list(Rung).index(self) + 1

    @property
    def artifact(self) -> str:
        """Return the key of its artifact in Prefect."""
        return f"rung-{self.number:02d}-{self.value}"


@dataclass(frozen=True)
class Detail:
    """A table for people: what was found row by row. All rows have the same keys."""

    caption: str
    rows: Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Finding:
    """What one rung measured and judged.

    Attributes:
        judgement: of the candidate; it decides.
        compared: what was compared with what, as part of a sentence.
        on: on how many, with the unit: "17 422 rows".
        smallest_effect: the least fault or difference that this run could have seen, in words;
            empty when everything was looked at.
        parts: what the rung is made of, by name: a filter, a class of queries, a group.
        others: the same measured on other systems, for comparison; never decides.
        details: tables for people, the most telling first.
        figures: what the evidence keeps (JSON-able values), merged with those of the other rungs.
        series: points for a picture (JSON-able values), by name.
        seconds: how long measuring took.
    """

    rung: Rung
    judgement: Judgement
    compared: str
    on: str
    smallest_effect: str = ""
    parts: Mapping[str, Judgement] = field(default_factory=dict)
    others: Mapping[str, Judgement] = field(default_factory=dict)
    details: Sequence[Detail] = ()
    figures: Mapping[str, object] = field(default_factory=dict)
    series: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class NotApplicable:
    """A rung that has nothing to measure here, with the reason."""

    rung: Rung
    because: str
