"""Read the network ledger of a bill: classified by the database, added up in ``network_cost``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import date
from decimal import Decimal
from importlib.resources import files

from qafila.audit.bills.model import Spend
from qafila.audit.bills.relation import OpenBill
from qafila.audit.network_cost.ledger import (
    OTHER_ACCOUNTS,
    Charge,
    Ledger,
    Talker,
    gigabytes_of,
    ledger_of,
)
from qafila.audit.network_cost.rules import case_expression
from qafila.decision.egress import Tariffs, parse_tariffs
from qafila.decision.network_kinds import Kind
from qafila.sql import statement
from qafila.text.exact_sum import add_up

MOST_TALKERS = 50  # of each kind and month
MOST_ACCOUNTS = 200  # of all; the others are one account together


def read_ledger(bill: OpenBill) -> Ledger:
    """Return the network ledger of bills that are open; reads the lines up to three times.

    Accounts are told apart: the 200 that pay most for the network by name, the others as one.

    Raises:
        BadInput: a file cannot be read to its end.
    """
    bill.query(statement("network", "said").replace("{kind}", case_expression()))
    if not bill.query("SELECT 1 FROM network_said LIMIT 1"):
        return Ledger()
    ledger = ledger_of(
        Charge(
            currency,
            start,
            category or "not named",
            vendor or "not named",
            service,
            region,
            usage_type,
            text,
            unit,
            from_region,
            to_region,
            Kind(kind),
            amount,
            quantity,
            measured,
            lines,
            account,
        )
        for (
            currency,
            start,
            category,
            vendor,
            account,
            service,
            region,
            usage_type,
            text,
            unit,
            from_region,
            to_region,
            kind,
            amount,
            quantity,
            measured,
            lines,
        ) in bill.query(
            statement("network", "transfers")
            .replace("$most", str(MOST_ACCOUNTS))
            .replace("$others", OTHER_ACCOUNTS)
        )
    )
    return replace(ledger, talkers=_talkers(bill))


def _talkers(bill: OpenBill) -> tuple[Talker, ...]:
    """Return who paid most; a resource billed in two units is added up in GB."""
    amounts: defaultdict[tuple[str, date, str, Kind], Decimal] = defaultdict(Decimal)
    volumes: dict[tuple[str, date, str, Kind], Decimal] = {}
    rows = bill.query(statement("network", "talkers").replace("$most", str(MOST_TALKERS)))
    for currency, start, resource, kind, unit, amount, quantity in rows:
        key = (currency, start, resource, Kind(kind))
        amounts[key] = add_up((amounts[key], amount))
        gigabytes = None if quantity is None else gigabytes_of(quantity, unit)
        if gigabytes is not None and key[3].by_bytes:
            volumes[key] = volumes.get(key, Decimal(0)) + gigabytes
    return tuple(Talker(*key, amount, volumes.get(key)) for key, amount in sorted(amounts.items()))


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
        Spend(*key, add_up(a for a, _ in found), sum(r for _, r in found))
        for key, found in sorted(amounts.items())
    )
