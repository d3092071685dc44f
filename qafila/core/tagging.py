"""What a month cost by tag: who owns it, and how much nobody does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from qafila.core.billed_ids import aliases, tail
from qafila.core.bills import Bill
from qafila.core.estate import Resource
from qafila.core.network.ledger import exact_sum

# Spellings of a tag are one tag: "Owner", "owner" and "aws:owner" hardly ever mean three things.
KEYS: Mapping[str, tuple[str, ...]] = {
    "owner": ("owner", "team", "contact"),
    "app": ("app", "application", "service", "workload", "project"),
}


class Tagged(StrEnum):
    """Whether an amount has an owner: ``NOT_FOUND`` resources have tags that we do not know."""

    TAGGED = "tagged"
    UNTAGGED = "untagged"
    NOT_FOUND = "billed not found"
    NO_RESOURCE = "no resource named"


@dataclass(frozen=True)
class TaggedSpend:
    """What one value of one tag cost in a month, on how many resources; never over two currencies.

    ``value`` is the tag's value, empty unless ``state`` is ``TAGGED``.
    """

    key: str
    state: Tagged
    value: str
    currency: str
    start: date
    amount: Decimal
    resources: int


def value_of(tags: Mapping[str, str], key: str) -> str:
    """Return a tag's value by any of its spellings, the first in :data:`KEYS` first; or empty."""
    lower = {k.lower().removeprefix("aws:").removeprefix("user:"): v for k, v in tags.items()}
    return next((v for name in KEYS.get(key, (key,)) if (v := lower.get(name, "").strip())), "")


def spend_by_tag(
    resources: Iterable[Resource],
    bills: Bill | Sequence[Bill],
    keys: Sequence[str] = ("owner", "app"),
) -> list[TaggedSpend]:
    """Return every currency's reference period by each tag, the dearest first within a key.

    For each key, bill and currency the rows add up to the period's amount exactly: what the bill
    names no resource for is a row of its own.
    """
    by_name: dict[str, Resource] = {}
    twice: set[str] = set()
    for resource in resources:
        for name in aliases(resource):
            if by_name.setdefault(name, resource) is not resource:
                twice.add(name)
    sums: defaultdict[tuple[str, Tagged, str, str, date], Decimal] = defaultdict(Decimal)
    counts: defaultdict[tuple[str, Tagged, str, str, date], set[str]] = defaultdict(set)
    for bill in [bills] if isinstance(bills, Bill) else bills:
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
                    row = (key, *_state(by_name, twice, item.resource_id, key), currency,
                           period.start)  # fmt: skip
                    sums[row] = exact_sum((sums[row], amount))
                    counts[row].add(item.resource_id)
                    left = exact_sum((left, amount.copy_negate()))  # "-" would round
                row = (key, Tagged.NO_RESOURCE, "", currency, period.start)
                sums[row] = exact_sum((sums[row], left))
    return sorted(
        (TaggedSpend(*row, amount, len(counts[row])) for row, amount in sums.items()
         if amount or counts[row]),
        key=lambda s: (s.currency, s.start, s.key, -s.amount, s.state, s.value),
    )  # fmt: skip


def _state(
    by_name: Mapping[str, Resource], twice: set[str], billed_id: str, key: str
) -> tuple[Tagged, str]:
    short = tail(billed_id)
    found = by_name.get(billed_id) or (None if short in twice else by_name.get(short))
    if found is None:
        return Tagged.NOT_FOUND, ""
    value = value_of(found.tags, key)
    return (Tagged.TAGGED, value) if value else (Tagged.UNTAGGED, "")
