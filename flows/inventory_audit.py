"""inventory-audit: what exists, what it really costs, what hangs together, what will need AI."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger
from pydantic import Field

from blocks.aws import AwsAccount
from qafila import settings
from qafila.core.corpus import Name
from qafila.core.parameters import ForWorkload
from qafila.core.phases import Event, Phase
from qafila.core.verdict import Verdict
from qafila.errors import Refused, Unavailable
from tasks import audit
from tasks.collectors import COLLECTORS
from tasks.connections import connection
from tasks.generations import open_for
from tasks.ledger import move_phase, open_ledger, read_workload
from tasks.runs import current_run_id, operator_told


class AuditRequest(ForWorkload):
    """Which account and which bill to read."""

    account: Name | None = Field(
        None,
        description="Connection to the AWS account; read only is enough. Empty: the workload "
        "file's audit.account.",
    )
    bill: str | None = Field(
        None,
        max_length=1000,
        description="FOCUS export, CSV or Parquet; a relative path starts at QAFILA_HOME. "
        "Empty: the workload file's audit.bill; neither: cost is reported as not known.",
    )
    regions: list[str] = Field(
        [], max_length=40, description="Regions to look at; empty: those of the connection."
    )
    pages: int = Field(
        200, ge=1, le=100_000,
        description="Most pages read of one list; where it ends earlier, the outcome is "
        "'truncated'.",
    )  # fmt: skip


@flow(name="inventory-audit", flow_run_name="audit {request.workload}")
def inventory_audit(request: AuditRequest) -> dict[str, Any]:
    """Reads an AWS account and its bill, holds one against the other, and keeps what it found.

    You see one task for each service, named "collect SERVICE in REGION", then the bill, the
    corpus, and the reconciliation; the artifact "inventory" is the page to read first. Only the
    ledger is written: the account is read with Describe, List and Get calls alone. A service
    that is denied to us is named, never taken for empty. It can be run again at any time, also
    after a failure: earlier audits stay as they are, and there is nothing to undo. A first audit
    opens the workload's generation and moves it to "audited".
    """
    with operator_told(), open_ledger() as ledger:
        started_at, log = datetime.now(UTC), get_run_logger()
        workload, _ = read_workload(ledger, request.workload)
        name = request.account or workload.audit.account
        if name is None:
            raise Refused(
                f"no account to audit for {workload.name}: neither the run nor the workload "
                "file names one.",
                remedy="set audit.account in the file and apply it, or add --set account=NAME",
            )
        account = connection(ledger, name, AwsAccount)
        wanted = request.bill or next(iter(workload.audit.bill), None)
        path = settings.home() / wanted if wanted else None
        bill = None if path is None else audit.read_bill(path)
        session, regions = account.session(), request.regions or account.regions
        collected = [
            audit.collect(collector.name, account, session, region, request.pages)
            for region in regions
            for collector in COLLECTORS
            if collector.scope == "region" or region == regions[0]
        ]
        corpus = audit.measure_corpus(workload)
        inventory = audit.take_stock(workload, collected, bill, corpus)
        judged = inventory.judgement()

        generation = open_for(ledger, workload) if judged.verdict is Verdict.PASS else None
        body = audit.keep_audit(
            ledger,
            inventory,
            started_at=started_at,
            generation=None if generation is None else generation.number,
            run_id=current_run_id(),
        )
        audit.show_inventory(inventory)
        log.info("%s: %s", judged.verdict.value, judged.sentence)
        if generation is None:
            raise Unavailable(
                f"no collector saw everything: {judged.sentence}",
                kept="the audit's evidence; no generation was opened.",
                remedy=f"check the connection {name!r} and its read-only policy, "
                f"then: qafila run inventory-audit {workload.name}",
            )
        if generation.phase == Phase.REGISTERED:
            generation = move_phase(ledger, generation, Event.AUDIT_ACCEPTED)
        return {
            "verdict": judged.verdict.value,
            "sentence": judged.sentence,
            "generation": generation.number,
            "phase": generation.phase,
            **{k: body[k] for k in ("audit_id", "resources", "collectors", "spend_total",
                                    "currency", "network_share")},
        }  # fmt: skip
