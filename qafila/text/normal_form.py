"""One form for texts that people read as the same: for comparing answers, never for storing them.

Unicode NFKC and full case folding (The Unicode Standard, section 3.13); Arabic without tatweel and
vowel marks and with one alef; one form of apostrophes, quotation marks and dashes; single spaces.
Accents stay: in French they tell words apart.
"""

from __future__ import annotations

import re
import unicodedata

_ONE_FORM = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ′`", "'"),
        **dict.fromkeys("“”„«»″", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        **dict.fromkeys("أإآٱ", "ا"),
        "ـ": None,
        **dict.fromkeys(map(chr, [*range(0x064B, 0x0660), 0x0670]), None),
        **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\ufeff\u00ad", None),
    }
)
_SPACE = re.compile(r"\s+")
_ENDS = " \t\n.,;:!?؟،؛…\"'*_()[]"


def normalise(text: str) -> str:
    """Return the one form; doing so again changes nothing."""
    while (once := _once(text)) != text:
        text = once
    return text


def bare(text: str) -> str:
    """Return the one form without spaces, quotation marks and punctuation around it."""
    while (once := normalise(text).strip(_ENDS)) != text:
        text = once
    return text


def digits_to_ascii(text: str) -> str:
    """Return the text with every decimal digit of any script as 0 to 9."""
    return "".join(
        c if (d := unicodedata.decimal(c, None)) is None or c.isascii() else str(d) for c in text
    )


def _once(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", folded).translate(_ONE_FORM)).strip()
