"""How thoroughly the ladder looks; the flow's form is drawn from it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LadderOptions(BaseModel):
    """Sample sizes and the seed. The defaults look at everything there is."""

    model_config = ConfigDict(extra="forbid")

    max_queries: int | None = Field(
        None, ge=1, description="Judge a random sample of this many queries; empty: all of them."
    )
    detect_share: float = Field(
        0.001,
        gt=0,
        le=0.5,
        description="Least share of wrong vectors that embedding a sample anew must show.",
    )
    detect_confidence: float = Field(
        0.95, gt=0.5, lt=1, description="With this probability, at least."
    )
    concurrency: int = Field(2, ge=1, le=64, description="Users who ask at the same time.")
    recall_queries: int = Field(
        120, ge=10, le=10_000, description="Queries on which the index meets exact search."
    )
    recall_groups: int = Field(
        8,
        ge=0,
        le=1000,
        description="Groups of readers, at most, for each of whom the index meets exact search.",
    )
    neighbour_queries: int = Field(
        100, ge=10, le=10_000, description="Documents whose neighbours are compared, old and new."
    )
    access_readers: int = Field(
        20,
        ge=1,
        le=1000,
        description="Groups, at most, whose readers are played, and as many pairs of groups.",
    )
    quality_effect: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Difference in nDCG@10 that a class of queries must be large enough to show.",
    )
    deep_queries: int = Field(
        100, ge=0, le=10_000, description="Queries asked again for 100 results, for recall@100."
    )
    latency_seconds: float = Field(
        16.0,
        ge=1,
        le=3600,
        description="Seconds for which requests are sent while latency is measured. If the result "
        "is inconclusive, up to three further measurements add at most six times as long.",
    )
    latency_rate: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="Requests a second, of which 1, 2 and 4 times are sent; empty: the workload's.",
    )
    machine: str = Field(
        "aws-m6i-large-paris",
        description="Item of the price book that the cost of a query is computed from.",
    )
    seed: int = Field(7, ge=0, description="Same seed, same samples and same intervals.")
