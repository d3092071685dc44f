"""What an audit leaves in the evidence chain: figures, and the findings that carry money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from qafila.audit.bills.model import exact
from qafila.audit.bills.reconciliation import Finding
from qafila.audit.dependencies.kinds import name_of_node
from qafila.audit.estate import outcomes_by_collector, volumes_by_kind
from qafila.audit.inventory.storable import storable
from qafila.audit.inventory.whole import Inventory
from qafila.audit.network_cost.questions import parting

MOST = 200  # of one list; the tables beside the evidence have all of it
T = TypeVar("T")


def evidence_body(inventory: Inventory, audit_id: int) -> dict[str, Any]:
    """Return the evidence row's body: JSON-able, money as exact text, no list above ``MOST``."""
    found, bill = inventory, inventory.bill
    period, share, corpus = found.period, found.network_share, found.corpus
    body: dict[str, Any] = {
        "audit_id": audit_id,
        "resources": len(found.resources),
        "edges": len(found.edges),
        "collectors": outcomes_by_collector(found.collected),
        "read": outcomes_by_collector(found.read),
        "bills": []
        if bill is None
        else [{"name": bill.name, "format": bill.format, "rows": bill.rows}],
        "spend_total": None if period is None else exact(period.amount),
        "currency": found.currency,
        "period": None if period is None else period.month,
        "period_closed": bool(period and period.closed),
        "periods": [
            {"period": p.month, "currency": p.currency, "amount": exact(p.amount), "state": p.state}
            for p in (bill.periods if bill else ())
        ],
        "spend_by_service": {
            s.subject: exact(s.amount)
            for s in (bill.spend_of(bill.services, period) if bill and period else ())
        },
        "network_share": None if share is None else round(share, 6),
        "network": _network(found),
        "gravity": _gravity(found),
        "parting": parting(found.gravity, {r.id: r.name for r in found.resources}),
        "waves": _waves(found),
        "lock_in": _lock_in(found),
        "volumes": {
            "corpus": None
            if corpus is None
            else {
                "rows": corpus.rows,
                "bytes": corpus.size_bytes,
                "average_bytes": corpus.average_bytes,
            },
            "by_kind": volumes_by_kind(found.resources),
        },
        "billed_not_found": _findings(found.reconciliation.billed_not_found),
        "found_not_billed": _findings(found.reconciliation.found_not_billed),
        "findings": _findings(found.findings),
        "counts": {
            "billed_not_found": len(found.reconciliation.billed_not_found),
            "found_not_billed": len(found.reconciliation.found_not_billed),
            "not_judged": len(found.reconciliation.not_judged),
            "findings": len(found.findings),
        },
        "ai_need": [c.as_row() for c in _first(found.candidates)],
        "notes": _first(found.notes()),
    }
    kept: dict[str, Any] = storable(body)
    return kept


def _network(found: Inventory) -> list[dict[str, str]]:
    """Return the routes of the reference month, by kind, the dearest first."""
    period = found.period
    if period is None:
        return []
    transfers = found.network.of(period.currency, period.start)
    kinds = {t.kind for t in transfers}
    rows = [
        {
            "route": kind.value,
            "amount": exact(found.network.amount(period.currency, period.start, kind)),
            "currency": period.currency,
        }
        for kind in kinds
    ]
    return sorted(rows, key=lambda r: (-Decimal(r["amount"]), r["route"]))


def _gravity(found: Inventory) -> Sequence[Mapping[str, Any]]:
    """Return the moves that would save most, and how many were priced at all."""
    names = {r.id: r.name for r in found.resources}
    return [
        {
            "from": name_of_node(w.flow.from_id, names),
            "to": name_of_node(w.flow.to_id, names),
            "moved": name_of_node(w.move.id, names),
            "where": str(w.move.to),
            "change": exact(round(w.change, 6)),
            "currency": w.before.currency or w.after.currency,
        }
        for w in found.gravity
        if w.change is not None and w.change < 0
    ][:20]


def _waves(found: Inventory) -> list[Mapping[str, Any]]:
    return [
        {
            "wave": w.number,
            "criticality": w.criticality.word,
            "things": len(w.positions),
            "names": [p.name for p in w.positions[:10]],
            "reason": w.reason,
            "crossing": len(w.crossing),
        }
        for w in (found.waves.waves[:50] if found.waves else ())
    ]


def _lock_in(found: Inventory) -> Mapping[str, Any] | None:
    scanned = found.lock_in
    if scanned is None:
        return None
    return {
        "files": scanned.files,
        "lines": scanned.lines,
        "hits": len(scanned.hits),
        "summary": [
            {
                "kind": s.kind.value,
                "provider": s.provider,
                "hits": s.hits,
                "files": s.files,
                "behind": s.behind,
                "effort": s.effort.value,
                "reason": s.reason,
            }
            for s in _first(scanned.summary)
        ],
    }


def finding_row(finding: Finding) -> Mapping[str, str | None]:
    """Return one finding as a row; money as exact text."""
    return {
        "kind": finding.kind,
        "resource": finding.resource,
        "amount": None if finding.amount is None else exact(finding.amount),
        "currency": finding.currency,
        "sentence": finding.sentence,
    }


def _findings(findings: Sequence[Finding]) -> list[Mapping[str, str | None]]:
    return [finding_row(f) for f in _first(findings)]


def _first(given: Sequence[T]) -> Sequence[T]:
    return given[:MOST]
