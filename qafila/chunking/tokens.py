"""Where the tokens of a text are, by the tokenizer that ships with wordllama (Llama 2's).

It is the in-process model's own. For a model behind HTTP it stands in: no service tells where its
tokens are, so ``max_tokens`` counts these, and a margin belongs to the workload file. How many a
service will count is estimated from it too: qafila/embedders/tokens.py.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qafila.chunking.chunks import Tokenizer
from qafila.workload.corpus import Embedder, WordLlamaEmbedder

_FILE = "l2_supercat_tokenizer_config.json"


@cache
def llama_tokenizer() -> Any:
    """Return the tokenizer, loaded once, without padding and without cutting."""
    from tokenizers import Tokenizer as Library

    package = find_spec("wordllama")
    assert package is not None
    assert package.origin is not None
    tokenizer = Library.from_file(str(Path(package.origin).parent / "tokenizers" / _FILE))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenizer_of(embedder: Embedder) -> Tokenizer:
    """Return what finds the tokens that a chunk of an embedder's is counted in."""
    return _lower_case_ranges if _lower_cases(embedder) else _ranges


def tokenizer_name(embedder: Embedder) -> str:
    """Return what decides where tokens are: for the fingerprint, without loading anything."""
    lower = "+lower" if _lower_cases(embedder) else ""
    return f"wordllama {version('wordllama')}, tokenizers {version('tokenizers')}{lower}"


def _lower_cases(embedder: Embedder) -> bool:
    return isinstance(embedder, WordLlamaEmbedder) and embedder.lowercase


def _ranges(text: str) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = llama_tokenizer().encode(text, add_special_tokens=False).offsets
    return ranges


def _lower_case_ranges(text: str) -> list[tuple[int, int]]:
    """Return ranges in the text as it is; a letter that lower-casing makes two keeps its case."""
    lower = text.lower()
    if len(lower) != len(text):
        lower = "".join(low if len(low := c.lower()) == 1 else c for c in text)
    return _ranges(lower)
