"""Read bills of any format with DuckDB into exact values. Prefect is not needed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from qafila.audit.bills.formats import CUR_1, CUR_2
from qafila.audit.bills.line_columns import amount_columns
from qafila.audit.bills.model import Bill, BilledItem, Commitments, Period, Spend
from qafila.audit.bills.network_lines import network_spends, read_ledger
from qafila.audit.bills.overlap import refuse_double_counting
from qafila.audit.bills.quality import find_defects
from qafila.audit.bills.relation import OpenBill, open_bill
from qafila.audit.bills.tag_costs import tagged_spends
from qafila.audit.network_cost.ledger import Ledger
from qafila.errors import BadInput


def read_bill(
    paths: str | Path | Sequence[str | Path], *, s3: Any = None, details: bool = True
) -> Bill:
    """Return one bill, in one file or several, with all its amounts, `Decimal` throughout.

    All totals come from one scan over the lines. ``details``: with the network routes and what
    each resource was billed, whose memory grows with the resources; without, only the totals.
    ``s3``: a boto3 client for paths like ``s3://bucket/key``.

    Raises:
        BadInput: a file is missing, cut, no bill we know, lacks a column, has lines whose amount,
            currency or period cannot be read (says how many), or two files hold the same lines.
    """
    with open_bill(paths, s3=s3) as bill:
        return read_open(bill, details=details)


def read_open(bill: OpenBill, *, details: bool = True) -> Bill:
    """Return the values of a bill that is open already; see ``read_bill``."""
    refuse_double_counting(bill)
    bill.rows("spend")
    _refuse_unreadable(bill)
    places = bill.keep_every_digit()
    defects, doubted = find_defects(bill, places)
    periods = tuple(Period(*row) for row in bill.rows("periods"))
    ledger = read_ledger(bill) if details else Ledger()
    return Bill(
        name=bill.name,
        format=bill.format,
        rows=sum(p.rows for p in periods),
        issuers=tuple(str(row[0]) for row in bill.rows("issuers")),
        periods=periods,
        services=_spends(bill, "services"),
        vendors=_spends(bill, "vendors"),
        network=network_spends(ledger),
        items=_items(bill) if details else (),
        defects=defects,
        categories=_spends(bill, "categories"),
        commitments=_commitments(bill, doubted),
        ledger=ledger,
        tagged=tagged_spends(bill) if details else (),
    )


def _refuse_unreadable(bill: OpenBill) -> None:
    rows, amounts, periods, currencies = bill.rows("unreadable")[0]
    names = {s.format: amount_columns(s.format) for s in bill.sources}
    columns = {
        "BilledCost": " or ".join(
            sorted({s.columns.find(*names[s.format]) or "" for s in bill.sources})
        ),
        "BillingPeriodStart": _own(bill, "BillingPeriodStart", "the date of their period"),
        "BillingCurrency": _own(bill, "BillingCurrency", "currency"),
    }
    counts = (amounts, periods, currencies)
    problems = [
        f"{count} of {rows} lines have no {column} that can be read"
        for column, count in zip(columns.values(), counts, strict=True)
        if count
    ]
    if not rows:
        problems.append("it has no lines")
    if problems:
        raise BadInput(
            f"the bill {bill.name} cannot be added up:",
            problems,
            remedy="export it again: amounts with a decimal point, dates as ISO 8601.",
        )


def _own(bill: OpenBill, focus: str, otherwise: str) -> str:
    """Return the column's name where all files are FOCUS or AWS, else what it means in words."""
    if all(s.format.startswith("FOCUS") for s in bill.sources):
        return focus
    if focus == "BillingPeriodStart" and all(s.format in (CUR_1, CUR_2) for s in bill.sources):
        names = {s.columns.find("bill/BillingPeriodStartDate") or "" for s in bill.sources}
        return " or ".join(sorted(names))
    return otherwise


def _spends(bill: OpenBill, name: str) -> tuple[Spend, ...]:
    return tuple(Spend(*row) for row in bill.rows(name))


def _commitments(bill: OpenBill, doubted: frozenset[str]) -> tuple[Commitments, ...]:
    """Return billed beside amortised; not known where the effective cost is rounded."""
    found = (Commitments(*row) for row in bill.rows("commitments"))
    return tuple(
        replace(c, amortised=None, used=None) if c.currency in doubted or c.amortised is None else c
        for c in found
    )


def _items(bill: OpenBill) -> tuple[BilledItem, ...]:
    found: dict[tuple[str, str], tuple[str, str, dict[date, Decimal]]] = {}
    for resource, service, region, currency, start, amount in bill.rows("items"):
        entry = found.setdefault((resource, currency), (service, region, {}))
        entry[2][start] = amount
    return tuple(
        BilledItem(resource, service, region, currency, amounts)
        for (resource, currency), (service, region, amounts) in found.items()
    )
