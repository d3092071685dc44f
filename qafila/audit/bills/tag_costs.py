"""What a bill costs by the tags on its own lines, for an audit that sees no account."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import date
from decimal import Decimal

from qafila.audit.bills.relation import OpenBill
from qafila.audit.bills.tags import KEYS, Tagged, TaggedSpend, value_of
from qafila.text.exact_sum import add_up


def tagged_spends(bill: OpenBill) -> tuple[TaggedSpend, ...]:
    """Return every month by owner and app as the lines' tags say; each key adds up to the month.

    Tags that are no JSON object of texts, nor a list of keys and values, are read as far as they
    are one: the rest is untagged.
    """
    found: defaultdict[tuple[str, Tagged, str, str, date], list[tuple[Decimal, int]]]
    found = defaultdict(list)
    for currency, start, tags, amount, lines in bill.rows("tag_sets"):
        read = _tags(tags)
        for key in KEYS:
            value = value_of(read, key)
            state = Tagged.TAGGED if value else Tagged.UNTAGGED
            found[key, state, value, currency, start].append((amount, lines))
    spends = [
        TaggedSpend(*row, add_up(a for a, _ in parts), sum(n for _, n in parts))
        for row, parts in found.items()
    ]
    return tuple(
        sorted(spends, key=lambda s: (s.currency, s.start, s.key, -s.amount, s.state, s.value))
    )


def _tags(text: str | None) -> dict[str, str]:
    try:
        read = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    if isinstance(read, list):  # Google Cloud: [{"key": …, "value": …}]
        read = {
            t["key"]: t.get("value")
            for t in read
            if isinstance(t, dict) and isinstance(t.get("key"), str)
        }
    return {k: v for k, v in read.items() if isinstance(v, str)} if isinstance(read, dict) else {}
