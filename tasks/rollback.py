"""Steps of rollback: find out whose traffic it is, take it back, show the proof."""

from __future__ import annotations

import psycopg
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qafila.errors import Unavailable
from qafila.ledger.ledger import open_ledger
from qafila.rollback.rollback import RolledBack, was_left_by
from qafila.rollback.way_back import bring_back
from qafila.text.foreign_text import markdown_text
from tasks.artifact_tables import show_markdown
from tasks.runs import current_run_id


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
