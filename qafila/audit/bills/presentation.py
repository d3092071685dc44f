"""A bill as one JSON document and as lines for a terminal; every amount as exact text."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from qafila.audit.bills.model import Bill, Spend, exact, money
from qafila.text.exact_sum import add_up

_SHOWN = 8


def as_data(bill: Bill) -> dict[str, Any]:
    """Return the document that ``qafila bills --json`` prints.

    ``billed_total`` maps each currency to its exact sum; amounts of different currencies never
    meet. Amounts are strings of plain digits, in the currency they stand under; ``closed`` is
    null where the format cannot tell.
    """
    return {
        "bill": bill.name,
        "format": bill.format,
        "rows": bill.rows,
        "billed_total": {c: exact(bill.total(c)) for c in bill.currencies},
        "currencies": {c: _currency(bill, c) for c in bill.currencies},
        "periods": [
            {
                "period": p.month,
                "start": p.start.isoformat(),
                "currency": p.currency,
                "billed_total": exact(p.amount),
                "usage": exact(p.usage),
                "rows": p.rows,
                "state": p.state,
                "closed": p.closed,
            }
            for p in bill.periods
        ],
        "commitments": [
            {
                "period": f"{c.start:%Y-%m}",
                "currency": c.currency,
                "billed": exact(c.billed),
                "amortised": _known(c.amortised),
                "purchased": exact(c.purchased),
                "used": _known(c.used),
                "rows": c.rows,
            }
            for c in bill.commitments
        ],
        "defects": [
            {
                "kind": d.kind,
                "count": d.count,
                "of": d.of,
                "subject": d.subject,
                "amount": _known(d.amount),
                "currency": d.currency,
                "sentence": d.sentence,
            }
            for d in bill.defects
        ],
        "issuers": list(bill.issuers),
    }


def _currency(bill: Bill, currency: str) -> dict[str, Any]:
    months: dict[str, dict[str, Decimal]] = {}
    for spend in bill.services:
        if spend.currency == currency:
            month = months.setdefault(f"{spend.start:%Y-%m}", {})
            month[spend.subject] = add_up((month.get(spend.subject, Decimal(0)), spend.amount))
    parts = {
        "vendor": bill.vendors,
        "service": bill.services,
        "category": bill.categories,
        "month": tuple(Spend(p.currency, p.start, p.month, p.amount, p.rows) for p in bill.periods),
    }
    sums = {name: bill.sums(spends, currency) for name, spends in parts.items()}
    return {
        "billed_total": exact(bill.total(currency)),
        "rows": sum(p.rows for p in bill.periods if p.currency == currency),
        **{f"by_{name}": {k: exact(a) for k, (a, _) in s.items()} for name, s in sums.items()},
        "by_month_and_service": {
            month: {k: exact(a) for k, a in services.items()} for month, services in months.items()
        },
        **{f"rows_by_{name}": {k: rows for k, (_, rows) in s.items()} for name, s in sums.items()},
    }


def as_lines(bill: Bill) -> list[tuple[str, str]]:
    """Return the screen: a label and a text a line; an empty label goes on with the one before."""
    lines = [("bill", f"{bill.name} · {bill.format} · {bill.rows:,} lines")]
    if "synthetic" in bill.issuers:
        lines.append(("", "it says of itself that it is synthetic"))
    for currency in bill.currencies:
        lines.append((currency, f"{exact(bill.total(currency))} billed"))
        lines += [
            ("" if n else "months", f"{p.month}  {money(p.amount, currency)}  {p.state}")
            for n, p in enumerate(p for p in bill.periods if p.currency == currency)
        ]
        for label, spends in (
            ("vendors", bill.vendors),
            ("services", bill.services),
            ("charges", bill.categories),
        ):
            lines += _largest(bill, label, spends, currency)
        for c in bill.commitments:
            if c.currency == currency and c.rows:
                amortised = (
                    "amortised not known"
                    if c.amortised is None
                    else f"{money(c.amortised, currency)} amortised"
                )
                lines.append(
                    (
                        "commitments",
                        f"{c.start:%Y-%m}  {money(c.billed, currency)} billed, {amortised}; "
                        f"{money(c.purchased, currency)} paid for commitments",
                    )
                )
    lines += [
        ("" if n else "defects", ("! " if d.kind in _GRAVE else "  ") + d.sentence)
        for n, d in enumerate(bill.defects)
    ] or [("defects", "none found")]
    return lines


# Those that change a sum, or what may be concluded from one.
_GRAVE = frozenset(
    {
        "rounded-amounts",
        "rounded-column",
        "duplicate-lines",
        "missing-days",
        "amortised-export",
        "renamed-column",
        "unknown-category",
        "negative-usage",
    }
)


def _largest(
    bill: Bill, label: str, spends: Sequence[Spend], currency: str
) -> list[tuple[str, str]]:
    sums = list(bill.sums(spends, currency).items())
    lines = [
        (
            "" if n else label,
            f"{money(amount, currency)}  {name}  ({rows:,} line{'' if rows == 1 else 's'})",
        )
        for n, (name, (amount, rows)) in enumerate(sums[:_SHOWN])
    ]
    if rest := sums[_SHOWN:]:
        amount = add_up(a for _, (a, _) in rest)
        lines.append(("", f"{money(amount, currency)}  {len(rest)} more"))
    return lines


def _known(amount: Decimal | None) -> str | None:
    return None if amount is None else exact(amount)
