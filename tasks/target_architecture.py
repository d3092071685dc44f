"""Steps of target-architecture: measure the corpus, compare patterns, ask a person."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task

from qafila.decision import record as decision_record
from qafila.decision import steps as decision
from qafila.decision.embedder_comparison import latest_comparison
from qafila.decision.patterns import Need
from qafila.ledger.approvals import Approval
from qafila.ledger.evidence import Evidence
from qafila.ledger.ledger import Generation, move_phase, open_ledger
from qafila.workload.phases import Event
from tasks.artifact_tables import show_markdown, show_table
from tasks.asking import ask_and_wait
from tasks.runs import current_run_id


@task(task_run_name="read audit of {workload}")
def read_audit(workload: str) -> Evidence:
    """Return the newest audit.

    Raises:
        Refused: there is none.
    """
    with open_ledger() as ledger:
        return decision.require_audit(ledger, workload)


@task(task_run_name="measure corpus of {workload}")
def measure_need(workload: str) -> tuple[Need, str]:
    """Return what the workload needs, its corpus measured now, and how it was measured."""
    return decision.measure_workload(workload)


@task(task_run_name="read comparison of embedders for {workload}")
def read_embedders(workload: str) -> dict[str, Any] | None:
    """Return the newest comparison of embedders on this corpus; None: there is none."""
    with open_ledger() as ledger:
        return latest_comparison(ledger, workload)


@task(task_run_name="compare patterns for {workload}")
def compare_patterns(
    workload: str,
    need: Need,
    how: str,
    audit: Evidence,
    seed: int,
    samples: int,
    embedders: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Cost every pattern, choose one, and return the body of the decision.

    ``embedders`` is what was found of them on this corpus, for the record; None: nothing was.
    """
    return decision.decide(need, how, audit, seed=seed, samples=samples, embedders=embedders)


@task(task_run_name="record decision for {workload} g{number}")
def record_decision(workload: str, number: int, body: dict[str, Any]) -> int:
    """Keep the prices used and the decision as evidence; return the evidence's number."""
    with open_ledger() as ledger:
        return decision.keep_decision(ledger, workload, number, body, run_id=current_run_id())


@task(task_run_name="show decision for {workload} g{number}")
def show_decision(workload: str, number: int, body: dict[str, Any]) -> None:
    """Put the decision record and its table into the run."""
    show_markdown(
        key="decision",
        markdown=decision_record.markdown(workload, number, body),
        description=f"Architecture of {workload}, generation {number}",
    )
    show_table(key="patterns", rows=decision_record.table(body), description="Patterns compared")


@task(task_run_name="ask about decision for {workload} g{number}")
def ask_for_decision(
    workload: str, number: int, body: dict[str, Any], timeout_minutes: float
) -> Approval:
    """Ask a person and wait for the answer in the ledger; a question asked before is picked up."""
    with open_ledger() as ledger:
        question = decision.decision_request(
            ledger, workload, number, body, expires_s=timeout_minutes * 60
        )
        return ask_and_wait(ledger, question, get_run_logger().info)


@task(task_run_name="accept decision for {workload} g{number}")
def accept_decision(workload: str, number: int, generation: Generation) -> None:
    """Move the phase to designed. Idempotent: a generation that is designed already stays."""
    with open_ledger() as ledger:
        move_phase(ledger, generation, Event.DECISION_APPROVED)
