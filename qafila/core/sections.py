"""Markdown headings: where sections begin, and under which headings they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import markdown_it
from markdown_it import MarkdownIt
from markdown_it.token import Token

LIBRARY = f"markdown-it-py {markdown_it.__version__}"
_PARSER = MarkdownIt("commonmark")
_LINE_END = re.compile(r"\r\n?|\n")
# A CR LF is one line end, never two: tried both ways, 40 lines would take longer than any machine
# lasts.
_FRONT_MATTER = re.compile(
    r"---[ \t]*(?>\r\n?|\n)(?:[^\r\n]*+(?>\r\n?|\n)){0,200}?"
    r"(?:---|\.\.\.)[ \t]*+(?:\r\n?|\n|\Z)"
)
_MAYBE = re.compile(r"^[ ]{0,3}(?:#|=+[ \t]*$|-+[ \t]*$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Section:
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
    headings = _headings(text)
    found: list[Section] = []
    if not headings or headings[0][0] > 0:
        found.append(Section(0, 0, headings[0][0] if headings else len(text), 0, ()))
    above: list[tuple[int, str]] = []
    for number, (start, body, level, title) in enumerate(headings):
        above = [h for h in above if h[0] < level] + [(level, title)]
        end = headings[number + 1][0] if number + 1 < len(headings) else len(text)
        found.append(Section(start, body, end, level, tuple(name for _, name in above)))
    return found


def _headings(text: str) -> list[tuple[int, int, int, str]]:
    """Return start, start of what follows, level and title of every heading."""
    if _MAYBE.search(text.replace("\r", "\n")) is None:
        return []
    matter = _FRONT_MATTER.match(text)
    base = matter.end() if matter else 0
    starts = [base, *(m.end() for m in _LINE_END.finditer(text, base)), len(text)]
    source = _LINE_END.sub("\n", text[base:]).replace("\0", "\ufffd")
    tokens: list[Token] = []
    _PARSER.block.parse(source, _PARSER, {}, tokens)
    return [
        (starts[first], starts[min(after, len(starts) - 1)], int(token.tag[1:]), _title(inline))
        for token, inline in pairwise(tokens)
        if token.type == "heading_open" and token.level == 0 and token.map is not None
        for first, after in [token.map]
    ]


def _title(inline: Token) -> str:
    return " ".join(inline.content.split())
