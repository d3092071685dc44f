"""What a lock-in scan says: hits with a place in the code, and what was not looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a provider's service is for."""

    MODEL = "model"
    VECTOR = "vector"
    QUEUE = "queue"
    STORAGE = "storage"
    IDENTITY = "identity"
    CLOUD = "cloud"
    """A cloud's SDK as a whole, or a service of it that is none of the five."""


class Site(StrEnum):
    """In what form the code touches a provider."""

    IMPORT = "import"
    CLIENT = "client"
    """A client is constructed, or a cloud's service is named to its SDK."""
    CALL = "call"
    """A call of something the SDK defines, or of a method on a client known in the same file."""
    ENDPOINT = "endpoint"
    """A string that is an address of the provider."""
    TEXT = "text"
    """A string in the provider's own language: SQL of an extension, a key of a mapping."""


class Effort(StrEnum):
    """What it takes to do without the provider here."""

    S = "S"
    """Configuration: others speak the same protocol."""
    M = "M"
    """An adapter: the same idea with other calls."""
    L = "L"
    """Meaning or data that only this provider has."""


EFFORTS = (Effort.S, Effort.M, Effort.L)


@dataclass(frozen=True, slots=True)
class Hit:
    """One place in the code that touches a provider. ``line`` and ``column`` count from 1.

    ``text`` is the start of the code at that place, at most 80 characters of its first line.
    ``behind`` says that the repository keeps the provider behind an abstraction of its own, as
    ``qafila.audit.code_scan.abstraction`` defines it. ``rule`` names the row of the rules.
    """

    repository: str
    file: str
    line: int
    column: int
    kind: Kind
    provider: str
    api: str
    operation: str
    rule: str
    site: Site
    text: str
    behind: bool
    effort: Effort
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """All hits of one kind and provider; ``effort`` is the greatest of them, with its reason."""

    kind: Kind
    provider: str
    apis: tuple[str, ...]
    hits: int
    files: int
    behind: int
    effort: Effort
    reason: str


@dataclass(frozen=True, slots=True)
class LockIn:
    """The result of a scan. ``files``, ``lines`` and ``size_bytes`` count what was looked at.

    ``skipped`` counts what was not, by reason, and ``examples`` names the first few of each.
    """

    hits: tuple[Hit, ...]
    files: int
    lines: int
    size_bytes: int
    languages: Mapping[str, int]
    skipped: Mapping[str, int]
    examples: Mapping[str, tuple[str, ...]]

    def of(self, kind: Kind) -> tuple[Hit, ...]:
        """Return the hits of one kind, in order."""
        return tuple(h for h in self.hits if h.kind is kind)

    @property
    def summary(self) -> tuple[Summary, ...]:
        """Return one row for each kind and provider, in the order of the kinds, most hits first."""
        groups: defaultdict[tuple[Kind, str], list[Hit]] = defaultdict(list)
        for hit in self.hits:
            groups[hit.kind, hit.provider].append(hit)
        kinds = list(Kind)
        return tuple(
            sorted(
                (_summary(kind, provider, hits) for (kind, provider), hits in groups.items()),
                key=lambda s: (kinds.index(s.kind), -s.hits, s.provider),
            )
        )

    def as_data(self) -> dict[str, Any]:
        """Return what ``--json`` prints: the summary, then the hits, then what was not seen."""
        return {
            "files": self.files,
            "lines": self.lines,
            "size_bytes": self.size_bytes,
            "languages": dict(self.languages),
            "skipped": dict(self.skipped),
            "skipped_examples": {k: list(v) for k, v in self.examples.items()},
            "summary": [asdict(s) for s in self.summary],
            "hits": [asdict(h) for h in self.hits],
        }


def _summary(kind: Kind, provider: str, hits: list[Hit]) -> Summary:
    worst = max(hits, key=lambda h: EFFORTS.index(h.effort))
    return Summary(
        kind,
        provider,
        tuple(sorted({h.api for h in hits})),
        len(hits),
        len({(h.repository, h.file) for h in hits}),
        sum(h.behind for h in hits),
        worst.effort,
        worst.reason,
    )
