"""One small change to one file, which some test is expected to notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """The changed file, where in it and in words what was changed, and its text with the change."""

    path: str
    where: str
    what: str
    text: str
