"""Ask one question, of as many persons as it takes, and write the answers to the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from prefect import flow, get_run_logger, task
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from qafila.errors import Refused
from qafila.ledger import approvals
from qafila.ledger.ledger import open_ledger
from qafila.workload.parameters import ForWorkload
from tasks.runs import operator_told


class Question(ForWorkload):
    """Which question of the ledger to show."""

    approval_id: str = Field(
        min_length=3, max_length=200, description="Id of the question in the ledger."
    )


class Answer(RunInput):
    """What a person decides. Nothing is prefilled that would decide for them."""

    decision: Literal["approve", "reject"] = Field("reject", description="Go on?")
    approved_by: str = Field(..., min_length=2, description="Your name.")
    notes: str = Field("", max_length=2000, description="Why; kept as evidence.")


@flow(name="approval", flow_run_name="approve {request.approval_id}")
def approval(request: Question) -> dict[str, str | None]:
    """Asks one question; the run suspends and shows a form under "Resume".

    Where two persons are needed the form comes again for the second. Changes nothing but the
    question's rows in the ledger. Answers given elsewhere (``qafila approve``) count as well, and
    end this run when they are enough. Unanswered, the question lapses at its time and whoever
    asked goes back. There is nothing to undo.
    """
    with operator_told():
        row, form = read_question(request.approval_id), 0
        while row.state == "pending":
            form += 1
            # A resumed run starts from its top: forms that were filled in give their answer again,
            # and the ledger keeps it once.
            answer = suspend_flow_run(
                wait_for_input=Answer.with_initial_data(description=_shown(row)),
                timeout=max(1, int((row.expires_at - datetime.now(UTC)).total_seconds())),
                key=request.approval_id if form == 1 else f"{request.approval_id}-form-{form}",
            )
            row = write_answer(request.approval_id, answer)
        get_run_logger().info("%s: %s by %s", row.subject, row.state, row.decided_by or "nobody")
        return {"id": row.id, "state": row.state, "decided_by": row.decided_by}


def _shown(row: approvals.Approval) -> str:
    return f"{row.question}\n\n{row.progress}." if row.progress else row.question


@task(task_run_name="read question {approval_id}")
def read_question(approval_id: str) -> approvals.Approval:
    """Read the question as it stands."""
    with open_ledger() as ledger:
        return approvals.read_approval(ledger, approval_id)


@task(task_run_name="write answer to {approval_id}")
def write_answer(approval_id: str, answer: Answer) -> approvals.Approval:
    """Write the answer; one that does not count is said. Idempotent by question and person."""
    with open_ledger() as ledger:
        try:
            return approvals.answer(
                ledger, approval_id, answer.decision, by=answer.approved_by, notes=answer.notes
            )
        except Refused as refused:
            get_run_logger().info("%s", refused.what)
            return approvals.read_approval(ledger, approval_id)
