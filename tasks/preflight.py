"""Steps of preflight: gather facts, keep the answers, and an override where a person gives one."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger, task

from qafila.decision import preflight as preflight_checks
from qafila.decision import preflight_rules as core
from qafila.decision.preflight_rules import Answer
from qafila.ledger.approvals import Approval
from qafila.ledger.ledger import open_ledger
from tasks.artifact_tables import show_markdown
from tasks.asking import ask_and_wait
from tasks.runs import current_run_id


@task(task_run_name="answer six questions about {workload} g{generation}")
def answer_questions(workload: str, generation: int) -> tuple[Answer, ...]:
    """Answer the six questions from the ledger and the workload file. Reads only."""
    with open_ledger() as ledger:
        return core.ask_all(preflight_checks.gather_facts(ledger, workload, generation))


@task(task_run_name="find override for {workload} g{generation}")
def find_override(
    workload: str, generation: int, answers: Sequence[Answer], ask: bool, timeout_minutes: float
) -> Approval | None:
    """Return the person's approval with a reason that stands, asking for one when ``ask``."""
    with open_ledger() as ledger:
        approval_id, asked = preflight_checks.override_slot(ledger, workload, generation, answers)
        if asked is not None and asked.state == "approved":
            return asked
        if not ask:
            return None
        question = preflight_checks.override_request(
            ledger, approval_id, workload, generation, answers, expires_s=timeout_minutes * 60
        )
        answer = ask_and_wait(ledger, question, get_run_logger().info)
    return answer if answer.state == "approved" and answer.notes.strip() else None


@task(task_run_name="record preflight of {workload} g{generation}")
def record_preflight(
    workload: str, generation: int, answers: Sequence[Answer], override: Approval | None
) -> int:
    """Keep the answers, and an override with its reason, as evidence; the verdict stays FAIL."""
    with open_ledger() as ledger:
        return preflight_checks.keep_preflight(
            ledger, workload, generation, answers, override, run_id=current_run_id()
        )


@task(task_run_name="show preflight of {workload} g{generation}")
def show_preflight(
    workload: str, generation: int, answers: Sequence[Answer], override: Approval | None
) -> None:
    """Put the answers into the run."""
    show_markdown(
        key="preflight",
        markdown=preflight_checks.markdown(workload, generation, answers, override),
        description=f"Six questions about {workload}, generation {generation}",
    )
