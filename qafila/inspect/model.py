"""What an existing index is, as plain facts, and what a look at it ends in: findings, a verdict.

The rules that turn facts into findings are in ``inspection_rules``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from qafila.inspect.observed import Observed, Tally
from qafila.statistics.intervals import wilson

Metric = Literal["cosine", "dot", "l2", "other"]


class Severity(StrEnum):
    """How much a finding matters; a serious one makes the verdict a no."""

    SERIOUS = "serious"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Look:
    """How rows were looked at: all of them, or a sample, and how that was drawn.

    ``seed`` is None where all were read, or where whoever drew the sample takes no seed.
    """

    read: int
    complete: bool
    how: str
    seed: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Index:
    """One vector index. ``scans`` and ``size_bytes`` are None where nobody counts them."""

    name: str
    kind: str
    metric: Metric
    operators: str
    valid: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    size_bytes: int | None = None
    scans: int | None = None
    partial: str = ""


@dataclass(frozen=True)
class Health:
    """What the store says of its own condition; None where it does not say."""

    dead_rows: int | None = None
    live_rows: int | None = None
    analysed: bool | None = None
    full_reads: int | None = None
    status: str = ""
    optimizer_error: str = ""
    indexed_vectors: int | None = None
    segments: int | None = None
    indexing_threshold_kb: int | None = None


@dataclass(frozen=True)
class Layout:
    """Whose table or collection it is, and where in it things are.

    ``text`` is None when no field holds the text; ``text_inside`` then says where it is, if it is.
    ``number`` holds the number of a chunk within its document, beside the document's key. Where
    several collections share one table, ``parts`` counts their rows and ``part_view`` is the
    statement that gives one of them a view of its own.
    """

    maker: str
    key: tuple[str, ...]
    text: str | None
    title: str | None = None
    acl: str | None = None
    metadata: tuple[str, ...] = ()
    number: str | None = None
    text_inside: str = ""
    parts: Mapping[str, int] = field(default_factory=dict)
    part_view: str = ""


@dataclass(frozen=True)
class Access:
    """A column or payload field that says who may read, or whose it is."""

    name: str
    indexed: bool
    tenant: bool = False


@dataclass(frozen=True)
class Facts:
    """Everything that was found out about one vector column or named vector."""

    store: Literal["pgvector", "qdrant"]
    name: str
    vector: str
    vector_type: str
    declared_dimensions: int | None
    server: str
    store_version: tuple[int, ...] | None
    rows: int
    rows_counted: bool
    look: Look
    layout: Layout
    observed: Observed
    kind: Literal["table", "view", "collection"] = "table"
    metric: Metric | None = None
    indexes: tuple[Index, ...] = ()
    health: Health = Health()
    unique_key: tuple[str, ...] = ()
    tracking: tuple[str, ...] = ()
    access: tuple[Access, ...] = ()
    rows_hidden: str = ""
    table_bytes: int | None = None
    index_bytes: int | None = None
    memory_bytes: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    other_vectors: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    counted_null_vectors: int | None = None
    counted_missing_texts: int | None = None
    counted_dimensions: Mapping[int, Tally] | None = None
    unseen: tuple[str, ...] = ()

    @property
    def dimensions(self) -> Mapping[int, Tally]:
        """Return how many vectors have which length: of all where counted, else of those read."""
        return self.counted_dimensions or self.observed.dimensions

    @property
    def tokens(self) -> int:
        """Return about how many tokens re-embedding everything would take."""
        if not self.observed.rows:
            return 0
        return round(self.observed.tokens / self.observed.rows * self.rows)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that somebody should know before anything moves.

    ``count`` is of the rows that were read, ``of`` how many those are; ``low`` and ``high`` bound
    the share in all rows with 95 % confidence when they were sampled. All are None for a finding
    that is not about rows.
    """

    code: str
    severity: Severity
    sentence: str
    remedy: str
    count: int | None = None
    of: int | None = None
    low: float | None = None
    high: float | None = None
    examples: tuple[str, ...] = ()

    @property
    def sampled(self) -> bool:
        return self.low is not None


@dataclass(frozen=True)
class Inspection:
    """The facts with everything that was found in them, the most serious first."""

    facts: Facts
    findings: tuple[Finding, ...]

    @property
    def serious(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.SERIOUS)

    @property
    def sentence(self) -> str:
        """Return the verdict in one sentence."""
        many = {s: sum(f.severity is s for f in self.findings) for s in Severity}
        if not self.findings:
            return "Nothing was found that stands in the way."
        told = ", ".join(
            f"{n} {word if n == 1 else plural}"
            for (s, n), (word, plural) in zip(many.items(), _WORDS, strict=True)
            if n
        )
        return f"{told}." if many[Severity.SERIOUS] else f"Nothing serious; {told}."


_WORDS = (
    ("serious finding", "serious findings"),
    ("warning", "warnings"),
    ("note", "notes"),
)


def of_rows(
    facts: Facts,
    code: str,
    severity: Severity,
    count: int,
    sentence: str,
    remedy: str,
    examples: tuple[str, ...] = (),
    *,
    counted: int | None = None,
    of: int | None = None,
    pairs: bool = False,
) -> Finding:
    """Return a finding about rows; ``{}`` in the sentence becomes how many, or which share.

    ``counted`` is a count of the whole index where there is one; it beats the sample's. ``pairs``
    says that a row counts by another row like it: a sample meets few of those, so its share is a
    lower bound, and the upper one is everything.
    """
    read = facts.observed.rows if of is None else of
    if counted is not None:
        told = f"{counted:,} of {facts.rows:,} rows"
        return Finding(
            code, severity, sentence.format(told), remedy, counted, facts.rows, examples=examples
        )
    if facts.look.complete:
        told = f"{count:,} of {read:,} rows"
        return Finding(
            code, severity, sentence.format(told), remedy, count, read, examples=examples
        )
    low, high = wilson(count, read)
    if pairs:
        high = 1.0
        told = f"at least {_percent(low)} of all rows ({count:,} of {read:,} read)"
    else:
        told = f"{_percent(low)} to {_percent(high)} of all rows ({count:,} of {read:,} read)"
    return Finding(code, severity, sentence.format(told), remedy, count, read, low, high, examples)


def _percent(share: float) -> str:
    return f"{100 * share:.{2 if share < 0.99 else 4}g} %"
