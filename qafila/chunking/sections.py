"""Markdown headings: where sections begin, and under which headings they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

import pyromark

LIBRARY = f"pyromark {version('pyromark')}"
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
_CR = re.compile(r"\r(?!\n)")
# The parser takes these for white space; CommonMark takes them for letters.
_AS_THE_STANDARD = str.maketrans({"\v": "x", "\f": "x", "\0": "\ufffd"})
_AFTER_HASHES = ("", " ", "\t", "\r", "\n")
_CLOSING = re.compile(r"(?:^|(?<=[ \t]))#+$")
_UNDERLINE = re.compile(r"[\r\n]+[ \t]*(?:=+|-+)$")
# A CR LF is one line end, never two: tried both ways, 40 lines would take longer than any machine
# lasts.
_FRONT_MATTER = re.compile(
    r"---[ \t]*(?>\r\n?|\n)(?:[^\r\n]*+(?>\r\n?|\n)){0,200}?"
    r"(?:---|\.\.\.)[ \t]*+(?:\r\n?|\n|\Z)"
)
_MAYBE = re.compile(r"^[ ]{0,3}(?:#|=+[ \t]*$|-+[ \t]*$)", re.MULTILINE)


class Section(NamedTuple):
    """One heading with the text under it, up to the next heading; half-open, in code points.

    ``level`` is 1 to 6, and 0 for what stands before the first heading. ``path`` names the
    headings it stands under, outermost first, its own last. ``body`` is where its text begins.
    """

    start: int
    body: int
    end: int
    level: int
    path: tuple[str, ...]


def sections(text: str) -> list[Section]:
    """Return the sections of a Markdown document in order, without gaps.

    Headings are CommonMark's, ``#`` and underlined; not those in code, quotes or lists. YAML
    front matter belongs to what stands before the first heading.
    """
    ended: list[Section] = []
    start = body = level = 0  # of the section whose end is not known yet
    path: tuple[str, ...] = ()
    levels, paths = [0], [path]  # of the headings above, outermost first
    for following, body_of_it, level_of_it, title in _headings(text):
        if following > 0:
            ended.append(Section(start, body, following, level, path))
        start, body, level = following, body_of_it, level_of_it
        while levels[-1] >= level:
            levels.pop()
            paths.pop()
        path = (*paths[-1], title)
        levels.append(level)
        paths.append(path)
    return [*ended, Section(start, body, len(text), level, path)]


def _headings(text: str) -> Iterator[tuple[int, int, int, str]]:
    """Yield start, start of what follows, level and title of every heading."""
    if _MAYBE.search(text.replace("\r", "\n")) is None:
        return
    matter = _FRONT_MATTER.match(text)
    base = matter.end() if matter else 0
    source = text[base:].translate(_AS_THE_STANDARD)
    source = _CR.sub("\n", _HALF_A_PAIR.sub("\ufffd", source))
    place = _Places(source)
    for level, first, last in _top_level(source):
        start = inner = place.of(first)
        after = place.of(last)
        if inner and source[inner - 1] != "\n":  # indented
            start = source.rfind("\n", 0, inner) + 1
        title = _title(text[base + inner : base + after].replace("\0", "\ufffd"))
        yield base + start, base + after, level, title


def _top_level(source: str) -> Iterator[tuple[int, int, int]]:
    """Yield level, first byte and byte behind every heading that is in no list and no quote."""
    depth = 0
    event: Any  # a word, or a dict with what begins or ends
    for event, place in pyromark.events_with_range(source):
        if isinstance(event, str):
            continue
        if begun := event.get("Start"):
            if begun == "Item" or "BlockQuote" in begun:
                depth += 1
            elif depth == 0 and "Heading" in begun:
                yield int(begun["Heading"]["level"][1]), place["start"], place["end"]
        elif (ended := event.get("End")) and (ended == "Item" or "BlockQuote" in ended):
            depth -= 1


class _Places:
    """Where bytes of a text's UTF-8 are in the text; asked for in rising order."""

    def __init__(self, text: str) -> None:
        self._bytes = b"" if text.isascii() else text.encode()
        self._byte = self._place = 0

    def of(self, byte: int) -> int:
        if not self._bytes:  # a byte is a character
            return byte
        self._place += len(self._bytes[self._byte : byte].decode())
        self._byte = byte
        return self._place


def _title(heading: str) -> str:
    """Return the title as it is written, without what makes it a heading, on one line."""
    behind = heading.lstrip("#")
    if 1 <= len(heading) - len(behind) <= 6 and behind[:1] in _AFTER_HASHES:
        title = behind.strip(" \t\r\n")
        if title.endswith("#"):
            title = _CLOSING.sub("", title)
    else:
        title = _UNDERLINE.sub("", heading.rstrip(" \t\r\n"))
    return " ".join(title.split())
