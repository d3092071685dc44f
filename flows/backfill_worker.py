"""Load shards of a load that another run coordinates: one worker of several, on any machine."""

from __future__ import annotations

from typing import Any

from prefect import flow
from pydantic import Field

from qafila.backfill.worker import Assignment
from qafila.workload.parameters import ForWorkload
from tasks.backfill_workers import HIGHEST_NUMBER, load_here, number_of_worker
from tasks.runs import about_generation, current_run_id, operator_told


class BackfillWorker(ForWorkload):
    """Which load to help."""

    generation: int = Field(ge=1, description="Generation that is being loaded.")
    batch_rows: int = Field(500, ge=16, le=10_000, description="Rows a transaction writes.")
    number: int | None = Field(
        None,
        ge=1,
        le=HIGHEST_NUMBER,
        description="What it is called: w1, w2 … None: a number from 1 000 on, by the run's id.",
    )


def called() -> str:
    """Return what names a run: "worker N for WORKLOAD gN"."""
    return about_generation(f"worker {number_of_worker()} for")()


@flow(name="backfill-worker", flow_run_name=called)
def backfill_worker(request: BackfillWorker) -> dict[str, Any]:
    """Claims shards and loads them until none is left; embedding-backfill starts it.

    You see a line a shard; PostgreSQL's list of sessions has it as w1, w2 … Only the target is
    changed, in a table that nobody reads yet. It stops by itself when nobody coordinates the load
    any more. Start more of them at any time: each claims what is free. Killed, what it loaded
    stays, and others go on with its shard.
    """
    with operator_told():
        assignment = Assignment(
            request.workload, request.generation, request.batch_rows, current_run_id()
        )
        number = number_of_worker()
        load = load_here.with_options(task_run_name=f"load shards, worker {number}")
        loaded = load(assignment, number, number)
        return {"shards": len(loaded), "rows": sum(done.rows for done in loaded)}
