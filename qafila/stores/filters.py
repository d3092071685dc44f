"""What searches are narrowed by, where it is worked out in this process: parts, values, counts."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from qafila.stores.port import Holds, Part, Where

LEAST_SHARE = 1 / 2000  # of all chunks; a value that is rarer is no filter of interest
MOST_VALUES = 2000
_REMEMBERED = 100_000  # distinct values; beyond, those seen least are forgotten


def in_part(part: Part, document: str) -> bool:
    """Say whether a document is in a pseudo-random part, the same each time."""
    return zlib.crc32(f"{part.seed}:{document}".encode()) < part.share * 2**32


def leaves(where: Where | None, source_key: str, metadata: Mapping[str, Any]) -> bool:
    """Say whether a filter leaves a chunk."""
    if where is None:
        return True
    if isinstance(where, Part):
        return in_part(where, source_key)
    held = metadata.get(where.field)
    items = held if isinstance(held, list) else [held]
    return any(type(item) is type(where.value) and item == where.value for item in items)


class ValueTally:
    """Counts the values of chunks one by one, in bounded memory.

    Values that are all different are forgotten again, so a count may come out too low; never that
    of a value in one chunk of a thousand or more, as long as values come well mixed.
    """

    def __init__(self) -> None:
        self._chunks = 0
        self._values: Counter[tuple[str, type, str | int | bool]] = Counter()

    def add(self, metadata: Mapping[str, Any]) -> None:
        """Count one chunk."""
        self._chunks += 1
        self._values.update(
            (field, type(value), value)
            for field, value in metadata.items()
            if isinstance(value, str | int)
        )
        if len(self._values) > _REMEMBERED:
            least = max(1, round(self._chunks * LEAST_SHARE / 2))
            self._values = Counter({v: n for v, n in self._values.items() if n > least})

    def values(self) -> dict[Holds, int]:
        """Return what was counted; of values that Python takes for equal (1, True), the first."""
        found: dict[Holds, int] = {}
        for (field, _, value), n in self._values.most_common(MOST_VALUES):
            if n >= self._chunks * LEAST_SHARE:
                found.setdefault(Holds(field, value), n)
        return found
