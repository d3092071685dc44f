"""Steps of nightly-optimization: what is dearer, slower or worse than when it was promoted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from prefect import get_run_logger, task
from prefect.events import emit_event
from prefect.runtime import flow_run

from qafila.decision import drift
from qafila.decision.drift_rules import Finding
from qafila.ledger.evidence import latest_evidence
from qafila.ledger.ledger import open_ledger
from qafila.workload.verdict import Verdict
from tasks.artifact_tables import show_markdown
from tasks.runs import current_run_id


def run_name() -> str:
    """Return the name of the flow run we are in: which workload's night it is."""
    request = flow_run.parameters["request"]
    name = request.get("workload") if isinstance(request, dict) else request.workload
    return f"night of {name or 'every workload'}"


@task(task_run_name="list workloads")
def workloads_to_check(workload: str | None) -> list[str]:
    """Return the one workload asked for, or every one that was applied.

    Raises:
        Refused: the one asked for was never applied.
    """
    with open_ledger() as ledger:
        return drift.workloads_to_check(ledger, workload)


def say_when_none(names: Sequence[str]) -> None:
    """Tell the run's log when there is no workload to look at."""
    if not names:
        get_run_logger().info("nothing to compare yet: no workload was applied")


@task(task_run_name="compare prices with the last snapshot")
def check_prices(absolute: str, relative: float) -> Finding:
    """Compare today's price book with the ledger's newest snapshot, then keep today's."""
    with open_ledger() as ledger:
        return drift.check_prices(ledger, absolute, relative)


@task(task_run_name="compare spend of {workload}")
def check_spend(workload: str, absolute: str, relative: float) -> Finding:
    """Compare the newest closed period with those before it, from the audits' evidence."""
    with open_ledger() as ledger:
        return drift.check_spend(ledger, workload, absolute, relative)


@task(task_run_name="forecast {workload} to month's end")
def check_forecast(workload: str, today: datetime) -> Finding:
    """Forecast what paid calls, and an open bill of this month, will come to."""
    with open_ledger() as ledger:
        return drift.check_forecast(ledger, workload, today)


@task(task_run_name="check certificate of {workload}")
def check_certificate(workload: str, warn_hours: float, now: datetime) -> Finding:
    """Say how long the newest rollback certificate holds."""
    with open_ledger() as ledger:
        return drift.check_certificate(ledger, workload, warn_hours, now)


@task(task_run_name="decide again on {workload}")
def check_decision(workload: str) -> Finding:
    """Choose an architecture again on today's prices and volumes; say if it would change."""
    with open_ledger() as ledger:
        decided = latest_evidence(ledger, workload, "decision")
    return drift.check_decision(workload, decided)


@task(task_run_name="measure quality and latency of {workload}")
def check_service(workload: str, queries: int, seconds: float, seed: int) -> list[Finding]:
    """Ask the candidate service a bounded sample of judged queries; compare with the promotion."""
    with open_ledger() as ledger:
        return drift.check_service(ledger, workload, queries, seconds, seed)


@task(task_run_name="report the night of {workload}")
def report_night(workload: str, findings: Sequence[Finding]) -> Verdict:
    """Write evidence, the artifact and one custom event an alert; return the night's verdict."""
    with open_ledger() as ledger:
        verdict = drift.keep_night(ledger, workload, findings, current_run_id())
    show_markdown(
        key="nightly",
        markdown=drift.markdown(workload, findings),
        description=f"Drift of {workload}",
    )
    log = get_run_logger()
    for finding in findings:
        for line in finding.lines:
            log.info("%s %s: %s", workload, finding.subject, line)
    for alert in drift.alerts_of(findings):
        log.warning("%s: %s", workload, alert.sentence)
        emit_event(
            event=f"qafila.drift.{alert.kind}",
            resource={
                "prefect.resource.id": f"qafila.workload.{workload}",
                "prefect.resource.name": workload,
            },
            payload={"sentence": alert.sentence, **alert.numbers},
        )
    return verdict
