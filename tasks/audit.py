"""Steps of the audit: collect, read the bill, measure the corpus, reconcile, keep, show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from psycopg.types.json import Jsonb

from blocks.aws import AwsAccount
from qafila.core.ai_need import CorpusVolume, assess_estate, assess_workload
from qafila.core.bills import Bill, main_currency
from qafila.core.dependencies import derive_edges
from qafila.core.estate import Collected, Edge, Resource, outcomes_by_collector
from qafila.core.findings import look_closer, watch_the_network
from qafila.core.inventory import Inventory
from qafila.core.reconciling import Reconciliation, reconcile
from qafila.core.workload import Workload
from qafila.sql import statement
from tasks import bills
from tasks.collectors import COLLECTORS, Account, Limits
from tasks.evidence import record_evidence
from tasks.ledger import Connection, open_ledger
from tasks.opening import open_source, volume_of

_BY_NAME = {collector.name: collector for collector in COLLECTORS}
_ABOUT = {
    "collectors": "How far each collector came, and what it could not see.",
    "resources": "Everything that was seen.",
    "spend": "The bill by month, service and network route; amounts are exact.",
    "edges": "What hangs together: kind, where we know it from, how sure we are (0 to 1).",
}


@task(task_run_name="collect {collector} in {region}", cache_policy=NO_CACHE)
def collect(
    collector: str, account: AwsAccount, session: Any, region: str, pages: int
) -> Collected:
    """Read one service in one region. The SDK retries; a refusal is a result, not an error.

    ``session`` is the account's, made once: it caches the service models that clients are built
    from, which costs more than the calls.
    """
    look = Account(session, region, endpoint_url=account.endpoint_url, limits=Limits(pages=pages))
    return _BY_NAME[collector].collect(look)


@task(task_run_name="read bill {bill.name}", cache_policy=NO_CACHE)
def read_bill(bill: Path) -> Bill:
    """Read one FOCUS export into exact amounts."""
    return bills.read_bill(bill)


@task(task_run_name="measure the corpus of {workload.name}", cache_policy=NO_CACHE)
def measure_corpus(workload: Workload) -> CorpusVolume:
    """Count the documents of a workload and the bytes of their text.

    Raises:
        BadInput: the source cannot be read as the workload says; names every problem.
    """
    with open_ledger() as ledger, open_source(ledger, workload) as source:
        found = volume_of(source, workload.name)
    return CorpusVolume(rows=found.rows, size_bytes=found.text_bytes)


@task(task_run_name="reconcile bill and account of {workload.name}", cache_policy=NO_CACHE)
def take_stock(
    workload: Workload, collected: Sequence[Collected], bill: Bill | None, corpus: CorpusVolume
) -> Inventory:
    """Put all collectors, the bill and the corpus side by side; decide nothing outside the core."""
    by_id: dict[str, Resource] = {r.id: r for part in collected for r in part.resources}
    resources = tuple(by_id.values())
    direct: list[Edge] = [edge for part in collected for edge in part.edges]
    currency = None if bill is None else main_currency(bill, workload.budget.currency)
    reconciliation = (
        Reconciliation((), (), ())
        if bill is None or currency is None
        else reconcile(resources, collected, bill, currency)
    )
    items = [i for i in bill.items if i.currency == currency] if bill else []
    return Inventory(
        workload=workload.name,
        collected=tuple(collected),
        resources=resources,
        edges=tuple(dict.fromkeys([*direct, *derive_edges(resources)])),
        bill=bill,
        currency=currency,
        reconciliation=reconciliation,
        findings=(
            *look_closer(resources, items),
            *(watch_the_network(bill, currency) if bill and currency else ()),
        ),
        candidates=(
            assess_workload(workload, corpus),
            *assess_estate(resources, outcomes_by_collector(collected)),
        ),
        corpus=corpus,
    )


@task(task_run_name="keep the audit of {inventory.workload}", cache_policy=NO_CACHE)
def keep_audit(
    ledger: Connection,
    inventory: Inventory,
    *,
    started_at: datetime,
    generation: int | None,
    run_id: str | None,
) -> dict[str, Any]:
    """Write the snapshot and its evidence in one transaction; return the evidence's body.

    Not idempotent and not retried: each call is one more audit, and earlier ones stay.
    """
    judged = inventory.judgement()
    with ledger.transaction(), ledger.cursor() as cursor:
        row = cursor.execute(
            statement("audit", "insert_audit"),
            {"workload": inventory.workload, "run_id": run_id, "started_at": started_at},
        ).fetchone()
        assert row is not None
        audit_id = int(row[0])
        cursor.executemany(
            statement("audit", "insert_outcome"),
            [
                {"audit_id": audit_id, "collector": c.collector, "region": c.region,
                 "outcome": c.outcome.value, "resources": len(c.resources), "calls": c.calls,
                 "missed": c.missed}
                for c in inventory.collected
            ],
        )  # fmt: skip
        cursor.executemany(
            statement("audit", "insert_resource"),
            [
                {"audit_id": audit_id, "id": r.id, "kind": r.kind, "name": r.name,
                 "region": r.region, "size_bytes": r.size_bytes, "tags": Jsonb(dict(r.tags)),
                 "facts": Jsonb(dict(r.facts))}
                for r in inventory.resources
            ],
        )  # fmt: skip
        cursor.executemany(
            statement("audit", "insert_edge"),
            [
                {"audit_id": audit_id, "from_id": e.from_id, "to_id": e.to_id, "kind": e.kind,
                 "source": e.source, "confidence": e.confidence}
                for e in inventory.edges
            ],
        )  # fmt: skip
        body = inventory.evidence_body(audit_id)
        cursor.execute(
            statement("audit", "summarise_audit"), {"audit_id": audit_id, "summary": Jsonb(body)}
        )
        record_evidence(
            ledger, "audit", judged.sentence, workload=inventory.workload, generation=generation,
            verdict=judged.verdict, body=body, run_id=run_id,
        )  # fmt: skip
    return body


@task(task_run_name="show the inventory of {inventory.workload}", cache_policy=NO_CACHE)
def show_inventory(inventory: Inventory) -> None:
    """Publish the page a director reads, and the tables behind it."""
    create_markdown_artifact(
        key="inventory",
        markdown=inventory.markdown(),
        description=inventory.judgement().sentence,
    )
    for key, table in inventory.tables().items():
        create_table_artifact(key=key, table=table, description=_ABOUT[key])
