"""inventory-audit: what exists, what it really costs, what hangs together, what will need AI."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from qafila.audit.places import places_of
from qafila.audit.sources import sources_of
from qafila.backfill.generations import open_for
from qafila.errors import Unavailable
from qafila.ledger.ledger import move_phase, open_ledger, read_workload
from qafila.report.audit_reader import audit_facts
from qafila.workload.corpus import Name
from qafila.workload.parameters import ForWorkload
from qafila.workload.phases import Event, Phase
from qafila.workload.verdict import Verdict
from tasks import inventory_audit as steps
from tasks.runs import current_run_id, operator_told

# How many collectors look at the same time; each service's own rate is bounded besides, and most of
# them wait for it.
_RUNNER: Any = ThreadPoolTaskRunner(max_workers=24)


class AuditRequest(ForWorkload):
    """What to read; what is left empty is taken from the workload file's section `audit`."""

    account: Name | None = Field(
        None,
        description="Connection to the AWS account; read only is enough. Empty: the workload "
        "file's audit.account; neither: no account is read.",
    )
    bill: str | None = Field(
        None,
        max_length=1000,
        description="A bill, CSV or Parquet; a relative path starts at QAFILA_HOME. "
        "Empty: the workload file's audit.bill; neither: cost is reported as not known.",
    )
    regions: list[str] = Field(
        [], max_length=40, description="Regions to look at; empty: those of the connection."
    )
    pages: int = Field(
        200,
        ge=1,
        le=100_000,
        description="Most pages read of one list; where it ends earlier, the outcome is "
        "'truncated'.",
    )


@flow(
    name="inventory-audit",
    flow_run_name="audit {request.workload}",
    task_runner=_RUNNER,
)
def inventory_audit(request: AuditRequest) -> dict[str, Any]:
    """Reads accounts, clusters, databases, bills, traces and code, and keeps what it found.

    You see one task for each service and place, named "collect SERVICE in PLACE", several at a
    time, then the files, and the reconciliation; the artifact "inventory" is the page to read
    first. Only the ledger is written: everything else is read with calls that describe, list and
    get. What is denied to us is named, never taken for empty; what breaks is an outcome beside
    the others. It can be run again at any time, also after a failure: earlier audits stay as they
    are, each is compared with the one before, and there is nothing to undo. A first audit opens
    the workload's generation and moves it to "audited".
    """
    with operator_told(), open_ledger() as ledger:
        started_at = datetime.now(UTC)
        workload, _ = read_workload(ledger, request.workload)
        sources = sources_of(ledger, workload, account=request.account, bill=request.bill)
        corpus = steps.measure_corpus(workload)

        places = places_of(sources, request.regions, request.pages)
        looking = steps.start_collecting(places)
        files = steps.start_reading(sources, workload.budget.currency)
        collected = steps.collected_of(looking)
        observed = steps.observe(sources, collected)
        inventory = steps.take_stock(
            workload, collected, observed, files.wait(), corpus, started_at.date()
        )
        judged = inventory.judgement()

        generation = open_for(ledger, workload) if judged.verdict is Verdict.PASS else None
        body = steps.keep_audit(
            ledger,
            inventory,
            started_at=started_at,
            generation=None if generation is None else generation.number,
            run_id=current_run_id(),
        )
        steps.show_audit(audit_facts(ledger, workload.name, check=False))
        steps.say_judgement(judged.verdict.value, judged.sentence)
        if generation is None:
            raise Unavailable(
                f"nothing was seen whole: {judged.sentence}",
                kept="the audit's evidence; no generation was opened.",
                remedy="read what was missed: qafila report "
                f"{workload.name} --audit, then: qafila run inventory-audit {workload.name}",
            )
        if generation.phase == Phase.REGISTERED:
            generation = move_phase(ledger, generation, Event.AUDIT_ACCEPTED)
        return {
            "verdict": judged.verdict.value,
            "sentence": judged.sentence,
            "generation": generation.number,
            "phase": generation.phase,
            **{
                k: body[k]
                for k in (
                    "audit_id",
                    "resources",
                    "collectors",
                    "spend_total",
                    "currency",
                    "network_share",
                )
            },
        }
