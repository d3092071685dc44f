"""Names that look alike: compared by their skeletons (Unicode Technical Standard 39).

The pairs of characters that look alike come from ``confusable_homoglyphs``, which ships Unicode's
own table.
"""

from __future__ import annotations

import unicodedata
from functools import cache

from confusable_homoglyphs import confusables

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u180b\u180c\u180d\u17b4\u17b5")


def hidden_characters(text: str) -> list[str]:
    """Return the code points of a text that nobody sees: format, control and blank characters."""
    return [
        f"U+{ord(c):04X}"
        for c in text
        if unicodedata.category(c) in _HIDDEN or c in _BLANK_LETTERS or 0xFE00 <= ord(c) <= 0xFE0F
    ]


def look_alike(one: str, other: str) -> bool:
    """Tell whether two names look the same, in any case and without spaces."""
    return not appearances(one).isdisjoint(appearances(other))


@cache
def appearances(name: str) -> frozenset[str]:
    """Return the skeletons of a name as it is, in lower case and in upper case.

    Some letters look alike only in one case: a Greek capital eta is an H, a small one is not.
    """
    plain = "".join(unicodedata.normalize("NFKC", name).split())
    typed = "".join(name.split())  # normalization takes some marks apart into a blank and a mark
    forms = (plain.casefold(), _skeleton(plain), _skeleton(plain.upper()), _skeleton(typed))
    return frozenset(_folded(form) for form in forms)


def folded(name: str) -> str:
    """Return the skeleton of a name in lower case: one key for one way to write it."""
    return _folded("".join(unicodedata.normalize("NFKC", name).split()).casefold())


def _folded(text: str) -> str:
    """Return a skeleton without case; i, l and 1 are one, as they are in many typefaces."""
    return _skeleton(_skeleton(text).casefold()).casefold().replace("i", "l")


def _skeleton(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFD", "".join(_prototype(c) for c in decomposed))


@cache
def _prototype(character: str) -> str:
    """Return what a character looks like; the table lists each pair under both its characters."""
    pairs = [str(one["c"]) for one in confusables.confusables_data.get(character, ())]
    candidates = [character, *pairs]

    def rank(text: str) -> tuple[int, int, str]:
        return len(confusables.confusables_data.get(text, ())), len(text), text

    if len(pairs) > 1:  # a prototype is listed with everything that looks like it
        return character
    return max(candidates, key=rank)
