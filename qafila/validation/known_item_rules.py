"""Queries made from documents, for a corpus whose queries nobody has judged.

A document's title, or some words of its text, asks for that document. Such a query repeats words of
its answer, so keyword search looks better by it than it is; the label says so wherever it is used.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TypeVar

from qafila.validation.judged import JudgedQuery

LABEL = "generated known-item queries: they favour keyword search"
TITLE_WORDS = (2, 12)  # a title of one word asks for many documents, one of many is a text
SNIPPET_WORDS = (6, 10)
_FEWEST_WORDS = 6  # of a text that some words can be taken from

T = TypeVar("T")


def known_item_queries(
    documents: Iterable[tuple[str, str, str]], generator: random.Random
) -> list[JudgedQuery]:
    """Return a query for each (key, title, text) that can be asked for, in the order of ids.

    Documents that share a title are not asked for by it, since nobody could tell which is meant.
    """
    queries: dict[str, JudgedQuery] = {}
    repeated: set[str] = set()
    for key, title, text in sorted(documents):
        asked = known_item(title, text, generator)
        if asked is None:
            continue
        if asked in queries:
            repeated.add(asked)
        queries[asked] = JudgedQuery(f"generated-{key}", asked, {key: 1.0})
    found = [q for asked, q in queries.items() if asked not in repeated]
    return sorted(found, key=lambda q: q.query_id)


def known_item(title: str, text: str, generator: random.Random) -> str | None:
    """Return a query that asks for this document; None when there are too few words to ask with.

    The title where it has 2 to 12 words, else 6 to 10 words in a row of the text, lower-cased.
    """
    words = title.split()
    if TITLE_WORDS[0] <= len(words) <= TITLE_WORDS[1]:
        return " ".join(words)
    words = text.split()
    if len(words) < _FEWEST_WORDS:
        return None
    length = min(len(words), generator.randint(*SNIPPET_WORDS))
    start = generator.randint(0, len(words) - length)
    return " ".join(words[start : start + length]).lower()


def sample_of(items: Iterable[T], size: int, generator: random.Random) -> list[T]:
    """Return a random sample of a stream whose length is not known (Vitter's algorithm R, 1985)."""
    kept: list[T] = []
    for number, item in enumerate(items):
        if number < size:
            kept.append(item)
        elif (place := generator.randint(0, number)) < size:
            kept[place] = item
    return kept
