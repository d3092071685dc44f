"""Questions to persons: asked once, answered by as many as it takes, in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import class_row

from qafila.errors import Refused
from qafila.ledger.approvers import Choice, Confirmed, confirmed, person, refusal, state_of
from qafila.ledger.evidence import genuine_rows, record_evidence
from qafila.ledger.ledger import Connection
from qafila.sql import statement


@dataclass(frozen=True)
class Question:
    """What is asked, of how many persons, and for how many seconds.

    ``requested_by`` is who asked for what is decided here, and therefore does not approve it.
    """

    id: str
    workload: str
    generation: int | None
    subject: str
    question: str
    expires_s: float
    needed: int = 1
    requested_by: str | None = None
    asked_by_run: str | None = None


@dataclass(frozen=True)
class Approval:
    """One question and, once given, its answers; ``approved_by`` in the order they came."""

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
    needed: int = 1
    requested_by: str | None = None
    approved_by: list[str] = field(default_factory=list)

    @property
    def still_needed(self) -> int:
        """Return how many more persons have to approve."""
        return max(0, self.needed - len(self.approved_by)) if self.state == "pending" else 0

    @property
    def progress(self) -> str:
        """Return in words who approved so far and who may not; empty when there is nothing."""
        words = []
        if self.needed > 1:
            so_far = f"approved by {' and '.join(self.approved_by)}" if self.approved_by else "open"
            words.append(f"{self.needed} different persons are needed: {so_far}")
        if self.requested_by is not None:
            words.append(f"asked for by {self.requested_by}, who does not approve it")
        return "; ".join(words)


def ask(ledger: Connection, question: Question) -> Approval:
    """Ask one question; asking again with the same id returns the first with its answers."""
    ledger.execute(statement("ledger", "ask_approval"), asdict(question))
    return read_approval(ledger, question.id)


def read_approval(ledger: Connection, approval_id: str) -> Approval:
    """Return a question as it stands now; a pending one past its time is ``lapsed``.

    An approval counts only as the evidence of its answers says: a row of the question or of an
    answer that was written by other means leaves the question ``pending``.

    Raises:
        Refused: there is no such question.
    """
    with ledger.cursor(row_factory=class_row(Approval)) as cursor:
        row = cursor.execute(statement("ledger", "get_approval"), {"id": approval_id}).fetchone()
    if row is None:
        raise Refused(
            f"no question, run or workload with an open question is called {approval_id!r}.",
            remedy="qafila status",
        )
    return counted(ledger, [row])[0]


def pending_approvals(ledger: Connection, workload: str | None = None) -> list[Approval]:
    """Return what waits for a person, oldest first."""
    with ledger.cursor(row_factory=class_row(Approval)) as cursor:
        rows = cursor.execute(
            statement("ledger", "open_approvals"), {"workload": workload}
        ).fetchall()
    return [row for row in counted(ledger, rows) if row.state == "pending"]


def counted(ledger: Connection, rows: Sequence[Approval]) -> list[Approval]:
    """Return these questions with the state and the approvals that their evidence confirms."""
    found = ledger.execute(
        statement("ledger", "answers_in_evidence"),
        {"approvals": [row.id for row in rows], "workloads": [row.workload for row in rows]},
    ).fetchall()
    evidence = genuine_rows(ledger, [number for (number,) in found])
    return [_as_confirmed(ledger, row, _answers(row, evidence)) for row in rows]


def _answers(row: Approval, evidence: Sequence[Mapping[str, Any]]) -> list[Confirmed]:
    about = (row.id, row.workload, row.generation)
    return confirmed(
        [
            (body["by"], body["state"], int(body.get("needed") or 1))
            for one in evidence
            if (one["body"]["id"], one["workload"], one["generation"]) == about
            and one["sentence"].startswith(f"{row.subject}: ")
            and isinstance((body := one["body"]).get("by"), str)
        ]
    )


def _as_confirmed(ledger: Connection, row: Approval, answers: Sequence[Confirmed]) -> Approval:
    approving = {one.person for one in answers if one.state == "approved"}
    row = replace(row, approved_by=[n for n in row.approved_by if person(n) in approving])
    needed = max([row.needed, *(one.needed for one in answers)])
    refused = any(one.state == "rejected" for one in answers)
    if row.state != "approved" or (len(approving) >= needed and not refused):
        return row
    over = ledger.execute(statement("ledger", "is_over"), {"at": row.expires_at}).fetchone()
    state: Literal["pending", "lapsed"] = "lapsed" if over == (True,) else "pending"
    return replace(row, state=state, decided_by=None, decided_at=None, notes="")


def attach_approval_run(ledger: Connection, approval_id: str, run_id: str) -> None:
    """Remember which Prefect run shows the form."""
    ledger.execute(
        statement("ledger", "attach_approval_run"), {"id": approval_id, "approval_run": run_id}
    )


def answer(
    ledger: Connection,
    approval_id: str,
    decision: Choice,
    *,
    by: str,
    notes: str = "",
) -> Approval:
    """Write one person's answer and keep it as evidence; return the question as it stands then.

    A no closes the question, and so does the last approval that was needed. Answers are taken one
    after the other; what comes after the end or after the deadline changes nothing.

    Raises:
        Refused: nobody is named, or nobody who is listed; the question was answered or has lapsed
            already, this person approved before, or is the one who asked for it.
    """
    with ledger.transaction():
        ledger.execute(statement("ledger", "lock_approval"), {"id": approval_id})
        now = read_approval(ledger, approval_id)
        _require_counts(now, decision, by, _approvers(ledger, now.workload, decision))
        ledger.execute(
            statement("ledger", "put_answer"),
            {
                "id": approval_id,
                "person": person(by),
                "name": by.strip(),
                "decision": decision,
                "notes": notes,
            },
        )
        given = ledger.execute(statement("ledger", "answers_of"), {"id": approval_id}).fetchall()
        count = {person(by), *map(person, now.approved_by)}
        answers = [row[1:] for row in given if person(row[1]) in count]
        state = state_of(now.needed, [row[1] for row in answers])
        if state != "pending":
            deciding = [row for row in answers if state == "approved" or row[1] == "reject"]
            ledger.execute(
                statement("ledger", "close_approval"),
                {
                    "id": approval_id,
                    "state": state,
                    "decided_by": " and ".join(row[0] for row in deciding),
                    "notes": "; ".join(row[2] for row in deciding if row[2].strip()),
                },
            )
        verb = "approved" if decision == "approve" else "rejected"
        part = f", {len(answers)} of {now.needed}" if now.needed > 1 and verb == "approved" else ""
        record_evidence(
            ledger,
            "approval",
            f"{now.subject}: {verb} by {by.strip()}{part}.",
            workload=now.workload,
            generation=now.generation,
            run_id=now.asked_by_run,
            body={
                "id": approval_id,
                "state": verb,
                "by": by.strip(),
                "notes": notes,
                "question": state,
                "needed": now.needed,
                "requested_by": now.requested_by,
            },
        )
        return read_approval(ledger, approval_id)


def _approvers(ledger: Connection, workload: str, decision: Choice) -> list[str]:
    """Return who may approve by the workload's newest revision; empty: anybody."""
    key = {"workload": workload}
    row = ledger.execute(statement("ledger", "latest_revision"), key).fetchone()
    if row is None or decision == "reject":
        return []
    spec: dict[str, Any] = row[1]
    listed = [str(name) for name in spec.get("rollout", {}).get("approvers", [])]
    if spec.get("criticality") == "high" and not listed:
        raise Refused(
            f"{workload} is of high criticality, and its workload file lists no approvers.",
            kept="the question, which still waits.",
            remedy="name them in rollout.approvers of the workload file, then: qafila apply FILE",
        )
    return listed


def _require_counts(now: Approval, decision: Choice, by: str, approvers: Sequence[str]) -> None:
    problem = refusal(
        by,
        decision,
        needed=now.needed,
        requested_by=now.requested_by,
        approved_by=now.approved_by if now.state == "pending" else (),
        approvers=approvers,
    )
    if problem is not None and not person(by):
        raise Refused(problem, remedy="add --by NAME")
    if now.state == "lapsed":
        raise Refused(
            f"the question {now.id!r} lapsed at {now.expires_at:%d %b %H:%M:%S %Z}; an answer "
            "after that counts for nothing.",
            kept="what was decided without it: whoever asked has gone back.",
            remedy=f"qafila status {now.workload}",
        )
    if now.state != "pending":
        raise Refused(
            f"the question {now.id!r} is {now.state} already"
            + (f" by {now.decided_by}." if now.decided_by else "."),
            kept="the first answer.",
            remedy=f"qafila status {now.workload}",
        )
    if problem is not None:
        raise Refused(
            problem,
            kept="the question, which still waits.",
            remedy=f"another person: qafila approve {now.id} --by NAME",
        )
