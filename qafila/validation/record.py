"""The record of a climb in the ledger: evidence, and the phase."""

from __future__ import annotations

from qafila.ledger.evidence import record_evidence
from qafila.ledger.ledger import Connection, Generation, move_phase
from qafila.validation.outcome import Outcome
from qafila.validation.phrases import headline
from qafila.workload.phases import Event, Phase
from qafila.workload.verdict import Verdict


def record_outcome(
    ledger: Connection, generation: Generation, outcome: Outcome, run_id: str | None = None
) -> Generation:
    """Write evidence, then move the phase on PASS; return the generation as it is now.

    Evidence is appended each time; the phase moves once, from ``backfilled`` only.
    """
    name, number = generation.workload, generation.number
    for arm, judgement in outcome.verdicts.items():
        record_evidence(
            ledger,
            "validation-arm",
            judgement.sentence,
            verdict=judgement.verdict,
            workload=name,
            generation=number,
            run_id=run_id,
            body={"arm": arm, **judgement.numbers},
        )
    record_evidence(
        ledger,
        "validation",
        headline(outcome),
        verdict=outcome.verdict,
        workload=name,
        generation=number,
        run_id=run_id,
        body=outcome.body(),
    )
    if outcome.verdict is Verdict.PASS and generation.phase == Phase.BACKFILLED:
        return move_phase(ledger, generation, Event.LADDER_PASS)
    return generation
