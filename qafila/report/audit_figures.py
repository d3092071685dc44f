"""The eight figures at the head of the audit's first page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from qafila.audit.inventory.phrases import percent
from qafila.audit.inventory.tables import STAYS
from qafila.report.audit_facts import AuditFacts
from qafila.report.audit_wording import listed, month_of, signed
from qafila.text.figures import money, number


@dataclass(frozen=True)
class Figure:
    """One number, with what it means in a few words."""

    name: str
    value: str
    note: str
    known: bool = True


def figures(facts: AuditFacts) -> tuple[Figure, ...]:
    """Return what an audit comes to; what nobody looked at is not known, and never zero."""
    return (
        _spend(facts),
        _network(facts),
        _found(facts),
        _seen(facts),
        _moves(facts),
        _need(facts),
        _bound(facts),
        _changed(facts),
    )


def _spend(facts: AuditFacts) -> Figure:
    body = facts.body
    if body.get("spend_total") is None:
        return Figure("Spend", "not known", "no bill was read", known=False)
    month, currency = body.get("period"), body.get("currency")
    besides = [
        f"{money(p.get('amount'))} {p.get('currency')}"
        for p in body.get("periods") or []
        if p.get("period") == month and p.get("currency") != currency
    ]
    note = month_of(facts)
    if besides:
        note += f"; besides {', '.join(besides)}, added to nothing"
    return Figure("Spend", f"{money(body['spend_total'])} {currency}", note)


def _network(facts: AuditFacts) -> Figure:
    body = facts.body
    share = body.get("network_share")
    if share is None:
        read = body.get("spend_total") is not None
        why = "no usage was billed" if read else "no bill was read"
        return Figure("Network", "not known", why, known=False)
    routes = [
        r
        for r in facts.rows("network")
        if r.get("month") == body.get("period") and r.get("currency") == body.get("currency")
    ]
    top = max(routes, key=lambda r: Decimal(str(r.get("amount") or 0)), default=None)
    note = (
        "of usage; no route stands out"
        if top is None
        else (
            f"of usage; most: {top.get('route')}, {money(top.get('amount'))} {top.get('currency')}"
        )
    )
    return Figure("Network", percent(share, 1), note)


def _found(facts: AuditFacts) -> Figure:
    counts = facts.body.get("counts") or {}
    parts = [
        f"{number(counts[key])} {words}"
        for key, words in (
            ("billed_not_found", "billed but not found"),
            ("found_not_billed", "found but not billed"),
            ("findings", "other findings"),
        )
        if counts.get(key)
    ]
    total = sum(counts.get(k) or 0 for k in ("billed_not_found", "found_not_billed", "findings"))
    return Figure("To look at", number(total), "; ".join(parts) or "nothing stands out")


def _seen(facts: AuditFacts) -> Figure:
    places = facts.body.get("collectors") or {}
    states = Counter({**places, **(facts.body.get("read") or {})}.values())
    gaps = ", ".join(f"{n} {state}" for state, n in sorted(states.items()) if state != "complete")
    complete, whole = states.get("complete", 0), sum(states.values())
    note = f"{complete} of {whole} sources complete" + (f"; {gaps}" if gaps else "")
    if not places:
        return Figure(
            "Seen", "not known", f"no account, cluster or database was read; {note}", known=False
        )
    return Figure("Seen", f"{number(facts.body.get('resources'))} resources", note)


def _moves(facts: AuditFacts) -> Figure:
    rows = [r for r in facts.rows("waves") if r.get("wave") not in (None, "", STAYS)]
    if not rows:
        return Figure("Waves", "not known", "nothing that could move was seen", known=False)
    waves = {str(r["wave"]) for r in rows}
    earliest = min(waves, key=lambda w: (len(w), w))
    first = [str(r.get("name")) for r in rows if str(r["wave"]) == earliest]
    return Figure("Waves", number(len(waves)), f"first: {listed(first, 3)}")


def _need(facts: AuditFacts) -> Figure:
    found = facts.body.get("ai_need") or []
    if not found:
        return Figure("AI candidates", "0", "no workload shows a signal")
    scored = [c for c in found if c.get("score") is not None]
    asked = sum(len(c.get("ask") or []) for c in found)
    note = f"{len(scored)} with a score, {len(found) - len(scored)} without yet"
    return Figure(
        "AI candidates",
        number(len(found)),
        f"{note}; {number(asked)} questions open" if asked else note,
    )


def _bound(facts: AuditFacts) -> Figure:
    scanned = facts.body.get("lock_in")
    if not scanned:
        return Figure("Lock-in", "not known", "no code was named to look into", known=False)
    parts = [
        f"{s.get('provider')} ({s.get('kind')}, effort {s.get('effort')})"
        for s in scanned.get("summary") or []
    ]
    note = listed(parts, 3) if parts else f"nothing in {number(scanned.get('files'))} files"
    return Figure("Lock-in", f"{number(scanned.get('hits'))} places", note)


def _changed(facts: AuditFacts) -> Figure:
    found = facts.body.get("difference")
    if not found:
        return Figure("Changed", "first audit", "nothing to compare with yet", known=False)
    things = sum(found.get(k) or 0 for k in ("new", "gone", "changed"))
    spend = found.get("spend")
    if spend is None:
        note = "spend was not compared"
    else:
        change = Decimal(spend["after"]) - Decimal(spend["before"])
        note = f"spend {signed(change)} {found.get('currency')}" if change else "spend unchanged"
    if unseen := found.get("not_judged"):
        note += f"; {number(unseen)} not judged"
    return Figure("Changed", f"{number(things)} things", note)
