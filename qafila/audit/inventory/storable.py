"""What anyone wrote into a name or a tag, made fit for a ledger: bounded, and without NUL."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qafila.audit.estate import Collected, Edge, Resource

LONGEST = 2_000  # characters of one text; a tag value of megabytes is cut, and says so
LONGEST_ID = 500  # an identifier is a key, and a key of a B-tree is below 2 700 bytes
DEEPEST = 6


def storable(value: Any, *, depth: int = 0) -> Any:
    """Return a value that JSON and PostgreSQL take whole; what had to be cut says so.

    PostgreSQL knows no NUL character and no lone surrogate, JSON no NaN.
    """
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= DEEPEST:
        return _text(str(value))
    if isinstance(value, Mapping):
        return {_text(str(k)): storable(v, depth=depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        listed = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [storable(v, depth=depth + 1) for v in listed]
    return _text(str(value))


def identifier(value: str) -> str:
    """Return an identifier that can be a key; a long one ends in its digest and stays unique."""
    clean = _clean(value)
    if len(clean) <= LONGEST_ID:
        return clean
    digest = hashlib.sha256(clean.encode()).hexdigest()[:16]
    return f"{clean[: LONGEST_ID - 17]}~{digest}"


def storable_part(part: Collected) -> Collected:
    """Return what one collector saw, fit to be kept."""
    return replace(
        part,
        resources=tuple(_resource(r) for r in part.resources),
        edges=tuple(_edge(e) for e in part.edges),
        missed=_text(part.missed),
    )


def _resource(resource: Resource) -> Resource:
    return replace(
        resource,
        id=identifier(resource.id),
        kind=_text(resource.kind),
        name=_text(resource.name),
        region=_text(resource.region),
        tags=storable(resource.tags),
        facts=storable(resource.facts),
    )


def _edge(edge: Edge) -> Edge:
    return replace(
        edge,
        from_id=identifier(edge.from_id),
        to_id=identifier(edge.to_id),
        source=identifier(edge.source),
    )


def _text(value: str) -> str:
    clean = _clean(value)
    if len(clean) <= LONGEST:
        return clean
    return f"{clean[:LONGEST]}… (cut, {len(clean)} characters)"


def _clean(value: str) -> str:
    if value.isascii() and "\x00" not in value:  # most of a large estate
        return value
    clean = value.replace("\x00", "�")
    try:
        clean.encode()
    except UnicodeEncodeError:
        clean = clean.encode("utf-8", "replace").decode()
    return clean
