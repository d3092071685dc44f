"""Which moves an audit asks about: each pair's ends together, in another region, elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from qafila.audit.bills.model import exact, money
from qafila.audit.dependencies.kinds import name_of_node
from qafila.audit.dependencies.traffic import Traffic
from qafila.audit.estate import Edge, Resource
from qafila.audit.network_cost.flow_price import Cost, Pool, cost_of, without
from qafila.audit.network_cost.flows import flows_of, pool_of, routes_of
from qafila.audit.network_cost.gravity import Asked, WhatIf, price_moves
from qafila.audit.network_cost.ledger import Ledger
from qafila.audit.network_cost.places import THE_INTERNET, Flow, Move, Place, moves_together
from qafila.decision.egress import Tariffs
from qafila.decision.network_kinds import Kind

PARTED = 200  # pairs that are asked about elsewhere: those that exchange most
ASKED = 2_000  # pairs that are asked about at all: those that cost, and that exchange, most
_TOLD = 3
_LEAST = timedelta(hours=1)  # logs of less are taken as of that long

# Regions to ask about, by area: of each vendor the first that a pair does not stand in already.
# Chosen by us: large regions of the same part of the world that the price table knows.
_AREAS: tuple[tuple[tuple[str, ...], Mapping[str, tuple[str, ...]]], ...] = (
    (
        (
            "eu-*",
            "europe-*",
            "uk-*",
            "france*",
            "germany*",
            "italynorth",
            "northeurope",
            "norway*",
            "polandcentral",
            "spaincentral",
            "sweden*",
            "switzerland*",
            "uk*",
            "westeurope",
            "af-*",
            "me-*",
            "il-*",
        ),
        {
            "aws": ("eu-central-1", "eu-west-1", "eu-west-3"),
            "azure": ("germanywestcentral", "westeurope", "northeurope"),
            "gcp": ("europe-west3", "europe-west1", "europe-west9"),
            "oci": ("eu-frankfurt-1", "uk-london-1", "eu-paris-1"),
        },
    ),
    (
        ("us-*", "ca-*", "mx-*", "northamerica-*", "canada*", "*us", "*us2", "*us3", "sa-*"),
        {
            "aws": ("us-east-1", "us-west-2", "us-east-2"),
            "azure": ("eastus", "westus2", "centralus"),
            "gcp": ("us-east4", "us-west1", "us-central1"),
            "oci": ("us-ashburn-1", "us-phoenix-1", "ca-toronto-1"),
        },
    ),
    (
        ("ap-*",),
        {
            "aws": ("ap-southeast-1", "ap-northeast-1", "ap-southeast-2"),
            "oci": ("ap-tokyo-1", "ap-singapore-1", "ap-sydney-1"),
        },
    ),
)


def ask_what_if(
    resources: Iterable[Resource],
    edges: Iterable[Edge],
    traffic: Sequence[Traffic],
    ledger: Ledger,
    month: date | None,
    tariffs: Tariffs,
) -> tuple[WhatIf, ...]:
    """Return what each pair would cost a month if one of its ends stood elsewhere.

    A pair is two resources whose bytes flow logs say, or a route of the bill's ``month`` whose
    volume the ledger knows: from "Amazon EC2 in eu-west-3" to the internet, to another region or
    to another zone. Each end is put where the other one stands; for the 200 pairs that exchange
    most, also into another region of its provider and to each other provider with a price, in the
    same part of the world. Pairs that only an edge joins are asked about together and have no
    figure, where flow logs were read at all. Of more than 2 000 pairs those are asked about that
    cost most today and those that exchange most. Amounts are list prices in the tariffs' currency.
    """
    days = observed_days(traffic)
    flows = [] if days is None else flows_of(resources, edges, traffic, days)
    pool = {} if month is None else pool_of(ledger, month)
    billed = [] if month is None else routes_of(ledger, month)
    period = "" if month is None else f"{month:%Y-%m}"
    flows = _worth_asking(flows, tariffs, pool)
    together = _by_id(moves_together(flows))
    parted = _most(flows) | _most(billed)
    asked = [
        *(
            (f, [*_of_ends(f, together), *(_elsewhere(f, tariffs) if f in parted else ())])
            for f in flows
        ),
        *(
            (f, [*moves_together([f]), *(_elsewhere(f, tariffs) if f in parted else ())])
            for f in billed
        ),
    ]
    return tuple(price_moves(asked, tariffs, pool, period))


def observed_days(traffic: Sequence[Traffic]) -> float | None:
    """Return how many days flow logs cover; None: there are none. Below an hour is an hour."""
    if not traffic:
        return None
    first, last = min(t.first_seen for t in traffic), max(t.last_seen for t in traffic)
    return max(last - first, _LEAST) / timedelta(days=1)


def row_of(row: WhatIf, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a row of the audit's table; money and gigabytes are exact text, None: not known.

    ``names``: of resources by id.
    """
    flow, before, after = row.flow, row.before, row.after
    known = flow.sent_gb is not None and flow.received_gb is not None
    return {
        "from": name_of_node(flow.from_id, names),
        "to": name_of_node(flow.to_id, names),
        "moved": name_of_node(row.move.id, names),
        "where": str(row.move.to),
        "asked": row.asked.value,
        "route_before": _word(before.route),
        "route_after": _word(after.route),
        "gigabytes": _rounded(exchanged(flow)) if known else None,
        "before": _rounded(before.amount),
        "after": _rounded(after.amount),
        "amount": _rounded(row.change),
        "currency": before.currency or after.currency or None,
        "why": row.why,
        "measured": flow.source,
        "period": row.period,
        "assumes": row.assumes,
        "prices": "; ".join(dict.fromkeys((*before.sources, *after.sources))),
    }


def parting(gravity: Iterable[WhatIf], names: Mapping[str, str]) -> list[str]:
    """Return at most three sentences: what the pairs that exchange most would cost apart."""
    by_flow: dict[Flow, list[WhatIf]] = {}
    for row in gravity:
        flow = row.flow
        if row.change is None or THE_INTERNET in (flow.origin, flow.destination):
            continue
        by_flow.setdefault(flow, []).append(row)
    apart = {
        f: told
        for f, rows in by_flow.items()
        if (told := [*_cheapest(rows, Asked.ANOTHER_REGION), *_range(rows, Asked.ANOTHER_PROVIDER)])
    }
    ranked = sorted(apart, key=lambda f: (-exchanged(f), f.from_id, f.to_id))
    return [
        f"{name_of_node(f.from_id, names)} and {name_of_node(f.to_id, names)} exchange "
        f"{exchanged(f):,.1f} GB a month ({f.source}): {_money(by_flow[f][0].before)} today; "
        + "; ".join(apart[f])
        for f in ranked[:_TOLD]
    ]


def exchanged(flow: Flow) -> Decimal:
    """Return the GB of a month in both directions; what was not measured counts as none."""
    return (flow.sent_gb or Decimal(0)) + (flow.received_gb or Decimal(0))


def _worth_asking(flows: Sequence[Flow], tariffs: Tariffs, pool: Pool) -> list[Flow]:
    """Return the flows to ask about, in the order they came in."""
    if len(flows) <= ASKED:
        return list(flows)
    cost = {f: cost_of(f, tariffs, without(pool, f, tariffs)).amount or Decimal(0) for f in flows}
    dearest = sorted(flows, key=lambda f: (-cost[f], f.from_id, f.to_id))[:ASKED]
    largest = sorted(flows, key=lambda f: (-exchanged(f), f.from_id, f.to_id))[:ASKED]
    chosen = {*dearest, *largest}
    return [f for f in flows if f in chosen]


def _most(flows: Sequence[Flow]) -> set[Flow]:
    known = [f for f in flows if exchanged(f) and f.origin is not None and f.destination]
    return set(sorted(known, key=lambda f: (-exchanged(f), f.from_id, f.to_id))[:PARTED])


def _by_id(moves: Iterable[Move]) -> dict[str, list[Move]]:
    found: dict[str, list[Move]] = {}
    for move in moves:
        found.setdefault(move.id, []).append(move)
    return found


def _of_ends(flow: Flow, moves: Mapping[str, Sequence[Move]]) -> Iterator[Move]:
    """Yield the moves of either end: to the other one, and to where its other partners stand."""
    for end in dict.fromkeys((flow.from_id, flow.to_id)):
        yield from moves.get(end, ())


def _elsewhere(flow: Flow, tariffs: Tariffs) -> Iterator[Move]:
    """Yield each end into another region of its vendor, and to every other vendor."""
    stands = {p for p in (flow.origin, flow.destination) if p not in (None, THE_INTERNET)}
    taken = {(p.vendor, p.region) for p in stands if p is not None}
    for end, here in ((flow.from_id, flow.origin), (flow.to_id, flow.destination)):
        if here is None or here == THE_INTERNET:
            continue
        for vendor, regions in _area_of(here.region).items():
            free = [r for r in regions if (vendor, r) not in taken]
            if free and tariffs.find(vendor, Kind.INTERNET_OUT, free[0], ""):
                yield Move(end, Place(vendor, free[0]))


def _area_of(region: str) -> Mapping[str, tuple[str, ...]]:
    return next(
        (places for patterns, places in _AREAS if any(fnmatchcase(region, p) for p in patterns)),
        {},
    )


def _cheapest(rows: Sequence[WhatIf], asked: Asked) -> list[str]:
    found = [r for r in rows if r.asked is asked and r.change is not None]
    if not found:
        return []
    best = min(found, key=lambda r: (r.change or 0, str(r.move.to)))
    return [f"{_money(best.after)} with one of them in {best.move.to}"]


def _range(rows: Sequence[WhatIf], asked: Asked) -> list[str]:
    found = sorted(
        (r for r in rows if r.asked is asked and r.change is not None),
        key=lambda r: (r.change or 0, str(r.move.to)),
    )
    if not found:
        return []
    low, high = found[0], found[-1]
    if low.after.amount == high.after.amount:
        return [f"{_money(low.after)} with one of them at another provider ({low.move.to})"]
    return [
        f"{_money(low.after)} to {_money(high.after)} with one of them at another provider "
        f"({low.move.to}, {high.move.to})"
    ]


def _money(cost: Cost) -> str:
    return "not known" if cost.amount is None else money(cost.amount, cost.currency)


def _word(route: Kind | None) -> str:
    return "" if route is None else route.value


def _rounded(amount: Decimal | None) -> str | None:
    return None if amount is None else exact(round(amount, 6))
