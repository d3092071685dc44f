"""Put everything that was read side by side; decide nothing outside the core."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from qafila.core.ai_need import CorpusVolume, assess_estate, assess_workload
from qafila.core.bills import main_currency
from qafila.core.dependencies import derive_edges
from qafila.core.estate import Collected, Edge, Resource, outcomes_by_collector
from qafila.core.findings import look_closer, watch_the_network
from qafila.core.inventory import Inventory
from qafila.core.reconciling import Reconciliation, reconcile
from qafila.core.workload import Workload
from tasks.audit.reading import FilesRead, Read


@task(task_run_name="reconcile bill and account of {workload.name}", cache_policy=NO_CACHE)
def take_stock(
    workload: Workload,
    collected: Sequence[Collected],
    observed: Sequence[Collected],
    files: FilesRead,
    corpus: Read[CorpusVolume],
) -> Inventory:
    """Put all collectors, what traces and flow logs showed, the files and the corpus together."""
    bill, volume = files.bill, corpus.found
    read = (*files.read, *observed, *(() if volume else (corpus.outcome,)))
    by_id: dict[str, Resource] = {r.id: r for part in collected for r in part.resources}
    resources = tuple(by_id.values())
    direct: list[Edge] = [edge for part in (*collected, *observed) for edge in part.edges]
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
            *(() if volume is None else (assess_workload(workload, volume),)),
            *assess_estate(resources, outcomes_by_collector(collected)),
        ),
        corpus=volume,
        read=read,
    )
