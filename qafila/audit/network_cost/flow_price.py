"""What one flow costs a month where its ends stand: measured bytes times a list price."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from qafila.audit.network_cost.places import Flow, Place, route_between
from qafila.decision.egress import Listing, Tariffs
from qafila.decision.network_kinds import Kind

Pool = Mapping[tuple[str, Kind], Decimal]  # GB a month that a vendor bills of a kind already


@dataclass(frozen=True)
class Cost:
    """What a flow costs a month in one arrangement. ``amount`` None: ``why`` says what is missing.

    ``sources`` are the price lists used, each with its date.
    """

    route: Kind | None
    amount: Decimal | None
    currency: str
    sources: tuple[str, ...] = ()
    why: str = ""


def cost_of(flow: Flow, tariffs: Tariffs, pool: Pool) -> Cost:
    """Return what a flow costs a month on top of what ``pool`` holds, which it is not part of."""
    if flow.sent_gb is None or flow.received_gb is None:
        return Cost(None, None, "", why="bytes of this pair were not measured")
    if flow.origin is None or flow.destination is None:
        missing = flow.from_id if flow.origin is None else flow.to_id
        return Cost(None, None, "", why=f"it is not known where {missing} stands")
    route = route_between(flow.origin, flow.destination)
    total, currency = Decimal(0), ""
    sources: dict[str, None] = {}
    held: defaultdict[tuple[str, Kind], Decimal] = defaultdict(Decimal)  # the way before this one
    for gigabytes, start, end in _ways(flow):
        priced = _priced(start, end, tariffs)
        if isinstance(priced, str):
            return Cost(route, None, "", why=priced)
        if currency and priced.currency != currency:
            return Cost(route, None, "", why="its two directions are priced in two currencies")
        key = (priced.vendor, priced.route)
        already = (pool.get(key, Decimal(0)) + held[key]) / priced.sides
        total += priced.added(already, gigabytes)
        held[key] += gigabytes * priced.sides
        currency = priced.currency
        sources[f"{priced.source} ({priced.as_of})"] = None
    return Cost(route, total, currency, tuple(sources))


def without(pool: Pool, flow: Flow, tariffs: Tariffs) -> Pool:
    """Return the pool less what the flow itself adds to it where it stands today."""
    if flow.origin is None or flow.destination is None:
        return pool
    left = dict(pool)
    for gigabytes, start, end in _ways(flow):
        priced = _priced(start, end, tariffs)
        key = None if isinstance(priced, str) else (priced.vendor, priced.route)
        if key in left and not isinstance(priced, str):
            left[key] = max(left[key] - gigabytes * priced.sides, Decimal(0))
    return left


def _ways(flow: Flow) -> Iterator[tuple[Decimal, Place, Place]]:
    """Yield the directions in which bytes of a measured flow go; both places must be known."""
    for gigabytes, start, end in (
        (flow.sent_gb, flow.origin, flow.destination),
        (flow.received_gb, flow.destination, flow.origin),
    ):
        if gigabytes and start is not None and end is not None:
            yield gigabytes, start, end


def _priced(origin: Place, destination: Place, tariffs: Tariffs) -> Listing | str:
    """Return the listing of a route, or why there is none."""
    route = route_between(origin, destination)
    if route is None:
        unknown = origin if not origin.zone else destination
        return f"it is not known in which zone of {unknown.region} one end stands"
    vendor = origin.vendor
    if route is Kind.CROSS_CLOUD:  # the sender's cloud bills it as the internet
        route = Kind.INTERNET_OUT
    elif route is Kind.INTERNET_IN:
        vendor = destination.vendor
    here = destination.region if route is Kind.INTERNET_IN else origin.region
    found = tariffs.find(vendor, route, here, destination.region)
    return found or f"no price is known for {route.value} from {origin} to {destination}"
