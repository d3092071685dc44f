"""Less critical workloads first: one of high criticality follows where a lower one has settled.

"Where" is the same kind of target and the same kind of router: what was learned on pgvector behind
Envoy says little about Qdrant behind a load balancer. A generation that was only adopted has not
been rolled out, so it does not count. Two persons may override the order, with a reason.
"""

from __future__ import annotations

from qafila.errors import Refused
from qafila.ledger.approvals import Question
from qafila.ledger.ledger import Connection, Generation
from qafila.ledger.open_questions import open_question
from qafila.sql import statement
from qafila.workload.model import Workload

_APPROVERS = 2


def first_settled(ledger: Connection, spec: Workload) -> str | None:
    """Return a lower workload that settled on the same kinds of target and router, if any."""
    row = ledger.execute(
        statement("canary", "settled_below"),
        {
            "workload": spec.name,
            "target": spec.corpus.target.kind,
            "router": spec.service.router.kind,
        },
    ).fetchone()
    return None if row is None else str(row[0])


def in_order(ledger: Connection, spec: Workload, generation: Generation) -> bool:
    """Tell whether this workload may go now: by its order, or by an override that was approved."""
    if spec.criticality != "high" or first_settled(ledger, spec) is not None:
        return True
    _, asked = open_question(ledger, override_question(generation))
    return asked is not None and asked.state == "approved"


def require_order(ledger: Connection, spec: Workload, generation: Generation) -> None:
    """Refuse a workload of high criticality that no lower one went before.

    Raises:
        Refused: none has settled on the same kinds of target and router; says how to override.
    """
    if in_order(ledger, spec, generation):
        return
    raise Refused(
        f"{spec.name} is of high criticality, and no workload of low or medium criticality has "
        f"settled on a {spec.corpus.target.kind} target behind a {spec.service.router.kind} router "
        "yet.",
        kept="everything; all traffic is on the baseline.",
        remedy=f"roll out and settle a lower one first; or, with two persons' approval: qafila run "
        f'canary-cutover {spec.name} --by NAME --override "REASON"',
    )


def override_question(generation: Generation) -> str:
    """Return the id of the question whether to go before a lower workload has settled."""
    return f"override-order-{generation.workload}-g{generation.number}"


def override_request(
    ledger: Connection,
    spec: Workload,
    generation: Generation,
    reason: str,
    requested_by: str | None,
) -> Question:
    """Return what to ask two persons: whether to go out of order. It lapses as a rollout does.

    A question that was approved keeps its id, so that asking it again changes nothing.
    """
    approval_id, _ = open_question(ledger, override_question(generation))
    return Question(
        approval_id,
        spec.name,
        generation.number,
        subject=f"{spec.name} before any lower workload",
        question=(
            f"**{spec.name}** is of high criticality; no lower workload has settled on a "
            f"{spec.corpus.target.kind} target behind a {spec.service.router.kind} router.\n\n"
            f"Go up all the same? The reason given"
            f"{f' by {requested_by}' if requested_by else ''}: {reason}"
        ),
        expires_s=spec.rollout.deadline_minutes * 60,
        needed=_APPROVERS,
        requested_by=requested_by,
    )
