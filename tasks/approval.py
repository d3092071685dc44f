"""Steps of approval: read the question, show it, write the answer."""

from __future__ import annotations

from typing import Literal

from prefect import get_run_logger, task
from prefect.input import RunInput
from pydantic import Field

from qafila.errors import Refused
from qafila.ledger import approvals
from qafila.ledger.ledger import open_ledger


class Answer(RunInput):
    """What a person decides. Nothing is prefilled that would decide for them."""

    decision: Literal["approve", "reject"] = Field("reject", description="Go on?")
    approved_by: str = Field(..., min_length=2, description="Your name.")
    notes: str = Field("", max_length=2000, description="Why; kept as evidence.")


def shown(row: approvals.Approval) -> str:
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
