"""Ask one question, of as many persons as it takes, and write the answers to the ledger."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow, get_run_logger
from prefect.flow_runs import suspend_flow_run
from pydantic import Field

from qafila.workload.parameters import ForWorkload
from tasks.approval import Answer, read_question, shown, write_answer
from tasks.runs import operator_told


class Question(ForWorkload):
    """Which question of the ledger to show."""

    approval_id: str = Field(
        min_length=3, max_length=200, description="Id of the question in the ledger."
    )


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
                wait_for_input=Answer.with_initial_data(description=shown(row)),
                timeout=max(1, int((row.expires_at - datetime.now(UTC)).total_seconds())),
                key=request.approval_id if form == 1 else f"{request.approval_id}-form-{form}",
            )
            row = write_answer(request.approval_id, answer)
        get_run_logger().info("%s: %s by %s", row.subject, row.state, row.decided_by or "nobody")
        return {"id": row.id, "state": row.state, "decided_by": row.decided_by}
