"""Read the network ledger of a bill: classified by the database, added up in the core."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from importlib.resources import files

from qafila.core.bills import Spend
from qafila.core.egress import Tariffs, parse_tariffs
from qafila.core.network import Charge, Kind, Ledger, ledger_of
from qafila.core.network.rules import case_expression
from qafila.sql import statement
from tasks.bills.relation import OpenBill


def read_ledger(bill: OpenBill) -> Ledger:
    """Return the network ledger of bills that are open; reads every line once.

    Raises:
        BadInput: a file cannot be read to its end.
    """
    query = statement("network", "transfers").replace("{kind}", case_expression())
    return ledger_of(
        Charge(
            currency, start, category or "not named", vendor or "not named", service, region,
            usage_type, text, unit, from_region, to_region, Kind(kind), amount, quantity,
            measured, lines,
        )
        for (
            currency, start, category, vendor, service, region, usage_type, text, unit,
            from_region, to_region, kind, amount, quantity, measured, lines,
        ) in bill.query(query)
    )  # fmt: skip


def load_tariffs() -> Tariffs:
    """Return the prices of moving bytes that ship with this version.

    Raises:
        BadInput: a row cannot be used.
    """
    return parse_tariffs((files("qafila.data") / "egress.toml").read_text())


def network_spends(ledger: Ledger) -> tuple[Spend, ...]:
    """Return what was paid for moving bytes, by kind and month: the network side of a bill.

    Hours of gateways and endpoints are left out: they cost the same when nothing moves.
    """
    amounts: defaultdict[tuple[str, date, str], list[tuple[Decimal, int]]] = defaultdict(list)
    for transfer in ledger.transfers:
        if transfer.kind.by_bytes:
            amounts[transfer.currency, transfer.start, transfer.kind.value].append(
                (transfer.amount, transfer.rows)
            )
    return tuple(
        Spend(*key, sum((a for a, _ in found), Decimal(0)), sum(r for _, r in found))
        for key, found in sorted(amounts.items())
    )
