"""Where a text may be cut: between two grapheme clusters, never inside one.

A grapheme cluster is what a reader takes for one letter (Unicode, UAX 29): a letter with its
accents or harakat, a flag, a family of emoji joined by ZWJ, a Hangul syllable.
"""

from __future__ import annotations

import unicodedata

import regex

LIBRARY = f"regex {regex.__version__}"
_CLUSTER = regex.compile(r"\X")
_FLAG_HALVES = regex.compile(r"(?r)[\U0001F1E6-\U0001F1FF]*")
# of the categories below: the boundary after one of these depends on nothing before it
_BY_ITSELF = regex.compile(r"[\p{Grapheme_Cluster_Break=Other}\p{Grapheme_Cluster_Break=Control}]")
_DEPENDENT = {"Mn", "Mc", "Me", "Cf", "Sk", "Lm"}


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
        (unicodedata.category(character) in _DEPENDENT and not _BY_ITSELF.match(character))
        or _is_half_a_flag(character)  # they pair up from the left
    )


def _is_half_a_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
