"""Paths of payload fields as Qdrant writes them: what it would not take is put in quotes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qdrant_client import models

_NUMBER = re.compile(r"-?[0-9]{1,19}")
_BARE = re.compile(r"[\w-]+(\[\d*\])*")  # what Qdrant takes in a path without quotes


def tops_of(path: str) -> list[str]:
    """Return what to ask a payload for: Qdrant does not look into a string, which we do."""
    return [*paths_of(path), _quoted(path.partition(".")[0])]


def paths_of(path: str) -> list[str]:
    """Return a path as Qdrant writes it and, of one with dots, the field that is called so."""
    parts = ".".join(map(_quoted, path.split(".")))
    return [parts, _quoted(path)] if "." in path else [parts]


def any_of(path: str, keys: Sequence[str]) -> models.Filter:
    """Return a filter for points whose field is one of these texts, or the number it writes."""
    numbers = [int(k) for k in keys if _NUMBER.fullmatch(k) and abs(int(k)) < 2**63]
    return models.Filter(
        should=[
            models.FieldCondition(key=p, match=models.MatchAny(any=among))
            for p in paths_of(path)
            for among in ([*keys], *([numbers] if numbers else []))
        ]
    )


def _quoted(name: str) -> str:
    return name if _BARE.fullmatch(name) else f'"{name}"'
