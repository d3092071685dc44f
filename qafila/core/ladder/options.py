"""How thoroughly the ladder looks; the flow's form is drawn from it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LadderOptions(BaseModel):
    """Sample sizes and the seed. The defaults look at everything there is."""

    model_config = ConfigDict(extra="forbid")

    max_queries: int | None = Field(
        None, ge=1, description="Judge a random sample of this many queries; empty: all of them."
    )
    concurrency: int = Field(2, ge=1, le=64, description="Users who ask at the same time.")
    recall_queries: int = Field(
        120, ge=10, le=10_000, description="Queries on which the index meets exact search."
    )
    latency_seconds: float = Field(
        16.0, ge=1, le=3600, description="How long requests arrive while latency is measured."
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
