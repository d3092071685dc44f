"""What a month cost by tag: who owns it, and how much nobody does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal

from qafila.audit.bills.billed_resources import FoundResources
from qafila.audit.bills.model import Bill, BilledItem
from qafila.audit.bills.tags import Tagged, TaggedSpend, value_of
from qafila.audit.estate import Resource
from qafila.text.exact_sum import add_up


def spend_by_tag(
    resources: Iterable[Resource],
    bills: Bill | Sequence[Bill],
    keys: Sequence[str] = ("owner", "app"),
) -> list[TaggedSpend]:
    """Return every currency's reference period by each tag, the dearest first within a key.

    For each key, bill and currency the rows add up to the period's amount exactly: what the bill
    names no resource for is a row of its own. Where nothing that is billed was found in an
    account (an audit from a bill alone), the tags are those on the bill's own lines.
    """
    given = [bills] if isinstance(bills, Bill) else list(bills)
    rows = _by_account(resources, given, keys)
    if not any(r.state in (Tagged.TAGGED, Tagged.UNTAGGED) for r in rows):
        told = [s for bill in given for s in bill.tagged if s.key in keys and _current(bill, s)]
        rows = told or rows
    return sorted(rows, key=lambda s: (s.currency, s.start, s.key, -s.amount, s.state, s.value))


def _current(bill: Bill, spend: TaggedSpend) -> bool:
    period = bill.reference_period(spend.currency)
    return period is not None and period.start == spend.start


def _by_account(
    resources: Iterable[Resource], bills: Sequence[Bill], keys: Sequence[str]
) -> list[TaggedSpend]:
    found = FoundResources(resources)
    sums: defaultdict[tuple[str, Tagged, str, str, date], Decimal] = defaultdict(Decimal)
    counts: defaultdict[tuple[str, Tagged, str, str, date], set[str]] = defaultdict(set)
    for bill in bills:
        for currency in bill.currencies:
            period = bill.reference_period(currency)
            if period is None:
                continue
            for key in keys:
                left = period.amount
                for item in bill.items:
                    amount = item.in_period(period.start)
                    if item.currency != currency or not amount:
                        continue
                    row = (key, *_state(found, item, key), currency, period.start)
                    sums[row] = add_up((sums[row], amount))
                    counts[row].add(item.resource_id)
                    left = add_up((left, amount.copy_negate()))  # "-" would round
                row = (key, Tagged.NO_RESOURCE, "", currency, period.start)
                sums[row] = add_up((sums[row], left))
    return [
        TaggedSpend(*row, amount, len(counts[row]))
        for row, amount in sums.items()
        if amount or counts[row]
    ]


def _state(found: FoundResources, item: BilledItem, key: str) -> tuple[Tagged, str]:
    resource = found.the_one_called(item.resource_id, item.service)
    if resource is None:
        return Tagged.NOT_FOUND, ""
    value = value_of(resource.tags, key)
    return (Tagged.TAGGED, value) if value else (Tagged.UNTAGGED, "")
