"""Questions to a person: asked once, answered once, in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import class_row

from qafila.errors import Refused
from qafila.sql import statement
from tasks.evidence import record_evidence
from tasks.ledger import Connection


@dataclass(frozen=True)
class Approval:
    """One question and, once given, its answer."""

    id: str
    workload: str
    generation: int | None
    subject: str
    question: str
    asked_by_run: str | None
    approval_run: str | None
    state: Literal["pending", "approved", "rejected", "lapsed"]
    decided_by: str | None
    notes: str
    asked_at: datetime
    expires_at: datetime
    decided_at: datetime | None


def ask(
    ledger: Connection,
    approval_id: str,
    *,
    workload: str,
    generation: int | None,
    subject: str,
    question: str,
    expires_s: float,
    asked_by_run: str | None = None,
) -> Approval:
    """Ask one question; asking again with the same id returns the first with its answer."""
    ledger.execute(
        statement("ledger", "ask_approval"),
        {
            "id": approval_id,
            "workload": workload,
            "generation": generation,
            "subject": subject,
            "question": question,
            "asked_by_run": asked_by_run,
            "expires_s": expires_s,
        },
    )
    return read_approval(ledger, approval_id)


def read_approval(ledger: Connection, approval_id: str) -> Approval:
    """Return a question as it stands now; a pending one past its time is ``lapsed``.

    Raises:
        Refused: there is no such question.
    """
    with ledger.cursor(row_factory=class_row(Approval)) as cursor:
        row = cursor.execute(statement("ledger", "get_approval"), {"id": approval_id}).fetchone()
    if row is None:
        raise Refused(f"there is no question {approval_id!r}.", remedy="qafila status")
    return row


def pending_approvals(ledger: Connection, workload: str | None = None) -> list[Approval]:
    """Return what waits for a person, oldest first."""
    with ledger.cursor(row_factory=class_row(Approval)) as cursor:
        return cursor.execute(
            statement("ledger", "pending_approvals"), {"workload": workload}
        ).fetchall()


def attach_approval_run(ledger: Connection, approval_id: str, run_id: str) -> None:
    """Remember which Prefect run shows the form."""
    ledger.execute(
        statement("ledger", "attach_approval_run"), {"id": approval_id, "approval_run": run_id}
    )


def answer(
    ledger: Connection,
    approval_id: str,
    decision: Literal["approve", "reject"],
    *,
    by: str,
    notes: str = "",
) -> Approval:
    """Write the answer and keep it as evidence. The first answer in time wins.

    Raises:
        Refused: nobody is named, or the question was answered or has lapsed already.
    """
    if len(by.strip()) < 2:
        raise Refused("an answer needs the name of who decides.", remedy="add --by NAME")
    state = "approved" if decision == "approve" else "rejected"
    with ledger.transaction():
        row = ledger.execute(
            statement("ledger", "answer_approval"),
            {"id": approval_id, "state": state, "decided_by": by.strip(), "notes": notes},
        ).fetchone()
        now = read_approval(ledger, approval_id)
        if row is None:
            raise Refused(
                f"the question {approval_id!r} is {now.state} already"
                + (f" by {now.decided_by}." if now.decided_by else "."),
                kept="the first answer.",
                remedy=f"qafila status {now.workload}",
            )
        record_evidence(
            ledger,
            "approval",
            f"{now.subject}: {state} by {now.decided_by}.",
            workload=now.workload,
            generation=now.generation,
            run_id=now.asked_by_run,
            body={"id": approval_id, "state": state, "by": now.decided_by, "notes": notes},
        )
    return now
