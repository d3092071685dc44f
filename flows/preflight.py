"""Six questions before anything is loaded."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from pydantic import Field

from qafila.decision import preflight_rules as core
from qafila.errors import Refused
from qafila.ledger.ledger import open_ledger, require_generation
from qafila.workload.parameters import ForWorkload
from qafila.workload.verdict import Verdict
from tasks import preflight as steps
from tasks.runs import operator_told


class Preflight(ForWorkload):
    """Which workload, and whether a person may let it pass in spite of a no."""

    override: bool = Field(
        False,
        description="Ask a person to go on in spite of a no; the reason is kept as evidence.",
    )
    override_timeout_minutes: float = Field(
        60, gt=0, le=10_080, description="Minutes until that question lapses."
    )


@flow(name="preflight", flow_run_name="preflight {request.workload}")
def preflight(request: Preflight) -> dict[str, Any]:
    """Answers six questions from the ledger and the workload file, and gates the backfill.

    In the run: each question with yes or no, why, and the command or field that would turn a no
    into a yes (artifact `preflight`). A single no fails the run, unless a person overrides it
    with a reason. Changes the ledger only; the phase stays. There is nothing to undo.
    """
    with operator_told():
        log, workload = get_run_logger(), request.workload
        with open_ledger() as ledger:
            number = require_generation(ledger, workload).number
        answers = steps.answer_questions(workload, number)
        verdict, override = core.verdict(answers), None
        if verdict is not Verdict.PASS:
            override = steps.find_override(
                workload, number, answers, request.override, request.override_timeout_minutes
            )
        steps.record_preflight(workload, number, answers, override)
        steps.show_preflight(workload, number, answers, override)
        log.info("%s", core.sentence(answers))
        if verdict is not Verdict.PASS and override is None:
            missing = "".join(
                f"\n  {n}. {a.question} No: {a.because}. Next: {a.remedy}"
                for n, a in enumerate((a for a in answers if not a.answer), 1)
            )
            raise Refused(
                f"preflight of {workload} g{number} says no:{missing}",
                kept="everything; nothing was loaded.",
                remedy=f"mend these, then: qafila run preflight {workload}",
            )
        return {
            "workload": workload,
            "generation": number,
            "verdict": verdict.value,
            "answered": sum(a.answer for a in answers),
            "overridden_by": None if override is None else override.decided_by,
        }
