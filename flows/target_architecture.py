"""Compare architectures on measured volumes and put the choice to a person."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from pydantic import Field

from qafila.decision import steps as decision
from qafila.errors import Refused
from qafila.ledger.ledger import open_ledger, require_generation
from qafila.workload.parameters import ForWorkload
from qafila.workload.phases import Phase
from tasks import target_architecture as steps
from tasks.runs import operator_told


class Architecture(ForWorkload):
    """What to compare, and how long to wait for a person."""

    approval_timeout_minutes: float = Field(
        60, gt=0, le=10_080, description="Minutes until the question to a person lapses."
    )
    samples: int = Field(
        4_000, ge=200, le=200_000, description="Drawn months behind P50 and P90 (for experts)."
    )
    seed: int = Field(
        20_260_101, ge=0, le=2**31 - 1, description="The same seed draws the same months."
    )


@flow(name="target-architecture", flow_run_name="architecture {request.workload}")
def target_architecture(request: Architecture) -> dict[str, Any]:
    """Compares seven architectures, "stay" among them, and asks a person about the best one.

    In the run: the decision record (artifact `decision`) with the embedders that were compared on
    this corpus, if any were, the table of patterns, and one line while it waits for the answer.
    Changes the ledger only: evidence, a snapshot of the prices used and, once approved, the phase.
    On rejection or lapse the run fails and the phase stays "audited"; run it again to ask again.
    There is nothing to undo.
    """
    with operator_told():
        log = get_run_logger()
        workload = request.workload
        with open_ledger() as ledger:
            generation = require_generation(ledger, workload)
            if decision.is_designed(generation):
                log.info(
                    "%s g%s is %s: decided already", workload, generation.number, generation.phase
                )
                return {"workload": workload, "generation": generation.number, "decided": "before"}
            body = decision.standing_decision(ledger, generation)
        number = generation.number
        audit = steps.read_audit(workload)
        with open_ledger() as ledger:
            require_generation(ledger, workload, Phase.AUDITED)
        if body is None:
            need, how = steps.measure_need(workload)
            embedders = steps.read_embedders(workload)
            body = steps.compare_patterns(
                workload, need, how, audit, request.seed, request.samples, embedders
            )
            steps.record_decision(workload, number, body)
        steps.show_decision(workload, number, body)
        log.info("%s", body["sentence"])
        if body["chosen"] is None:
            raise Refused(
                body["sentence"],
                kept="everything; the phase is unchanged.",
                remedy="raise budget.monthly, widen compliance.hosting or name another store in "
                "corpus.target in the workload file, then: "
                f"qafila run target-architecture {workload}",
            )
        answer = steps.ask_for_decision(workload, number, body, request.approval_timeout_minutes)
        if answer.state != "approved":
            who = f" by {answer.decided_by}" if answer.decided_by else ""
            why = f": {answer.notes}" if answer.notes else ""
            was = "was rejected" if answer.state == "rejected" else "got no answer in time"
            raise Refused(
                f"the architecture {body['chosen']} of {workload} g{number} {was}{who}{why}.",
                kept="everything; the phase stays audited.",
                remedy=f"to ask again: qafila run target-architecture {workload}",
            )
        steps.accept_decision(workload, number, generation)
        chosen = next(r for r in body["patterns"] if r["name"] == body["chosen"])
        return {
            "workload": workload,
            "generation": number,
            "decided": body["chosen"],
            "monthly_p50": chosen["monthly_p50"],
            "monthly_p90": chosen["monthly_p90"],
            "currency": body["currency"],
            "approved_by": answer.decided_by,
        }
