"""Tags of owners and applications, in any spelling, and what a month cost by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

# Spellings of a tag are one tag: "Owner", "owner" and "user:owner" hardly ever mean three things.
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
    """What one value of one tag cost in a month; never over two currencies.

    ``value`` is the tag's value, empty unless ``state`` is ``TAGGED``. ``count``: of resources
    where the tags were read in the account, of lines where they were read in the bill.
    """

    key: str
    state: Tagged
    value: str
    currency: str
    start: date
    amount: Decimal
    count: int


def value_of(tags: Mapping[str, str], key: str) -> str:
    """Return a tag's value by any of its spellings, the first in :data:`KEYS` first; or empty."""
    lower = {k.lower().removeprefix("aws:").removeprefix("user:"): v for k, v in tags.items()}
    return next((v for name in KEYS.get(key, (key,)) if (v := lower.get(name, "").strip())), "")
