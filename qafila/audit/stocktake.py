"""Put everything that was read side by side; decide nothing outside the core."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from qafila.audit.ai_need.assessment import CorpusVolume, assess_estate, assess_workload
from qafila.audit.ai_need.demand import serving_of
from qafila.audit.bills.network_lines import load_tariffs
from qafila.audit.bills.reconciliation import Reconciliation, reconcile
from qafila.audit.dependencies.derived_edges import edges_of
from qafila.audit.dependencies.traffic import Traffic
from qafila.audit.dependencies.waves import plan_waves
from qafila.audit.estate import Collected, Resource, outcomes_by_collector
from qafila.audit.files import FilesRead, Observed, Read
from qafila.audit.findings import look_closer, watch_the_network
from qafila.audit.inventory.pairs import costly_pairs
from qafila.audit.inventory.whole import Inventory
from qafila.audit.model_uses import model_uses
from qafila.audit.network_cost.ledger import Ledger
from qafila.audit.network_cost.questions import ask_what_if
from qafila.decision.steps import load_price_book
from qafila.workload.model import Workload


def take_stock(
    workload: Workload,
    collected: Sequence[Collected],
    observed: Observed,
    files: FilesRead,
    corpus: Read[CorpusVolume],
    as_of: date,
) -> Inventory:
    """Put all collectors, what was seen on the wire, the files and the corpus together.

    ``as_of``: the day that ages are counted back from.
    """
    by_id: dict[str, Resource] = {r.id: r for part in collected for r in part.resources}
    resources = tuple(by_id.values())
    direct = [edge for part in (*collected, *observed.parts) for edge in part.edges]
    edges = edges_of(resources, direct)
    uses = model_uses(workload.name, files.code, edges, resources, traced=bool(observed.parts))
    serving = serving_of(load_price_book())
    gravity = ask_what_if(resources, edges, observed.traffic, Ledger(), None, load_tariffs())
    found = Inventory(
        workload=workload.name,
        collected=tuple(collected),
        resources=resources,
        edges=edges,
        bill=None,
        currency=None,
        reconciliation=Reconciliation((), (), ()),
        findings=(
            *look_closer(resources, (), as_of=as_of, collected=collected),
            *costly_pairs(gravity, {r.id: r.name for r in resources}),
        ),
        candidates=(
            assess_workload(
                workload, corpus.found, resources=resources, model_uses=uses, serving=serving
            ),
            *assess_estate(
                resources,
                outcomes_by_collector(collected),
                model_uses=uses,
                serving=serving,
                besides=frozenset({workload.name}),
            ),
        ),
        corpus=corpus.found,
        read=(*files.told, *observed.parts, *(() if corpus.found else (corpus.outcome,))),
        waves=plan_waves(resources, edges, criticality_of={workload.name: workload.criticality})
        if resources
        else None,
        lock_in=files.code,
        gravity=gravity,
    )
    return found if files.billed is None else _with_bill(found, files, observed.traffic, as_of)


def _with_bill(
    found: Inventory, files: FilesRead, traffic: Sequence[Traffic], as_of: date
) -> Inventory:
    """Hold the bill against what was found."""
    assert files.billed is not None
    bill, currency = files.billed.bill, files.billed.currency
    found = replace(found, bill=bill, currency=currency)
    if currency is None:
        return found
    period = bill.reference_period(currency)
    month = None if period is None else period.start
    items = [i for i in bill.items if i.currency == currency]
    gravity = ask_what_if(found.resources, found.edges, traffic, bill.ledger, month, load_tariffs())
    return replace(
        found,
        spend_items=files.billed.items,
        reconciliation=reconcile(found.resources, found.collected, bill, currency),
        findings=(
            *look_closer(found.resources, items, as_of=as_of, collected=found.collected),
            *watch_the_network(bill, currency, found.resources, found.edges),
            *costly_pairs(gravity, {r.id: r.name for r in found.resources}),
        ),
        gravity=gravity,
    )
