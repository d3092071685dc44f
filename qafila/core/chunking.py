"""Split a document into chunks that point back to their place in it.

Offsets count Unicode code points of the document; ``text[start:end]`` is the chunk, to the letter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from qafila.core.corpus import Chunking

VERSION = 1
_JOINERS = {"\u200c", "\u200d"}


@dataclass(frozen=True)
class Span:
    """One chunk of a document: half-open range of code points."""

    number: int
    start: int
    end: int


def split(text: str, chunking: Chunking) -> Sequence[Span]:
    """Return the spans of a document in order; none for an empty one.

    ``whole`` gives one span. ``window`` gives spans of at most ``max_characters`` that overlap by
    about ``overlap_characters``, end at white space where there is some in their last quarter, and
    never separate a letter from its combining marks (Arabic harakat, French accents in NFD).
    """
    if not text:
        return []
    if chunking.method == "whole":
        return [Span(0, 0, len(text))]
    spans: list[Span] = []
    start = 0
    while True:
        end = _end_of_window(text, start, chunking.max_characters)
        spans.append(Span(len(spans), start, end))
        if end == len(text):
            return spans
        following = _start_of_cluster(text, end - chunking.overlap_characters)
        start = following if following > start else end


def _end_of_window(text: str, start: int, size: int) -> int:
    limit = start + size
    if limit >= len(text):
        return len(text)
    for position in range(limit, start + size * 3 // 4, -1):
        if text[position - 1].isspace() and not _continues(text, position):
            return position
    end = _start_of_cluster(text, limit)
    if end > start:
        return end
    end = limit  # one cluster longer than the window: keep it whole, however long
    while end < len(text) and _continues(text, end):
        end += 1
    return end


def _start_of_cluster(text: str, position: int) -> int:
    while position > 0 and _continues(text, position):
        position -= 1
    return position


def _continues(text: str, position: int) -> bool:
    """Say whether the character at ``position`` belongs to the one before it."""
    character = text[position]
    return (
        unicodedata.combining(character) != 0
        or unicodedata.category(character) in ("Mn", "Me")
        or character in _JOINERS
        or text[position - 1] == "\u200d"
    )
