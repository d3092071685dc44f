"""The difference between two audits as rows of a table, and in figures for the evidence."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from qafila.audit.bills.model import exact
from qafila.audit.inventory.difference import Difference
from qafila.decision.drift_rules import Decomposition

Row = dict[str, Any]


def difference_rows(difference: Difference) -> list[Row]:
    """Return all changes as rows: things, spend by service and why, outcomes."""
    rows: list[Row] = [
        {
            "about": c.kind,
            "what": c.what,
            "name": c.name,
            "id": c.id,
            "detail": c.detail,
            "before": None,
            "after": None,
            "currency": None,
        }
        for c in difference.resources
    ]
    for change in difference.spend:
        parts = [
            f"{WORDS[part]} {exact(amount)}"
            for part, amount in parts_of(change.why).items()
            if amount
        ]
        rows.append(
            {
                "about": "spend",
                "what": "changed",
                "name": change.service,
                "id": "",
                "detail": "; ".join(parts),
                "before": exact(change.before),
                "after": exact(change.after),
                "currency": difference.currency,
            }
        )
    rows += [
        {
            "about": "collector",
            "what": "changed",
            "name": o.collector,
            "id": o.place,
            "detail": f"{o.before} → {o.now}",
            "before": None,
            "after": None,
            "currency": None,
        }
        for o in difference.outcomes
    ]
    return rows


WORDS = {
    "price": "price",
    "volume": "volume",
    "mix": "mix",
    "new_items": "new items",
    "gone_items": "items gone",
    "unexplained": "without quantities",
}


def parts_of(why: Decomposition) -> dict[str, Decimal | None]:
    """Return the parts of a change, price and volume to six decimals; the mix takes the rest."""
    price, volume, mix = why.price, why.volume, why.mix
    if price is not None and volume is not None and mix is not None:
        rest = price + volume + mix
        price, volume = round(price, 6), round(volume, 6)
        mix = round(rest - price - volume, 20)
    return {
        "price": price,
        "volume": volume,
        "mix": mix,
        "new_items": why.new_items,
        "gone_items": why.gone_items,
        "unexplained": why.unexplained,
    }


def difference_body(difference: Difference) -> Row:
    """Return the difference in figures, for the evidence: JSON-able, money as exact text."""
    total = difference.spend_total
    return {
        "audit_id": difference.audit_id,
        "at": difference.at,
        **{
            what.replace(" ", "_"): difference.count(what)
            for what in ("new", "gone", "changed", "not judged")
        },
        "outcomes": [
            {"collector": o.collector, "region": o.place, "before": o.before, "now": o.now}
            for o in difference.outcomes[:50]
        ],
        "spend_note": difference.spend_note,
        "currency": difference.currency,
        "spend": None
        if total is None
        else {
            key: None if amount is None else exact(amount)
            for key, amount in (
                ("before", total.before),
                ("after", total.after),
                *parts_of(total).items(),
            )
        },
    }
