"""Load shards for a backfill that another run coordinates; one of several workers."""

from __future__ import annotations

from typing import Any

from prefect import flow
from pydantic import Field

from qafila.backfill.worker import Assignment
from qafila.workload.parameters import ForWorkload
from tasks.backfill_workers import HIGHEST_NUMBER, load_here, number_of_worker
from tasks.runs import about_generation, current_run_id, operator_told


class BackfillWorker(ForWorkload):
    """Load to work for."""

    generation: int = Field(ge=1, description="Number of the generation that is being loaded.")
    batch_rows: int = Field(
        500, ge=16, le=10_000, description="Number of rows that a transaction writes."
    )
    number: int | None = Field(
        None,
        ge=1,
        le=HIGHEST_NUMBER,
        description="Number of the worker, shown as w1, w2 and so on (if empty, a number from "
        "1,000 up, derived from the id of the run).",
    )


def called() -> str:
    """Return the name of a run: "worker N for WORKLOAD gN"."""
    return about_generation(f"worker {number_of_worker()} for")()


@flow(name="backfill-worker", flow_run_name=called)
def backfill_worker(request: BackfillWorker) -> dict[str, Any]:
    """Claims shards and loads them until none is left; embedding-backfill starts it.

    You see one line for each shard; in PostgreSQL's list of sessions the worker is w1, w2 and so
    on. It changes only the target, in a table that nobody reads yet. It stops by itself when no run
    coordinates the load any more. You may start more workers at any time: each claims shards that
    are free. If a worker is killed, what it loaded stays, and another one continues its shard.
    """
    with operator_told():
        assignment = Assignment(
            request.workload, request.generation, request.batch_rows, current_run_id()
        )
        number = number_of_worker()
        load = load_here.with_options(task_run_name=f"load shards, worker {number}")
        loaded = load(assignment, number, number)
        return {"shards": len(loaded), "rows": sum(done.rows for done in loaded)}
