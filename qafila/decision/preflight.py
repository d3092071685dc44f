"""What preflight answers from, what it keeps, and the override that a person may give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from qafila.decision import preflight_rules as core
from qafila.decision.preflight_rules import Answer, Certificate, Facts
from qafila.errors import Refused
from qafila.ledger.approvals import Approval, Question, read_approval
from qafila.ledger.approvers import approvers_needed
from qafila.ledger.certificates import newest_certificate
from qafila.ledger.evidence import latest_evidence, record_evidence
from qafila.ledger.ledger import Connection, generation_of, read_workload
from qafila.sql import statement
from qafila.text.foreign_text import markdown_text
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload
from qafila.workload.phases import Phase


def gather_facts(ledger: Connection, workload: str, generation: int) -> Facts:
    """Read everything the six questions are answered from."""
    spec, _ = read_workload(ledger, workload)
    audit = latest_evidence(ledger, workload, "audit")
    decision = latest_evidence(ledger, workload, "decision", generation=generation)
    router = ledger.execute(
        statement("ledger", "get_connection"), {"name": spec.service.router.block}
    ).fetchone()
    drilled = newest_certificate(ledger, workload)
    return Facts(
        workload=spec,
        generation=generation,
        audit=None if audit is None else audit.body,
        decision=None if decision is None else decision.body,
        router_kind=None if router is None else str(router[0]),
        certificate=None
        if drilled is None
        else Certificate(
            drilled["generation"],
            drilled["seconds_to_zero"],
            f"{drilled['expires_at']:%Y-%m-%d %H:%M %Z}",
            drilled["expires_at"] > datetime.now(UTC),
        ),
        way_back_is_fed=_way_back_is_fed(ledger, spec, generation),
    )


def _way_back_is_fed(ledger: Connection, spec: Workload, generation: int) -> bool:
    """Say whether a rollback returns to something that live sync can feed, or that needs none."""
    target = spec.corpus.target
    if not isinstance(target, PgvectorTarget) or target.column is None:
        return True
    served = (Phase.PROMOTED, Phase.SETTLED, Phase.CLEANED)
    before = (generation_of(ledger, spec.name, number) for number in range(1, generation))
    return any(one.phase in served for one in before)


def override_question(workload: str, generation: int) -> str:
    """Return the id of the question whether to go on in spite of a no."""
    return f"preflight-{workload}-g{generation}-override"


def override_subject(workload: str, generation: int, answers: Sequence[Answer]) -> str:
    """Return the subject: it names the open questions, so that an override covers only these."""
    keys = ", ".join(a.key for a in answers if not a.answer)
    return f"preflight of {workload} g{generation} without: {keys}"


def override_slot(
    ledger: Connection, workload: str, generation: int, answers: Sequence[Answer]
) -> tuple[str, Approval | None]:
    """Return the id under which to ask about exactly these open questions, and what stands there.

    A question that is over, or was about other open questions, or was approved without a reason,
    does not count: the next one gets a number behind its id.
    """
    subject = override_subject(workload, generation, answers)
    base = override_question(workload, generation)
    number, approval_id = 1, base
    while True:
        try:
            asked = read_approval(ledger, approval_id)
        except Refused:
            return approval_id, None
        reasoned = asked.state == "approved" and asked.notes.strip()
        if asked.subject == subject and (asked.state == "pending" or reasoned):
            return approval_id, asked
        number += 1
        approval_id = f"{base}-{number}"


def override_request(
    ledger: Connection,
    approval_id: str,
    workload: str,
    generation: int,
    answers: Sequence[Answer],
    *,
    expires_s: float,
) -> Question:
    """Return what to ask a person about exactly these open questions, under this id."""
    lines = [f"- {a.key}: {a.because}. {a.remedy}" for a in answers if not a.answer]
    spec, _ = read_workload(ledger, workload)
    return Question(
        approval_id,
        workload,
        generation,
        subject=override_subject(workload, generation, answers),
        question="\n".join(
            [
                f"**Load {workload} g{generation} in spite of these?** A reason in the notes "
                "is needed and is kept as evidence.",
                "",
                *lines,
            ]
        ),
        expires_s=expires_s,
        needed=approvers_needed(spec.criticality),
    )


def keep_preflight(
    ledger: Connection,
    workload: str,
    generation: int,
    answers: Sequence[Answer],
    override: Approval | None,
    *,
    run_id: str | None,
) -> int:
    """Keep the answers, and an override with its reason, as evidence; the verdict stays FAIL."""
    body: dict[str, Any] = {
        "questions": [asdict(a) for a in answers],
        "answered": sum(a.answer for a in answers),
    }
    sentence = core.sentence(answers)
    if override is not None:
        body["override"] = {
            "approval": override.id,
            "by": override.decided_by,
            "reason": override.notes,
        }
        sentence += f" Overridden by {override.decided_by}: {override.notes}"
    return record_evidence(
        ledger,
        "preflight",
        sentence,
        workload=workload,
        generation=generation,
        verdict=core.verdict(answers),
        body=body,
        run_id=run_id,
    )


def markdown(
    workload: str, generation: int, answers: Sequence[Answer], override: Approval | None
) -> str:
    """Return the six answers as a page, the open ones with what would close them."""
    lines = [
        f"# Preflight of {workload}, generation {generation}: {core.verdict(answers)}",
        "",
        f"**{markdown_text(core.sentence(answers))}**",
        "",
        "| question | answer | because | what would answer it |",
        "| --- | --- | --- | --- |",
        *(
            f"| {markdown_text(a.question)} | {'yes' if a.answer else '**no**'} "
            f"| {markdown_text(a.because)} | {markdown_text(a.remedy)} |"
            for a in answers
        ),
    ]
    if override is not None:
        lines += ["", f"Overridden by {markdown_text(f'{override.decided_by}: {override.notes}')}"]
    return "\n".join([*lines, ""])
