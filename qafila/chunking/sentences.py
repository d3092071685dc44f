"""Where sentences end, in text whose language nobody has told us: English, French, Arabic, mixed.

The rules follow Unicode's (UAX 29, SB), with three differences that matter to a search index. A
single line break does not end a sentence, since mail, docstrings and text from PDF are wrapped; a
blank line always does; and common abbreviations do not. In doubt two sentences stay together: a
chunk that is a little longer costs less than one that begins in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import combining

import regex

from qafila.chunking.graphemes import is_boundary

_END = regex.compile(
    r"""
    # ends of sentences that white space must follow; only from the first of a row of them, since
    # from each of 20 000 dots to the last would take 22 s
    (?:\G|(?<![.!?…‼⁇⁈⁉؟۔।॥]))(?P<mark>[.!?…‼⁇⁈⁉؟۔।॥]++)
    (?:[”’"')\]}›]|[\s]?»)*               # with what closes; in French after a space
    \s+
  | (?P<wide>[。！？｡]+)[」』）】”’]*\s*       # ends that need no white space
  | (?P<blank>(?:\r\n?|\n)[^\S\r\n]*(?:(?:\r\n?|\n)[^\S\r\n]*)+)  # a blank line
    """,
    regex.VERBOSE,
)
_BLANK_LINE = regex.compile(r"(?:\r\n?|\n)[^\S\r\n]*(?:\r\n?|\n)")
_OPENING = "«“‘\"'([{¿¡—–-•\u200e\u200f \u00a0\u202f"
_ABBREVIATIONS = frozenset(
    """
    m mm mr mrs ms mme mmes mlle mlles dr drs pr prof st ste mgr gen col sgt jr sr
    p pp art al fig figs vol ch chap sec sect no nos nr éd ed eds eq éq tab app ref réf cf vs
    av bd blvd tel tél inc ltd co corp env approx ca
    jan janv feb févr apr avr aug sept oct nov dec déc
    """.split()  # noqa: SIM905 (titles; places in texts; addresses and firms; months)
)


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the sentences of ``text[start:end]`` in order: ranges without gaps, white space last.

    No range is cut inside a grapheme cluster, given that ``start`` and ``end`` are not.
    """
    limit = len(text) if end is None else end
    begun = start
    for match in _END.finditer(text, start, limit):
        after = match.end()
        if after >= limit:
            break
        mark_end = match.end("mark")  # -1: it is another kind of end
        if mark_end > 0 and not _ends(text, begun, match.start(), mark_end, after):
            continue
        around = text[after - 1 : after + 1]
        if around == "\r\n" or not (around.isascii() or is_boundary(text, after, begun)):
            continue
        yield begun, after
        begun = after
    if begun < limit:
        yield begun, limit


def _ends(text: str, begun: int, mark: int, mark_end: int, following: int) -> bool:
    """Say whether ``text[mark:mark_end]`` ends a sentence: white space leads to ``following``."""
    closing = text[mark_end:following]
    if ("\n" in closing or "\r" in closing) and _BLANK_LINE.search(closing):
        return True
    first = text[following]
    while first in _OPENING:
        following += 1
        if following == len(text):
            break
        first = text[following]
    if first.islower():
        return False
    if mark_end - mark > 1 or text[mark] != "." or mark == begun:
        return True
    word = _word_before(text, begun, mark)
    if not word:
        return True
    if word.isdecimal():
        return mark - len(word) > begun  # else it numbers an item of a list
    initial = sum(c.isalnum() for c in word) == 1  # J. Doe, د. محمد
    return not initial and word.lower() not in _ABBREVIATIONS


def _word_before(text: str, begun: int, end: int) -> str:
    start = end
    limit = end - 24 if end - 24 > begun else begun
    while start > limit and (text[start - 1].isalnum() or combining(text[start - 1])):
        start -= 1
    return text[start:end]
