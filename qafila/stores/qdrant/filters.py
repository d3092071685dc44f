"""What chooses points: their documents, who may read them, their metadata, who wrote them."""

from __future__ import annotations

from collections.abc import Sequence

from qdrant_client import models


def not_above(rank: int) -> models.Filter:
    """Match points that no higher rank has written; an update changes only those."""
    above = models.FieldCondition(key="writer_rank", range=models.Range(gt=rank))
    return models.Filter(must_not=[above])


def of_documents(source_keys: Sequence[str]) -> models.Filter:
    """Match every point of these documents."""
    return models.Filter(must=[named(source_keys)])


def named(source_keys: Sequence[str]) -> models.FieldCondition:
    """Ask for points of these documents, as one condition among others."""
    match = models.MatchAny(any=[*source_keys])
    return models.FieldCondition(key="source_key", match=match)


def readable_by(groups: Sequence[str]) -> models.FieldCondition:
    """Ask for points that a reader in one of these groups may see."""
    return models.FieldCondition(key="acl", match=models.MatchAny(any=[*groups]))


def equals(field: str, value: str | int | bool) -> models.FieldCondition:
    """Ask for points whose field is this value, or a list with it among its items."""
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))
