"""The audit's tables: plain rows by name, the same in the ledger, in artifacts and in an export.

A row holds text, whole numbers, true or false, or nothing; money is exact text beside its currency.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from qafila.audit.bills.model import exact
from qafila.audit.bills.owners import spend_by_tag
from qafila.audit.dependencies.kinds import name_of_node
from qafila.audit.inventory.body import finding_row
from qafila.audit.inventory.difference import Difference
from qafila.audit.inventory.difference_rows import difference_rows
from qafila.audit.inventory.storable import storable
from qafila.audit.inventory.whole import Inventory
from qafila.audit.network_cost.questions import row_of

Row = dict[str, Any]
_WORD = re.compile(
    r"[\w:/.-]*+(?<=\w)|[\w:/.-]++"
)  # what may be the id of a resource in a sentence
STAYS = "stays"  # in the place of a wave's number: what is in none of them

# Every table with what it is, in the order of the report.
ABOUT: Mapping[str, str] = {
    "spend": "The bill by month, service and vendor; in the export to the last digit.",
    "spend_items": "What the month of the first page is made of: items with their quantities.",
    "network": "What moving bytes cost, by month, service and route.",
    "gravity": "What each pair whose bytes are known would cost in a month if one of its ends "
    "stood elsewhere: with the other end, in another region, at another provider. These are single "
    "moves: they do not add up.",
    "reconciliation": "The bill held against the account: billed and not found, found and not "
    "billed, and where it could not be judged.",
    "ownership": "What the month cost by owner and app tag, and what nobody owns; the rows of one "
    "tag add up to the bill.",
    "findings": "What a person should look at, with what it was billed.",
    "resources": "Everything that was seen.",
    "edges": "What hangs together: kind, where we know it from, how sure we are (0 to 1; below "
    "0.5 it informs, and binds no wave).",
    "waves": "The order in which things can move, with the reason for each position.",
    "ai_need": "Who will need AI within 12 months: one row a signal, or the question that is open.",
    "lock_in": "Where code calls a vendor's own API, by file and line.",
    "bill_quality": "What is wrong with the bill itself.",
    "collectors": "How far each collector came, what it could not see, and at how many calls.",
    "difference": "What changed since the last audit.",
}


def tables(inventory: Inventory, difference: Difference | None = None) -> dict[str, list[Row]]:
    """Return every table by its name in ``ABOUT``; an empty one has no rows."""
    made = {
        "spend": _spend(inventory),
        "spend_items": _spend_items(inventory),
        "network": _network(inventory),
        "gravity": _gravity(inventory),
        "reconciliation": _reconciliation(inventory),
        "ownership": _ownership(inventory),
        "findings": _named(inventory, [finding_row(f) for f in inventory.to_look_at]),
        "resources": _resources(inventory),
        "edges": _edges(inventory),
        "waves": _waves(inventory),
        "ai_need": _ai_need(inventory),
        "lock_in": _lock_in(inventory),
        "bill_quality": _bill_quality(inventory),
        "collectors": _collectors(inventory),
        "difference": [] if difference is None else difference_rows(difference),
    }
    kept: dict[str, list[Row]] = storable(made)
    return kept


def _spend(inventory: Inventory) -> list[Row]:
    bill = inventory.bill
    if bill is None:
        return []
    states = {(p.currency, p.start): p.state for p in bill.periods}
    return [
        {
            "month": f"{s.start:%Y-%m}",
            "state": states.get((s.currency, s.start), "not known"),
            "what": what,
            "name": s.subject,
            "amount": exact(s.amount),
            "currency": s.currency,
            "lines": s.rows,
        }
        for what, spends in (("service", bill.services), ("vendor", bill.vendors))
        for s in sorted(spends, key=lambda s: (s.start, s.amount), reverse=True)
    ]


def _spend_items(inventory: Inventory) -> list[Row]:
    items = [(s.service, i) for s in inventory.spend_items for i in s.items]
    return [
        {
            "service": service,
            "item": i.item,
            "amount": exact(i.cost),
            "currency": inventory.currency,
            "quantity": None if i.quantity is None else exact(i.quantity),
            "unit": i.unit,
        }
        for service, i in sorted(items, key=lambda x: (-x[1].cost, x[0], x[1].item))
    ]


def _network(inventory: Inventory) -> list[Row]:
    return [
        {
            "month": f"{t.start:%Y-%m}",
            "vendor": t.vendor,
            "account": t.account,
            "service": t.service,
            "route": t.kind.value,
            "from": t.origin,
            "to": t.destination,
            "amount": exact(t.amount),
            "currency": t.currency,
            "gigabytes": None if t.gigabytes is None else exact(round(t.gigabytes, 6)),
            "lines": t.rows,
            "unmeasured": t.unmeasured,
        }
        for t in sorted(
            inventory.network.transfers, key=lambda t: (t.start, t.amount), reverse=True
        )
    ]


def _gravity(inventory: Inventory) -> list[Row]:
    names = {r.id: r.name for r in inventory.resources}
    rows = [row_of(w, names) for w in inventory.gravity]
    return sorted(rows, key=lambda r: (r["amount"] is None, Decimal(r["amount"] or 0)))


def _reconciliation(inventory: Inventory) -> list[Row]:
    held = inventory.reconciliation
    rows = [
        {**finding_row(f), "kind": kind}
        for kind, findings in (
            ("billed not found", held.billed_not_found),
            ("found not billed", held.found_not_billed),
            ("not judged", held.not_judged),
        )
        for f in findings
    ]
    return _named(inventory, rows)


def _ownership(inventory: Inventory) -> list[Row]:
    bill = inventory.bill
    return [
        {
            "tag": s.key,
            "state": s.state.value,
            "value": s.value,
            "month": f"{s.start:%Y-%m}",
            "amount": exact(s.amount),
            "currency": s.currency,
            "count": s.count,
        }
        for s in ([] if bill is None else spend_by_tag(inventory.resources, bill))
    ]


def _named(inventory: Inventory, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return findings with the name of what they are about, where it was seen."""
    names = {r.id: r.name for r in inventory.resources if r.name not in ("", r.id)}

    def told(match: re.Match[str]) -> str:
        return f"{names[match[0]]} ({match[0]})" if match[0] in names else match[0]

    return [
        {
            "kind": row["kind"],
            "name": names.get(str(row["resource"]), ""),
            **row,
            "sentence": _WORD.sub(told, str(row["sentence"])),
        }
        for row in rows
    ]


def _resources(inventory: Inventory) -> list[Row]:
    seen_by = {r.id: part.collector for part in inventory.collected for r in part.resources}
    return [
        {
            "kind": r.kind,
            "name": r.name,
            "account": r.account,
            "region": r.region or "all",
            "app": r.tags.get("app", ""),
            "owner": r.tags.get("owner", ""),
            "size_bytes": r.size_bytes,
            "type": str(r.facts.get("type", "")),
            "id": r.id,
            "collector": seen_by.get(r.id, ""),
            "tags": dict(r.tags),
            "facts": dict(r.facts),
        }
        for r in sorted(inventory.resources, key=lambda r: (r.kind, r.name, r.id))
    ]


def _edges(inventory: Inventory) -> list[Row]:
    names = {r.id: r.name for r in inventory.resources}
    return [
        {
            "from": name_of_node(e.from_id, names),
            "to": name_of_node(e.to_id, names),
            "kind": str(e.kind),
            "source": e.source,
            "confidence": e.confidence,
            "last_seen": None if e.last_seen is None else e.last_seen.isoformat(),
            "from_id": e.from_id,
            "to_id": e.to_id,
        }
        for e in inventory.edges
    ]


def _waves(inventory: Inventory) -> list[Row]:
    plan = inventory.waves
    if plan is None:
        return []
    moving = [
        {
            "wave": str(w.number),
            "criticality": w.criticality.word,
            "name": p.name,
            "reason": p.reason,
            "wave_reason": w.reason,
            "id": p.id,
        }
        for w in plan.waves
        for p in w.positions
    ]
    staying = [
        {
            "wave": STAYS,
            "criticality": "",
            "name": p.name,
            "reason": p.reason,
            "wave_reason": "",
            "id": p.id,
        }
        for p in plan.staying
    ]
    return [*moving, *staying]


def _lock_in(inventory: Inventory) -> list[Row]:
    return [
        {
            "kind": h.kind.value,
            "provider": h.provider,
            "api": h.api,
            "repository": h.repository,
            "file": h.file,
            "line": h.line,
            "site": h.site.value,
            "behind": h.behind,
            "effort": h.effort.value,
            "reason": h.reason,
            "text": h.text,
        }
        for h in (inventory.lock_in.hits if inventory.lock_in else ())
    ]


def _ai_need(inventory: Inventory) -> list[Row]:
    return [
        {
            "subject": c.subject,
            "owner": c.owner,
            "score": None if c.score is None else round(c.score, 4),
            "coverage": round(c.coverage, 4),
            "signal": s.name,
            "found": s.found,
            "evidence": s.evidence,
            "ask": "" if s.found is not None else s.ask,
        }
        for c in inventory.candidates
        for s in c.signals
    ]


def _bill_quality(inventory: Inventory) -> list[Row]:
    return [
        {
            "kind": d.kind,
            "subject": d.subject,
            "lines": d.count,
            "of": d.of,
            "amount": None if d.amount is None else exact(d.amount),
            "currency": d.currency,
            "sentence": d.sentence,
        }
        for d in (inventory.bill.defects if inventory.bill else ())
    ]


def _collectors(inventory: Inventory) -> list[Row]:
    return [
        {
            "collector": c.collector,
            "account": c.account,
            "region": c.region or "all",
            "outcome": c.outcome.value,
            "resources": len(c.resources),
            "calls": c.calls,
            "not_seen": c.missed,
        }
        for c in inventory.looked
    ]
