"""How the audit's page writes money, shares and long names."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from qafila.audit.inventory.phrases import percent
from qafila.report.audit_facts import AuditFacts, Row
from qafila.text.figures import NOTHING, money, number

_LONGEST = 240
_NAME = 60
_STATES = {"closed": "closed: invoiced", "open": "open: it will still rise"}


def month_of(facts: AuditFacts) -> str:
    """Return the month that figures are for, and whether its invoice was issued."""
    body = facts.body
    month, currency = body.get("period"), body.get("currency")
    if month is None:
        return ""
    states = {
        str(p.get("period")): str(p.get("state"))
        for p in body.get("periods") or []
        if p.get("currency") == currency
    }
    return f"{month}, {state_of(states.get(str(month), ''))}"


def state_of(state: str) -> str:
    """Return in words whether a month is closed."""
    return _STATES.get(state, "whether it is closed is not known")


def part_of(amount: Decimal, total: Decimal) -> str:
    """Return an amount's share of a total."""
    return NOTHING if total <= 0 else percent(float(amount / total))


def short(note: str) -> str:
    """Return a sentence that fits; the tables behind have all of it."""
    return note if len(note) <= _LONGEST else f"{note[:_LONGEST]}…"


def cut(name: str) -> str:
    """Return a name that fits into a column; the tables behind have all of it."""
    return name if len(name) <= _NAME else f"{name[:_NAME]}…"


def amount_of(row: Row) -> str:
    """Return a row's money for a reader; what is not known is a dash, never zero."""
    if row.get("amount") is None:
        return NOTHING
    return f"{money(row['amount'])} {row.get('currency') or ''}".strip()


def signed(amount: Decimal) -> str:
    """Return a change of money with its sign."""
    return f"{amount:+,.2f}"


def listed(names: Sequence[str], most: int) -> str:
    """Return the first few names, and how many more there are.

    A name that is not ASCII stands in an isolate (Unicode UAX 9), so that one written from right
    to left turns nothing beside it around.
    """
    shown = ", ".join(_isolated(cut(name)) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {number(len(names) - most)} more"


def _isolated(name: str) -> str:
    return name if name.isascii() else f"\u2068{name}\u2069"
