"""Several sources for one edge become one edge that names them all."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from qafila.audit.dependencies.kinds import EdgeKind
from qafila.audit.estate import Edge

_SOURCES_NAMED = 6


def combine(edges: Iterable[Edge]) -> tuple[Edge, ...]:
    """Return one edge for each start, end and kind; the order of the input makes no difference.

    Confidence: 1 - Π(1 - c) over the sources, as if they erred independently of each other (the
    usual noisy-or; sources that copy one another are believed too much, so one source counts
    once, by its highest). Of permissions (``network-allows``) the highest alone counts: two open
    ports are not more use than one. ``last_seen`` is the newest known. Sources stand in one text,
    sorted, separated by "; ", the first six by name.
    """
    by_source: defaultdict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    newest: dict[tuple[str, str, str], datetime] = {}
    for edge in edges:
        key = (edge.from_id, edge.to_id, str(edge.kind))
        sources = by_source[key]
        sources[edge.source] = max(sources.get(edge.source, 0.0), edge.confidence)
        if edge.last_seen is not None and (key not in newest or edge.last_seen > newest[key]):
            newest[key] = edge.last_seen
    return tuple(
        Edge(*key, _named(sorted(sources)), _together(key[2], sources.values()), newest.get(key))
        for key, sources in sorted(by_source.items())
    )


def _together(kind: str, confidences: Iterable[float]) -> float:
    given = sorted(confidences)
    if len(given) == 1 or kind == EdgeKind.NETWORK_ALLOWS:
        return given[-1]
    combined = 1 - math.prod(1 - c for c in given)
    return min(1.0, max(given[-1], round(combined, 6)))


def _named(sources: list[str]) -> str:
    named = "; ".join(sources[:_SOURCES_NAMED])
    more = len(sources) - _SOURCES_NAMED
    return named if more <= 0 else f"{named}; and {more} more"
