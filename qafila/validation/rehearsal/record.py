"""The record of a rehearsal: the judgement as evidence, the trials as rows."""

from __future__ import annotations

from collections.abc import Sequence

from qafila.ledger.evidence import record_evidence
from qafila.ledger.ledger import Connection, Generation
from qafila.validation.rehearsal.judge_rehearsal import Trial, judge_rehearsal
from qafila.validation.rehearsal.rehearsal import Rehearsed
from qafila.workload.verdict import Judgement


def record_rehearsal(
    ledger: Connection, generation: Generation, rehearsed: Rehearsed, run_id: str | None
) -> Judgement:
    """Judge whether the ladder caught what was planted; write it as evidence and return it."""
    judged = judge_rehearsal(rehearsed.clean.judgement, rehearsed.trials)
    record_evidence(
        ledger,
        "rehearsal",
        judged.sentence,
        verdict=judged.verdict,
        workload=generation.workload,
        generation=generation.number,
        run_id=run_id,
        body={
            **judged.numbers,
            "documents": rehearsed.documents,
            "clean": rehearsed.clean.judgement.verdict.value,
            "trials": trial_rows(rehearsed.trials),
            "seconds": round(rehearsed.seconds, 1),
        },
    )
    return judged


def trial_rows(trials: Sequence[Trial]) -> list[dict[str, object]]:
    """Return one row a fault, ready to be shown."""
    return [
        {
            "fault": t.fault.name,
            "what was broken": t.fault.what,
            "dose": f"{t.rows} documents" if t.rows else t.fault.dose,
            "caught at": t.skipped or (t.caught_at.value if t.caught_at else "MISSED"),
            "what the ladder said": t.sentence,
        }
        for t in trials
    ]
