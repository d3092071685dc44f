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
    """What to fill, and how."""

    dry_run: bool = Field(False, description="Only compute and show the plan; change nothing.")
    reload: bool = Field(
        False,
        description="Empty this generation and plan its shards anew first: when source and target "
        "differ. Not while it is on its way to users.",
    )
    replay_dead_letters: bool = Field(
        False, description="Give rows that were set aside another chance, after the load."
    )
    workers: int = Field(2, ge=1, le=MOST_WORKERS, description="Shards loaded at the same time.")
    engine: Engine = Field(
        "processes",
        description="Where workers run: processes or threads of this run, Dask, Ray, or runs of "
        "backfill-worker on the work pool.",
    )
    rows_per_shard: int | None = Field(
        None,
        ge=100,
        le=1_000_000,
        description="None: some 64 shards. Only before a plan is frozen and on a reload; "
        "else ignored.",
    )
    batch_rows: int | None = Field(
        None,
        ge=16,
        le=10_000,
        description="Rows a transaction writes, and at most what a killed worker does anew. None: "
        "2 000, or 256 where each text is paid for.",
    )
    speed: int = Field(
        100,
        ge=1,
        le=100,
        description="Percent of full speed from the start, for databases that users are waiting "
        "for; the command load throttle changes it on the way.",
    )


@flow(name="embedding-backfill", flow_run_name=about_generation("backfill"))
def embedding_backfill(request: EmbeddingBackfill) -> dict[str, Any]:
    """Fills the next generation of the index: plan, load, index, compare.

    You see the plan, then a task a worker and a line a shard, then the comparison of every row.
    While a server is away, for up to two minutes, the step that needs it awaits its retry.
    Only the target is changed, in a table that nobody reads yet. The command "load" pauses it,
    slows it down or stops it. Killed or cancelled at any moment, start it again: it goes on at its
    checkpoints, and no row is there twice. To undo, drop the generation.
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
