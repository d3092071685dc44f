"""The plan of a backfill: computed before anything changes, printed by a dry run, then frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from qafila.inspect.spread import Limits, Sample, Share, Spread
from qafila.sources.modes import Mode
from qafila.workload.corpus import Embedder, OpenAIEmbedder

__all__ = [
    "BackfillPlan",
    "Comparison",
    "Limits",
    "Sample",
    "batch_rows_for",
    "money",
    "plan_backfill",
    "render",
    "shard_rows",
]
_FEW_ROWS, _FEW_BATCHES = 50, 4


@dataclass(frozen=True)
class BackfillPlan:
    """Rows, tokens, cost and duration of one backfill; money in ``currency``, time in seconds.

    ``cost_estimated`` is the P50. What could not be estimated is None. ``by_mode`` is empty when
    the sample was not split by mode. ``promises`` are the source's sentences: what orders its
    rows, which state a read shows, what a change during the copy means.
    """

    rows: int
    shards: int
    rows_per_shard: int
    workers: int
    chunks_estimated: int
    tokens_estimated: int
    cost_estimated: float
    currency: str
    seconds_p50: float
    seconds_p95: float
    sampled_rows: int
    spend_cap: float
    risks: tuple[str, ...]
    sampled_batches: int = 0
    tokens_p95: int | None = None
    cost_p95: float | None = None
    by_mode: tuple[Share, ...] = ()
    limited_by: str = ""
    source_rows_per_s: float | None = None
    index_memory_mb: float | None = None
    promises: tuple[str, ...] = ()

    @property
    def over_cap(self) -> bool:
        return self.cost_estimated > self.spend_cap


def money(amount: float) -> str:
    """Return an amount with two places; a smaller one with six at most, so that it is not 0.00."""
    if amount == 0 or amount >= 0.01:
        return f"{amount:.2f}"
    return f"{amount:.6f}".rstrip("0").rstrip(".")


def shard_rows(rows: int) -> int:
    """Return how many rows a shard gets: some 64 shards, of 1 000 to 50 000 rows.

    A shard is what a worker claims: large enough that claims cost nothing, small enough that a
    few workers end together.
    """
    return max(1000, min(50_000, -(-rows // 64)))


def batch_rows_for(embedder: Embedder) -> int:
    """Return how many rows a transaction writes: 2 000, or 256 where each text is paid for.

    A killed worker does at most one batch anew.
    """
    return 256 if isinstance(embedder, OpenAIEmbedder) else 2000


def plan_backfill(
    *,
    rows: int,
    shards: int,
    rows_per_shard: int,
    workers: int,
    sample: Sample,
    price_per_million_tokens: float,
    currency: str,
    spend_cap: float,
    limits: Limits | None = None,
    index_memory_mb: float | None = None,
    index_memory_available_mb: float | None = None,
    promises: Sequence[str] = (),
    seed: int = 0,
) -> BackfillPlan:
    """Extrapolate a sample to all rows.

    Everything scales with rows. P50 is the sample's, P95 comes from the spread of its batches, by
    2 000 resamples that ``seed`` decides: it says how far the sample may be off, not what a busy
    machine or a slow provider may add. Seconds are divided by ``workers``, and no fewer than
    ``limits`` allow; building the index comes on top.

    Without ``sample.batches``, seconds are those of the median batch for P50 and of the slowest
    for P95; money has no P95 then. A risk is a sentence that a person should read before applying.
    """
    limits = limits or Limits()
    spread = Spread(rows, workers, sample, price_per_million_tokens / 1e6, limits, seed)
    cost, cost_p95 = spread.cost
    tokens, tokens_p95 = spread.tokens
    split = bool(sample.batches)
    seconds_p50, seconds_p95 = spread.seconds
    plan = BackfillPlan(
        rows=rows,
        shards=shards,
        rows_per_shard=rows_per_shard,
        workers=workers,
        chunks_estimated=round(spread.chunks),
        tokens_estimated=round(tokens),
        cost_estimated=cost,
        currency=currency,
        seconds_p50=seconds_p50,
        seconds_p95=seconds_p95,
        sampled_rows=sample.rows,
        spend_cap=spend_cap,
        risks=(),
        sampled_batches=len(sample.batch_seconds),
        tokens_p95=round(tokens_p95) if split else None,
        cost_p95=cost_p95 if split else None,
        by_mode=spread.shares(),
        limited_by=spread.limited_by,
        source_rows_per_s=limits.source_rows_per_s,
        index_memory_mb=index_memory_mb,
        promises=tuple(promises),
    )
    return replace(plan, risks=tuple(_risks(plan, sample, index_memory_available_mb)))


def _risks(plan: BackfillPlan, sample: Sample, memory_mb: float | None) -> Iterator[str]:
    currency, cap = plan.currency, plan.spend_cap
    if plan.over_cap:
        yield (
            f"{money(plan.cost_estimated)} {currency} of embeddings is over the cap of "
            f"{money(cap)} {currency}"
        )
    elif plan.cost_p95 is not None and plan.cost_p95 > cap:
        yield (
            f"embeddings may cost {money(plan.cost_p95)} {currency} (P95), over the cap of "
            f"{money(cap)} {currency}: the load would stop before it"
        )
    if sample.rows and sample.chunks == 0:
        yield "no sampled row has any text"
    if 0 < sample.rows < min(plan.rows, _FEW_ROWS):
        yield f"estimated from {sample.rows} rows only"
    elif 0 < len(sample.batches) < _FEW_BATCHES and sample.rows < plan.rows:
        yield f"estimated from {len(sample.batches)} batches only, which say little of the spread"
    needed = plan.index_memory_mb
    if needed is not None and memory_mb is not None and needed > memory_mb:
        yield (
            f"the index needs {needed:,.0f} MB while it is built and {memory_mb:,.0f} MB are there"
        )
    if any(s.mode is Mode.MAP for s in plan.by_mode):
        yield "mapped vectors are a bridge: let the ladder say what they cost in quality"


def render(plan: BackfillPlan, shown: Callable[[str], str] = str) -> str:
    """Return the plan in Markdown that reads as well in a terminal: one text for every place.

    ``shown`` writes what names things of the source, for an artifact escaped as Markdown.
    """
    lines = [
        f"{plan.rows:,} rows in {plan.shards:,} shards of at most {plan.rows_per_shard:,}, about "
        f"{plan.chunks_estimated:,} chunks, by {plan.workers} workers.",
        "",
        *_table(plan),
        "",
        f"Spend cap: {plan.spend_cap:,.2f} {plan.currency}. "
        "The index is built after the load; its time comes on top.",
    ]
    if plan.limited_by:
        lines.append(f"More workers would not shorten it: the limit is {plan.limited_by}.")
    if plan.source_rows_per_s is not None:
        lines.append(f"The source was read at {plan.source_rows_per_s:,.0f} rows/s.")
    if plan.index_memory_mb is not None:
        lines.append(f"The index needs {plan.index_memory_mb:,.0f} MB while it is built.")
    lines.append(
        f"Estimated from {plan.sampled_rows:,} rows in {plan.sampled_batches} batches that were "
        "read for it; P95 is how far such a sample may be off, not a promise of the machine."
    )
    lines += [f"- {s.mode}: {shown(s.reason)}." for s in plan.by_mode if s.reason]
    if plan.promises:
        lines += ["", "The source:", *(f"- {shown(p)}" for p in plan.promises)]
    lines += ["", "Risks:", *(f"- {shown(r)}" for r in plan.risks or ("none found",))]
    return "\n".join(lines) + "\n"


def _table(plan: BackfillPlan) -> list[str]:
    """Return the ways and their sum as an aligned table."""
    head = [
        "way",
        "rows",
        "chunks",
        "tokens",
        f"{plan.currency} P50",
        f"{plan.currency} P95",
        "minutes P50",
        "minutes P95",
    ]
    rows = [
        [
            str(s.mode),
            f"{s.rows:,}",
            f"{s.chunks:,}",
            f"{s.tokens:,}",
            _money(s.cost_p50),
            _money(s.cost_p95),
            _minutes(s.seconds_p50),
            _minutes(s.seconds_p95),
        ]
        for s in plan.by_mode
    ]
    rows.append(
        [
            "all",
            f"{plan.rows:,}",
            f"{plan.chunks_estimated:,}",
            f"{plan.tokens_estimated:,}",
            _money(plan.cost_estimated),
            _money(plan.cost_p95),
            _minutes(plan.seconds_p50),
            _minutes(plan.seconds_p95),
        ]
    )
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return [
        "| "
        + " | ".join(
            _aligned(n, cell, width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in (head, rule, *rows)
    ]


def _aligned(column: int, cell: str, width: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _money(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:,.2f}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f}" if seconds >= 3 else "< 0.1"


@dataclass(frozen=True)
class Comparison:
    """Source against target, row by row: what is missing, stale, extra, or there twice."""

    rows_source: int
    rows_target: int
    chunks_target: int
    missing: int
    stale: int
    extra: int
    duplicates: int
    dead_letters: int
    examples: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Every row is there once, with the right text; a dead letter is a stated gap."""
        return not (self.missing or self.stale or self.extra or self.duplicates)

    def sentence(self) -> str:
        state = "digests equal" if self.complete else "they differ"
        return (
            f"{self.rows_source} rows in, {self.rows_target} rows out: {self.missing} missing, "
            f"{self.duplicates} twice, {self.stale} stale, {self.extra} extra, "
            f"{self.dead_letters} dead letters; {state}."
        )
