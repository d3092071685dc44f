"""Queries in groups that are judged on their own: by class and by language, stated or derived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qafila.validation.judged import JudgedQuery
from qafila.validation.language import detect_language

SHORT = 4  # words at most of a short query


@dataclass(frozen=True)
class QueryGroup:
    """Some of the queries, by their places in the list; ``derived``: nobody said so."""

    by: str  # "class" or "language"
    value: str
    derived: bool
    members: tuple[int, ...]

    @property
    def name(self) -> str:
        """Return what a person calls it."""
        how = (
            ""
            if not self.derived
            else (", by its length" if self.by == "class" else ", by its words")
        )
        return f"{self.by} {self.value}{how}"


def group_queries(queries: Sequence[JudgedQuery]) -> list[QueryGroup]:
    """Return the groups, the greatest of each kind first. A kind of one group is left out.

    Where no query states a class, it is derived from the number of words; where none states a
    language, from script and function words. Who states none while others do is "not stated".
    """
    return [
        *_grouped("class", queries, [q.query_class for q in queries], length_class),
        *_grouped("language", queries, [q.language for q in queries], _language),
    ]


def length_class(text: str) -> str:
    """Return which of three lengths a query has, in words."""
    words = len(text.split())
    if words <= 1:
        return "one word"
    return f"2 to {SHORT} words" if words <= SHORT else f"more than {SHORT} words"


def _language(text: str) -> str:
    return detect_language(text) or "not told"


def _grouped(
    by: str,
    queries: Sequence[JudgedQuery],
    stated: Sequence[str | None],
    derive: Callable[[str], str],
) -> list[QueryGroup]:
    derived = not any(stated)
    values = [derive(q.text) for q in queries] if derived else [s or "not stated" for s in stated]
    members: dict[str, list[int]] = {}
    for place, value in enumerate(values):
        members.setdefault(value, []).append(place)
    if len(members) < 2:
        return []  # the one group is the whole
    largest_first = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return [QueryGroup(by, value, derived, tuple(places)) for value, places in largest_first]
