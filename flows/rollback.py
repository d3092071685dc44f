"""Bring a workload back to its baseline, from the Prefect UI or an automation."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from pydantic import Field

from qafila.rollback.old_side import WAIT_SECONDS
from qafila.rollback.rollback import refuse_if_unproven
from qafila.workload.parameters import ForWorkload
from qafila.workload.verdict import Verdict
from tasks.rollback import left_by, take_back
from tasks.runs import operator_told


class Rollback(ForWorkload):
    """What to bring back, and why."""

    why: str = Field(
        "an operator asked for it", min_length=3, max_length=500, description="Kept as evidence."
    )
    wait_seconds: float = Field(
        WAIT_SECONDS,
        ge=0,
        le=3600,
        description="After a promotion: how long live sync may take to bring the old side in step.",
    )
    now: bool = Field(False, description="Go back also when writes are missing on the old side.")
    of_run: str | None = Field(
        None,
        max_length=100,
        description="Only what this canary run left: nothing is done where another leads by now.",
    )


@flow(name="rollback", flow_run_name="rollback {request.workload}")
def rollback(request: Rollback) -> dict[str, Any]:
    """Gives the baseline all traffic, proves it by the router's log, and puts the pointer row back.

    Always allowed: a running canary loses its lease and ends. Changes the router's weights and the
    target's pointer row, where the generations are columns also their names; the newest generation
    is taken back, it and its evidence stay, and what served before serves again; after a promotion
    with live sync, when that has every write of before. Running it twice
    changes nothing the second time. To go up again, start migrate-workload: it opens the next
    generation. When the Prefect server is down, ``qafila rollback WORKLOAD`` does the same.
    """
    with operator_told():
        if request.of_run is not None and not left_by(request.workload, request.of_run):
            return {"workload": request.workload, "already": True, "verdict": Verdict.PASS.value}
        outcome = take_back(request.workload, request.why, request.wait_seconds, request.now)
        refuse_if_unproven(outcome)
        get_run_logger().info("%s · %s", outcome.verdict, outcome.sentence)
        return outcome.body()
