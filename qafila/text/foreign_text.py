"""Text that others wrote, made safe to show: on a terminal, in JSON, in Markdown. Pure.

Names in an account, sentences in a bundle and answers of a server are written by anyone. On a
terminal a control character moves the cursor or sends keys, and a bidirectional override shows
letters in another order than they have; in Markdown a name can become a link, a tag or a cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from qafila.text.masking import mask_text

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# C0 but newline and tab, DEL, C1, line and paragraph separator, bidirectional embeddings,
# overrides and isolates, and halves of a surrogate pair. The marks that Arabic and Hebrew text
# needs (U+061C, U+200E, U+200F) stay: they turn no letter around.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)

_SIGNS = str.maketrans(
    {sign: f"\\{sign}" for sign in "\\`*[]|~!"}
    | {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;"}
)
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # inside a word it is no markup
# What begins a heading, a list or a rule at the start of a line; -0.5 and #7 do not.
_FIRST = re.compile(r"^(?:(\d{1,9})(?=[.)](?:\s|$))|(?=#{1,6}(?:\s|$)|[-+](?:\s|$)|[-=]+\s*$))")
_ENTITIES = (
    (re.compile(":(?=//|[Mm][Aa][Ii][Ll][Tt][Oo])|(?<=[Mm][Aa][Ii][Ll][Tt][Oo]):"), "&#58;"),
    (re.compile(r"(?<=[Ww]{3})\."), "&#46;"),
)


def printable(text: str) -> str:
    """Return text that moves nothing on a terminal: only its letters, newlines and tabs.

    A control or bidirectional-override character becomes U+FFFD, so that nobody takes what is
    left for the whole; the end of a line in CR LF becomes LF.
    """
    return _UNSAFE.sub(REPLACEMENT, text.replace("\r\n", "\n"))


def printable_json(text: str) -> str:
    """Return a JSON document whose unsafe characters are escaped (``\\u009b``); its value stays."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def markdown_text(value: object, longest: int | None = None) -> str:
    """Return a value as Markdown that shows its letters and nothing else, on one line.

    It stays inside a table's cell, a list's item or a sentence, and becomes no link, tag, code,
    heading or emphasis. A secret in it is masked, which nobody could do afterwards. ``longest``:
    characters that are shown; more end in an ellipsis.
    """
    text = mask_text(str(value))
    if longest is not None and len(text) > longest:
        text = text[:longest] + "…"
    text = " ".join(printable(" ".join(text.split())).split())
    text = _UNDERSCORE.sub(r"\\_", text.translate(_SIGNS))
    for sign, entity in _ENTITIES:
        text = sign.sub(entity, text)
    return _FIRST.sub(r"\1\\", text)


def markdown_row(cells: Iterable[object]) -> str:
    """Return one row of a Markdown table, each value in a cell of its own."""
    return "| " + " | ".join(map(markdown_text, cells)) + " |"
