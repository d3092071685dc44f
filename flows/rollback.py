"""Bring a workload back to its baseline, from the Prefect UI or an automation."""

from __future__ import annotations

from typing import Any

import psycopg
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from qafila.errors import Unavailable
from qafila.ledger.ledger import open_ledger
from qafila.rollback.old_side import WAIT_SECONDS
from qafila.rollback.rollback import RolledBack, refuse_if_unproven, was_left_by
from qafila.rollback.way_back import bring_back
from qafila.text.foreign_text import markdown_text
from qafila.workload.parameters import ForWorkload
from qafila.workload.verdict import Verdict
from tasks.artifact_tables import show_markdown
from tasks.runs import current_run_id, operator_told


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


@task(task_run_name="what did run {run} leave of {workload}", cache_policy=NO_CACHE)
def left_by(workload: str, run: str) -> bool:
    """Say whether that run left something; while the ledger is silent nobody can rule it out."""
    try:
        with open_ledger() as ledger:
            left = was_left_by(ledger, workload, run)
    except (Unavailable, psycopg.Error):
        return True
    if not left:
        get_run_logger().info("run %s left nothing of %s; nothing was changed.", run, workload)
    return left


@task(task_run_name="take {workload} back to its baseline", cache_policy=NO_CACHE)
def take_back(workload: str, why: str, wait_seconds: float, now: bool) -> RolledBack:
    """Roll back and show the proof. Idempotent by the router's state and the phase."""
    log = get_run_logger()
    outcome = bring_back(
        workload,
        why,
        holder="rollback flow",
        run_id=current_run_id(),
        wait_s=wait_seconds,
        now=now,
        tell=lambda line: log.warning("%s", line),
    )
    show_markdown(
        key="verdict",
        markdown=f"**{outcome.verdict}** {markdown_text(outcome.sentence)}{_table(outcome)}"
        f"\n\nWhy: {markdown_text(why)}",
    )
    return outcome


def _table(outcome: RolledBack) -> str:
    if outcome.already:
        return ""
    acknowledged = (
        "no" if outcome.acknowledged_s is None else f"in {outcome.acknowledged_s * 1000:.0f} ms"
    )
    return (
        "\n\n| from weight | to weight | acknowledged | seconds to zero | user requests since "
        "| of those on the canary |\n|---|---|---|---|---|---|\n"
        f"| {outcome.from_weight} % | {outcome.final_weight} % | {acknowledged} "
        f"| {outcome.seconds_to_zero} | {outcome.requests_after} "
        f"| {outcome.canary_requests_after} |"
    )
