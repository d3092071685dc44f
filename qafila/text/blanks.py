"""What a text of blanks alone is: there is nothing in it that a reader or a model could see."""

from __future__ import annotations

_SPACES = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# Format characters that take no room: soft hyphen, joiners, marks of direction, byte order mark.
_WIDTHLESS = (
    "\xad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)
BLANKS = _SPACES + _WIDTHLESS
"""Every white space of Unicode, no-break spaces and line ends among them, and what has no width."""

_BLANKS = frozenset(BLANKS)


def is_blank(text: str) -> bool:
    """Say whether a text is empty or has nothing but blanks; costs one look at most texts."""
    return not text or (text[0] in _BLANKS and not text.lstrip(BLANKS))
