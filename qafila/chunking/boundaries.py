"""Where a text may be cut: between two grapheme clusters, and between two sentences.

A grapheme cluster is what a reader takes for one letter (Unicode, UAX 29): a letter with its
accents or harakat, a flag, a family of emoji joined by ZWJ, a Hangul syllable.

Sentences are found in text whose language nobody has told us: English, French, Arabic, mixed. The
rules follow Unicode's (UAX 29, SB), with three differences that matter to a search index. A single
line break does not end a sentence, since mail, docstrings and text from PDF are wrapped; a blank
line always does; and common abbreviations do not. In doubt two sentences stay together: a chunk
that is a little longer costs less than one that begins in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import category, combining

import regex

LIBRARY = f"regex {regex.__version__}"
_CLUSTER = regex.compile(r"\X")
_FLAG_HALVES = regex.compile(r"(?r)[\U0001F1E6-\U0001F1FF]*")
# of the categories below: the boundary after one of these depends on nothing before it
_BY_ITSELF = regex.compile(r"[\p{Grapheme_Cluster_Break=Other}\p{Grapheme_Cluster_Break=Control}]")
_DEPENDENT = {"Mn", "Mc", "Me", "Cf", "Sk", "Lm"}
_SENTENCE_END = regex.compile(
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


def around(text: str, position: int, since: int = 0) -> tuple[int, int]:
    """Return the last boundary at or before ``position`` and the first one at or after it.

    Both are ``position`` itself where the text may be cut. ``since`` is a boundary before
    ``position``: nothing in front of it is looked at. Costs as much as the cluster is long, and as
    a row of flags is from ``since``.
    """
    if position <= 0 or position >= len(text):
        edge = max(0, min(position, len(text)))
        return edge, edge
    before, after = text[position - 1], text[position]
    if before.isascii() and after.isascii():
        if before == "\r" and after == "\n":
            return position - 1, position + 1
        return position, position
    # beside an ASCII letter, a letter that joins nothing is a cluster of its own
    if (before.isascii() and _BY_ITSELF.match(after)) or (
        after.isascii() and _BY_ITSELF.match(before)
    ):
        return position, position
    if _is_half_a_flag(before) and _is_half_a_flag(after):
        # the rule itself: counting is cheap, segmenting costs the cube of the chain's length
        halves = _FLAG_HALVES.match(text, since, position)
        assert halves is not None  # none is a match as well
        count = position - halves.start()
        if count % 2 == 0:
            return position, position
        if count > 1 or halves.start() == since:  # else something before it may belong to it
            return position - 1, _straddling(text, position - 1, position)[1]
    back = 1
    while True:
        first = max(since, position - back)
        while first > since and _depends_on_what_came_before(text[first]):
            first -= 1
        at, end = _straddling(text, first, position)
        if at == end:
            return position, position
        if at > first or first == since:
            return at, end
        back = 2 * (position - first)  # it may have begun earlier still, as a chain of emoji does


def _straddling(text: str, first: int, position: int) -> tuple[int, int]:
    """Return the cluster around ``position``, segmenting from ``first``; or ``position`` twice."""
    at = first
    while at < position:
        cluster = _CLUSTER.match(text, at)
        assert cluster is not None  # \X takes at least one character
        if cluster.end() > position:
            return at, cluster.end()
        at = cluster.end()
    return position, position


def is_boundary(text: str, position: int, since: int = 0) -> bool:
    """Say whether the text may be cut before the character at ``position``."""
    pair = text[max(0, position - 1) : position + 1]
    if pair.isascii():
        return pair != "\r\n"
    return around(text, position, since)[0] == position


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the range without white space at its ends; empty when there is nothing else.

    The text may be cut at ``start``. A space that carries a combining mark stays.
    """
    piece = text[start:end]
    if piece.isascii() and not piece[:1].isspace():
        return start, start + len(piece.rstrip())
    since = start
    while start < end and text[start].isspace() and is_boundary(text, start + 1, since):
        start += 1
    while end > start and text[end - 1].isspace():
        if not is_boundary(text, end - 1, since) and text[end - 2 : end] != "\r\n":
            break
        end -= 1
    return start, end


def _depends_on_what_came_before(character: str) -> bool:
    """Say whether the boundary after this character may depend on more than the character."""
    return (
        (category(character) in _DEPENDENT and not _BY_ITSELF.match(character))
        or _is_half_a_flag(character)  # they pair up from the left
    )


def _is_half_a_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the sentences of ``text[start:end]`` in order: ranges without gaps, white space last.

    No range is cut inside a grapheme cluster, given that ``start`` and ``end`` are not.
    """
    limit = len(text) if end is None else end
    begun = start
    for match in _SENTENCE_END.finditer(text, start, limit):
        after = match.end()
        if after >= limit:
            break
        mark_end = match.end("mark")  # -1: it is another kind of end
        if mark_end > 0 and not _ends(text, begun, match.start(), mark_end, after):
            continue
        pair = text[after - 1 : after + 1]
        if pair == "\r\n" or not (pair.isascii() or is_boundary(text, after, begun)):
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
