"""Put a question to a person: a row in the ledger, and a run that shows the form."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment

from qafila.ledger.approvals import (
    Approval,
    Question,
    answer,
    ask,
    attach_approval_run,
    read_approval,
)
from qafila.ledger.approvers import Choice
from qafila.ledger.ledger import Connection, open_ledger
from qafila.ledger.open_questions import wait_for_answer
from tasks.runs import current_run_id

_LOG = logging.getLogger(__name__)
DEPLOYMENT = "approval/approval"
_PATIENCE_S = 3.0  # a holder of a lease must show itself every few seconds


def ask_person(ledger: Connection, question: Question) -> Approval:
    """Ask once and do not wait: the ledger row is the truth, the run beside it shows the form.

    The idempotency key of the run is the question's id, so asking again starts no second run; the
    same run shows the form to each person that is needed. When the Prefect server does not answer,
    the question stands all the same and can be answered with ``qafila approve``: whoever asks may
    hold a lease, and a server that hangs must not cost it.
    """
    approval = ask(ledger, replace(question, asked_by_run=current_run_id()))
    if approval.approval_run is None and approval.state == "pending":
        here = contextvars.copy_context()  # Prefect keeps in it which server it speaks to
        form = threading.Thread(target=here.run, args=(_show_form, question), daemon=True)
        form.start()
        form.join(_PATIENCE_S)
        if form.is_alive():
            _LOG.warning("No form for %s yet; answer with: qafila approve", question.id)
    return read_approval(ledger, question.id)


def ask_and_wait(ledger: Connection, question: Question, say: Callable[[str], None]) -> Approval:
    """Ask once and wait until it is answered or has lapsed; ``say`` a line now and then.

    A question that was answered already is not asked again.
    """
    ask_person(ledger, question)
    return wait_for_answer(ledger, question.id, say)


def _show_form(question: Question) -> None:
    try:
        run = run_deployment(
            DEPLOYMENT,
            timeout=0,
            as_subflow=False,  # a subflow cannot suspend
            idempotency_key=question.id,
            parameters={"request": {"workload": question.workload, "approval_id": question.id}},
        )
        with open_ledger() as ledger:
            attach_approval_run(ledger, question.id, str(run.id))  # type: ignore[union-attr]
    except Exception as error:  # noqa: BLE001  the question stands without its form
        _LOG.warning("No form for %s (%s); answer with: qafila approve", question.id, error)


def answer_question(
    ledger: Connection,
    approval_id: str,
    decision: Choice,
    *,
    by: str,
    notes: str = "",
) -> Approval:
    """Write the answer to the ledger, then close the form it was asked by, if it can be reached.

    Where more persons are needed the form comes again for the next one.

    Raises:
        Refused: the answer does not count; see ``qafila.ledger.approvals.answer``.
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
