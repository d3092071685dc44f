"""Fill the next generation of a workload's index from the rows that exist."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import uuid4

from prefect import flow, get_run_logger
from pydantic import Field

from qafila.backfill.plan import money
from qafila.errors import Refused
from qafila.workload.parameters import ForWorkload
from qafila.workload.phases import Phase
from tasks.backfill_workers import Engine
from tasks.embedding_backfill import (
    MOST_WORKERS,
    accept,
    apply_plan,
    begin,
    build_index,
    check_source_and_target,
    compare,
    empty_generation,
    find_generation,
    load_shards,
    plan_load,
    replay,
    show_plan,
    start_capture,
)
from tasks.runs import about_generation, operator_told


class EmbeddingBackfill(ForWorkload):
    """Workload whose index to fill, and how to load it."""

    dry_run: bool = Field(False, description="Compute and show the plan only; change nothing.")
    reload: bool = Field(
        False,
        description="Empty the generation and plan its shards again before the load. Use it when "
        "source and target differ. Refused once the generation gets traffic.",
    )
    replay_dead_letters: bool = Field(
        False, description="After the load, try again to load the dead letters."
    )
    workers: int = Field(
        2, ge=1, le=MOST_WORKERS, description="Number of shards to load at the same time."
    )
    engine: Engine = Field(
        "processes",
        description="Where the workers run: in processes or threads of this run, on Dask, on Ray, "
        "or as runs of backfill-worker on the work pool.",
    )
    rows_per_shard: int | None = Field(
        None,
        ge=100,
        le=1_000_000,
        description="Number of rows in a shard (if empty, as many as give about 64 shards). It is "
        "ignored once the plan is frozen, unless the generation is reloaded.",
    )
    batch_rows: int | None = Field(
        None,
        ge=16,
        le=10_000,
        description="Number of rows that a transaction writes; a worker that is killed repeats at "
        "most this many. If empty: 2,000, or 256 if the embedder charges for each text.",
    )
    speed: int = Field(
        100,
        ge=1,
        le=100,
        description="Percentage of full speed to start with, for databases that also serve users. "
        'The command "load throttle" changes it during the load.',
    )


@flow(name="embedding-backfill", flow_run_name=about_generation("backfill"))
def embedding_backfill(request: EmbeddingBackfill) -> dict[str, Any]:
    """Fills the next generation of the index: plan, load, build the index, compare.

    You see the plan, then one task for each worker and one line for each shard, then the comparison
    of every row. While a server is away, for up to two minutes, the step that needs it awaits its
    retry. The run changes only the target, in a table that nobody reads yet. The command "load"
    pauses it, slows it down or stops it. If the run is killed or cancelled, start it again: it
    continues from its checkpoints, and loads no row twice. To undo it, drop the generation.
    """
    this_attempt = str(uuid4())  # the same in each retry of a step, so evidence is written once
    with operator_told():
        generation = find_generation(request.workload, request.dry_run, request.reload)
        check_source_and_target(generation)
        plan, ranges, shape = plan_load(generation, request.rows_per_shard, request.workers)
        show_plan(generation, plan)
        if request.dry_run:
            return {"dry_run": True, **asdict(plan)}
        if plan.over_cap:
            raise Refused(
                f"the load would cost {money(plan.cost_estimated)} {plan.currency}, "
                f"the cap is {money(plan.spend_cap)}.",
                kept="everything; nothing was loaded.",
                remedy="raise budget.spend_cap in the workload file, then: qafila apply FILE",
            )
        if request.reload:
            generation = empty_generation(generation, plan, ranges, shape)
        start_capture(generation, request.reload)
        if generation.phase != Phase.BACKFILLED:
            apply_plan(generation, plan, ranges, shape)
            generation = begin(generation, this_attempt)
        rows, seconds = load_shards(
            generation, request.engine, plan.workers, request.batch_rows, request.speed / 100
        )
        index_seconds = build_index(generation)
        if request.replay_dead_letters:
            get_run_logger().info(replay(generation).sentence())
        comparison = compare(generation)
        return accept(generation, comparison, rows, seconds, index_seconds, this_attempt)
