"""The audit's tables: plain rows by name, the same in the ledger, in artifacts and in an export.

A row holds text, whole numbers, true or false, or nothing; money is exact text beside its currency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qafila.core.bills import exact
from qafila.core.inventory.body import finding_row
from qafila.core.inventory.difference import Difference
from qafila.core.inventory.storable import storable
from qafila.core.inventory.whole import Inventory

Row = dict[str, Any]

# Every table with what it is, in the order of the report.
ABOUT: Mapping[str, str] = {
    "spend": "The bill by month, service and vendor; amounts are exact.",
    "network": "What moving bytes cost, by month and route.",
    "reconciliation": "The bill held against the account: billed and not found, found and not "
    "billed, and where it could not be judged.",
    "findings": "What a person should look at, with what it was billed.",
    "resources": "Everything that was seen.",
    "edges": "What hangs together: kind, where we know it from, how sure we are (0 to 1).",
    "waves": "The order in which things can move, with the reason for each position.",
    "ai_need": "Who will need AI within 12 months: one row a signal, or the question that is open.",
    "lock_in": "Where code calls a vendor's own API, by file and line.",
    "bill_quality": "What is wrong with the bill itself.",
    "collectors": "How far each collector came, and what it could not see.",
    "difference": "What changed since the last audit.",
}


def tables(inventory: Inventory, difference: Difference | None = None) -> dict[str, list[Row]]:
    """Return every table by its name in ``ABOUT``; an empty one has no rows."""
    made = {
        "spend": _spend(inventory),
        "network": _network(inventory),
        "reconciliation": _reconciliation(inventory),
        "findings": _named(inventory, [finding_row(f) for f in inventory.to_look_at]),
        "resources": _resources(inventory),
        "edges": _edges(inventory),
        "waves": [],
        "ai_need": _ai_need(inventory),
        "lock_in": [],
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
        {"month": f"{s.start:%Y-%m}", "state": states.get((s.currency, s.start), "not known"),
         "what": what, "name": s.subject, "amount": exact(s.amount), "currency": s.currency,
         "lines": s.rows}
        for what, spends in (("service", bill.services), ("vendor", bill.vendors))
        for s in spends
    ]  # fmt: skip


def _network(inventory: Inventory) -> list[Row]:
    return [
        {"month": f"{s.start:%Y-%m}", "route": s.subject, "amount": exact(s.amount),
         "currency": s.currency, "lines": s.rows}
        for s in (inventory.bill.network if inventory.bill else ())
    ]  # fmt: skip


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


def _named(inventory: Inventory, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return findings with the name of what they are about, where it was seen."""
    names = {r.id: r.name for r in inventory.resources}
    return [
        {"kind": row["kind"], "name": names.get(str(row["resource"]), ""), **row} for row in rows
    ]


def _resources(inventory: Inventory) -> list[Row]:
    seen_by = {r.id: part.collector for part in inventory.collected for r in part.resources}
    return [
        {"kind": r.kind, "name": r.name, "region": r.region or "all",
         "app": r.tags.get("app", ""), "owner": r.tags.get("owner", ""),
         "size_bytes": r.size_bytes, "type": str(r.facts.get("type", "")), "id": r.id,
         "collector": seen_by.get(r.id, ""), "tags": dict(r.tags), "facts": dict(r.facts)}
        for r in sorted(inventory.resources, key=lambda r: (r.kind, r.name, r.id))
    ]  # fmt: skip


def _edges(inventory: Inventory) -> list[Row]:
    names = {r.id: r.name for r in inventory.resources}
    return [
        {"from": names.get(e.from_id, e.from_id), "to": names.get(e.to_id, e.to_id),
         "kind": e.kind, "source": e.source, "confidence": e.confidence,
         "last_seen": None if e.last_seen is None else e.last_seen.isoformat(),
         "from_id": e.from_id, "to_id": e.to_id}
        for e in inventory.edges
    ]  # fmt: skip


def _ai_need(inventory: Inventory) -> list[Row]:
    return [
        {"subject": c.subject, "owner": c.owner,
         "score": None if c.score is None else round(c.score, 4),
         "coverage": round(c.coverage, 4), "signal": s.name, "found": s.found,
         "evidence": s.evidence, "ask": "" if s.found is not None else s.ask}
        for c in inventory.candidates
        for s in c.signals
    ]  # fmt: skip


def _bill_quality(inventory: Inventory) -> list[Row]:
    return [
        {"kind": d.kind, "subject": d.subject, "lines": d.count, "of": d.of,
         "amount": None if d.amount is None else exact(d.amount), "currency": d.currency,
         "sentence": d.sentence}
        for d in (inventory.bill.defects if inventory.bill else ())
    ]  # fmt: skip


def _collectors(inventory: Inventory) -> list[Row]:
    return [
        {"collector": c.collector, "region": c.region or "all", "outcome": c.outcome.value,
         "resources": len(c.resources), "calls": c.calls, "not_seen": c.missed}
        for c in inventory.looked
    ]  # fmt: skip


def difference_rows(difference: Difference) -> list[Row]:
    """Return all changes as rows: things, spend by service and why, outcomes."""
    rows: list[Row] = [
        {"about": c.kind, "what": c.what, "name": c.name, "id": c.id, "detail": c.detail,
         "before": None, "after": None, "currency": None}
        for c in difference.resources
    ]  # fmt: skip
    for change in difference.spend:
        why = change.why
        parts = [
            f"{word} {exact(amount)}"
            for word, amount in (
                ("price", why.price), ("volume", why.volume), ("mix", why.mix),
                ("new items", why.new_items), ("items gone", why.gone_items),
                ("without quantities", why.unexplained),
            )
            if amount
        ]  # fmt: skip
        rows.append(
            {"about": "spend", "what": "changed", "name": change.service, "id": "",
             "detail": "; ".join(parts), "before": exact(change.before),
             "after": exact(change.after), "currency": difference.currency}
        )  # fmt: skip
    rows += [
        {"about": "collector", "what": "changed", "name": o.collector, "id": o.region,
         "detail": f"{o.before} → {o.now}", "before": None, "after": None, "currency": None}
        for o in difference.outcomes
    ]  # fmt: skip
    return rows


def difference_body(difference: Difference) -> Row:
    """Return the difference in figures, for the evidence: JSON-able, money as exact text."""
    total = difference.spend_total
    return {
        "audit_id": difference.audit_id,
        "at": difference.at,
        **{what.replace(" ", "_"): difference.count(what)
           for what in ("new", "gone", "changed", "not judged")},
        "outcomes": [
            {"collector": o.collector, "region": o.region, "before": o.before, "now": o.now}
            for o in difference.outcomes[:50]
        ],
        "spend_note": difference.spend_note,
        "currency": difference.currency,
        "spend": None if total is None else {
            key: None if amount is None else exact(amount)
            for key, amount in (
                ("before", total.before), ("after", total.after), ("price", total.price),
                ("volume", total.volume), ("mix", total.mix), ("new_items", total.new_items),
                ("gone_items", total.gone_items), ("unexplained", total.unexplained),
            )
        },
    }  # fmt: skip
