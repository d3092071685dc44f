"""Estimate how many tokens a service will read, with a tokenizer that is here already.

Its own count, in ``usage`` of each reply, is the truth; the ratio of the two is learned from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from qafila.chunking.tokens import llama_tokenizer

UNLEARNED, LEARNED = 1.5, 1.05  # how many times our count the service may count
_LONG_CHARACTERS = 200_000  # beyond that, counting takes longer than it is worth


def estimate_tokens(texts: Sequence[str]) -> list[int]:
    """Return tokens a text as the Llama 2 tokenizer counts them, at least 1.

    A very long text is counted from its beginning.
    """
    heads = [t if len(t) <= _LONG_CHARACTERS else t[:_LONG_CHARACTERS] for t in texts]
    found = llama_tokenizer().encode_batch(heads, add_special_tokens=False)
    counts = [len(e.ids) for e in found]
    return [
        max(1, n if len(h) == len(t) else ceil(n * len(t) / len(h)))
        for n, h, t in zip(counts, heads, texts, strict=True)
    ]


def on_the_safe_side(estimated: int, ratio: float | None, size_bytes: int) -> int:
    """Return tokens that the service will hardly exceed for a text of so many bytes in UTF-8.

    ``ratio`` is tokens of the service per estimated token, None before its first reply. A byte is
    one token at most; a mark of begin and one of end come on top.
    """
    factor = UNLEARNED if ratio is None else ratio * LEARNED
    return min(ceil(estimated * factor), size_bytes) + 2
