"""Put a question to a person: a row in the ledger, and a run that shows the form."""

from __future__ import annotations

import logging
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment

from tasks.approvals import Approval, answer, ask, attach_approval_run
from tasks.ledger import Connection
from tasks.runs import current_run_id

_LOG = logging.getLogger(__name__)
DEPLOYMENT = "approval/approval"


def ask_person(
    ledger: Connection,
    approval_id: str,
    *,
    workload: str,
    generation: int | None,
    subject: str,
    question: str,
    expires_s: float,
) -> Approval:
    """Ask once and do not wait: the ledger row is the truth, the run beside it shows the form.

    The idempotency key of the run is the question's id, so asking again starts no second run.
    When the Prefect server does not answer, the question stands all the same and can be
    answered with ``qafila approve``.
    """
    approval = ask(
        ledger, approval_id, workload=workload, generation=generation, subject=subject,
        question=question, expires_s=expires_s, asked_by_run=current_run_id(),
    )  # fmt: skip
    if approval.approval_run is None and approval.state == "pending":
        try:
            run = run_deployment(
                DEPLOYMENT,
                timeout=0,
                as_subflow=False,  # a subflow cannot suspend
                idempotency_key=approval_id,
                parameters={"request": {"workload": workload, "approval_id": approval_id}},
            )
        except Exception as error:  # noqa: BLE001  the question stands without its form
            _LOG.warning("No form for %s (%s); answer with: qafila approve", approval_id, error)
        else:
            attach_approval_run(ledger, approval_id, str(run.id))  # type: ignore[union-attr]
    return approval


def answer_question(
    ledger: Connection,
    approval_id: str,
    decision: Literal["approve", "reject"],
    *,
    by: str,
    notes: str = "",
) -> Approval:
    """Write the answer to the ledger, then end the run that shows the form, if it can be reached.

    Raises:
        Refused: nobody is named, or the question was answered or has lapsed already.
    """
    answered = answer(ledger, approval_id, decision, by=by, notes=notes)
    if answered.approval_run is not None:
        try:
            with get_client(sync_client=True) as client:
                client.resume_flow_run(
                    UUID(answered.approval_run),
                    run_input={"decision": decision, "approved_by": by, "notes": notes},
                )
        except Exception as error:  # noqa: BLE001  the ledger has the answer; the form is a view
            _LOG.warning("The form of %s could not be closed: %s", approval_id, error)
    return answered
