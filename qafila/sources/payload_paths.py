"""Where a source of Qdrant's has its fields: paths as a workload names them, as Qdrant's own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qdrant_client import models

from qafila.connections.qdrant_paths import OTHER_NAME, quoted, why_unsayable

_NUMBER = re.compile(r"-?[0-9]{1,20}")


def path_problem(setting: str, path: str) -> str | None:
    """Return why Qdrant cannot be asked for a field at a path, with the remedy; or None."""
    why = why_unsayable(path)
    return why and f"corpus.source.{setting} is {path!r}, and {why}: {OTHER_NAME}"


def tops_of(path: str) -> list[str]:
    """Return what to ask a payload for: Qdrant does not look into a string, which we do."""
    return [*paths_of(path), quoted(path.partition(".")[0])]


def paths_of(path: str) -> list[str]:
    """Return a path as Qdrant writes it and, of one with dots, the field that is called so."""
    parts = ".".join(map(quoted, path.split(".")))
    return [parts, quoted(path)] if "." in path else [parts]


def any_of(path: str, keys: Sequence[str]) -> models.Filter:
    """Return a filter for points whose field is one of these texts, or the number it writes."""
    numbers = [int(k) for k in keys if _NUMBER.fullmatch(k) and -(2**63) <= int(k) < 2**63]
    return models.Filter(
        should=[
            models.FieldCondition(key=p, match=models.MatchAny(any=among))
            for p in paths_of(path)
            for among in ([*keys], *([numbers] if numbers else []))
        ]
    )


def out_of_reach(path: str, key: str) -> bool:
    """Say whether a field may hold this key and ``any_of`` not find it.

    A filter does not look into a field that holds JSON as a text, and its numbers have 64 bits
    with a sign, while a payload's go up to 2^64.
    """
    return "." in path or (bool(_NUMBER.fullmatch(key)) and int(key) >= 2**63)
