"""The plan of a backfill: computed before anything changes, printed by a dry run, then frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Sample:
    """What embedding a sample of real rows showed.

    ``batch_seconds`` are wall seconds of equal batches of ``batch_rows`` rows on one worker.
    """

    rows: int
    chunks: int
    tokens: int
    characters: int
    batch_rows: int
    batch_seconds: Sequence[float]


@dataclass(frozen=True)
class BackfillPlan:
    """Rows, tokens, cost and duration of one backfill; money in ``currency``, time in seconds."""

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

    @property
    def over_cap(self) -> bool:
        return self.cost_estimated > self.spend_cap


def shard_rows(rows: int) -> int:
    """Return how many rows a shard gets: some 64 shards, of 1 000 to 50 000 rows.

    A shard is what a worker claims: large enough that claims cost nothing, small enough that a
    few workers end together.
    """
    return max(1000, min(50_000, -(-rows // 64)))


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
) -> BackfillPlan:
    """Extrapolate a sample to all rows.

    Tokens and chunks scale with rows. Seconds are rows / batch_rows x seconds a batch / workers,
    the median batch for P50 and the slowest of the sample for P95; index building comes on top.
    A risk is a sentence that a person should read before applying.
    """
    share = rows / sample.rows if sample.rows else 0.0
    tokens = round(sample.tokens * share)
    cost = tokens * price_per_million_tokens / 1e6
    batches = rows / sample.batch_rows / max(1, workers)
    timings = sample.batch_seconds or (0.0,)
    risks = []
    if cost > spend_cap:
        risks.append(
            f"{cost:.2f} {currency} of embeddings is over the cap of {spend_cap:.2f} {currency}"
        )
    if sample.rows and sample.chunks == 0:
        risks.append("no sampled row has any text")
    if 0 < sample.rows < min(rows, 50):
        risks.append(f"estimated from {sample.rows} rows only")
    return BackfillPlan(
        rows=rows,
        shards=shards,
        rows_per_shard=rows_per_shard,
        workers=workers,
        chunks_estimated=round(sample.chunks * share),
        tokens_estimated=tokens,
        cost_estimated=cost,
        currency=currency,
        seconds_p50=batches * median(timings),
        seconds_p95=batches * max(timings),
        sampled_rows=sample.rows,
        spend_cap=spend_cap,
        risks=tuple(risks),
    )


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
            f"{self.dead_letters} set aside; {state}."
        )
