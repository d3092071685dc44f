"""Pairs whose traffic crosses availability zones, and what it would cost if one end moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from qafila.audit.bills.model import money
from qafila.audit.bills.reconciliation import Finding
from qafila.audit.dependencies.kinds import name_of_node
from qafila.audit.network_cost.gravity import Asked, WhatIf
from qafila.audit.network_cost.places import ONE_ZONE, Flow
from qafila.decision.network_kinds import Kind

_LEAST = Decimal(1)  # a month; below it nobody moves anything
_MOST = 3


def costly_pairs(gravity: Iterable[WhatIf], names: Mapping[str, str]) -> list[Finding]:
    """Return the pairs that pay most for crossing zones, each with the move that saves most.

    ``names``: of resources by id. Amounts are measured bytes at list price, not what was billed.
    """
    best: dict[tuple[str, str], WhatIf] = {}
    for row in gravity:
        change = row.change
        if row.asked is not Asked.TOGETHER or _is_a_route(row.flow):
            continue
        if row.before.route is not Kind.CROSS_ZONE or change is None or -change < _LEAST:
            continue
        pair = (row.flow.from_id, row.flow.to_id)
        known = best.get(pair)
        if known is None or change < (known.change or 0):
            best[pair] = row
    dearest = sorted(best.values(), key=lambda r: (r.change, r.flow.from_id, r.flow.to_id))
    return [_finding(row, names) for row in dearest[:_MOST]]


def _is_a_route(flow: Flow) -> bool:
    """Tell whether this is a route of the bill, which names no pair: a finding of its own."""
    return flow.origin is not None and (flow.origin.zone or "").startswith(ONE_ZONE)


def _finding(row: WhatIf, names: Mapping[str, str]) -> Finding:
    start, end = (name_of_node(n, names) for n in (row.flow.from_id, row.flow.to_id))
    moved = name_of_node(row.move.id, names)
    before, after, currency = row.before.amount, row.after.amount, row.before.currency
    assert before is not None
    assert after is not None
    return Finding(
        "cross-AZ pair",
        f"{start} → {end}",
        f"{start} and {end} talk across availability zones: {money(before, currency)} a month by "
        f"flow logs and list price; with {moved} in {_where(row)}: {money(after, currency)}",
        round(before, 6),
        currency,
    )


def _where(row: WhatIf) -> str:
    return row.move.to.zone or str(row.move.to)
