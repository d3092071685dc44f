"""Step of watchdog: watch the leases for a while."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qafila.rollback.rollback import RolledBack
from qafila.rollback.watchdog import watch
from tasks.artifact_tables import show_table


@task(task_run_name="watch the leases for {seconds} s", cache_policy=NO_CACHE)
def look(seconds: float, ledger_down_seconds: float) -> list[RolledBack]:
    """Watch, and show what was taken back."""
    log = get_run_logger()
    done = watch(
        lambda line: log.info("%s", line), seconds=seconds, ledger_down_s=ledger_down_seconds
    )
    if done:
        show_table(
            key="taken-back",
            rows=[
                {
                    "workload": one.workload,
                    "verdict": one.verdict.value,
                    "why": one.why,
                    "what": one.sentence,
                }
                for one in done
            ],
            description="What the watchdog gave back to its baseline.",
        )
    return done
