"""Data gravity: what the traffic of each pair would cost if one end of it stood elsewhere.

Every figure is measured bytes times a list price with a source. Where bytes were not measured (a
bill never says which pair moved them; flow logs do) or no price is at hand, the row says what is
not known and has no figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from qafila.core.egress import Listing, Tariffs
from qafila.core.network.kinds import Kind
from qafila.core.network.ledger import INTERNET

Pool = Mapping[tuple[str, Kind], Decimal]  # GB a month that a vendor bills of a kind already


EVERY_ZONE = "*"


@dataclass(frozen=True)
class Place:
    """Where something stands. ``zone`` empty: not known. The internet is a place, too.

    ``zone`` :data:`EVERY_ZONE`: a service of the whole region, which every zone reaches alike.
    """

    vendor: str
    region: str = ""
    zone: str = ""

    def __str__(self) -> str:
        zone = "" if self.zone == EVERY_ZONE else self.zone
        return " ".join(filter(None, (self.vendor, zone or self.region)))


THE_INTERNET = Place(INTERNET)


@dataclass(frozen=True)
class Flow:
    """Bytes of one pair in a month, both ways; ``None``: not measured. Places may be unknown."""

    from_id: str
    to_id: str
    origin: Place | None
    destination: Place | None
    sent_gb: Decimal | None
    received_gb: Decimal | None = Decimal(0)
    source: str = ""


@dataclass(frozen=True)
class Move:
    """One thing standing somewhere else: ``None`` is where it stands today."""

    id: str
    to: Place


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


@dataclass(frozen=True)
class WhatIf:
    """One row: one flow, one of its ends moved, its cost a month before and after."""

    flow: Flow
    move: Move
    before: Cost
    after: Cost

    @property
    def change(self) -> Decimal | None:
        """Return what the move would add to a month; negative: it saves. None: not known."""
        if self.before.amount is None or self.after.amount is None:
            return None
        if self.before.currency != self.after.currency:
            return None
        return self.after.amount - self.before.amount

    @property
    def why(self) -> str:
        """Return why the change is not known; empty when it is."""
        return "; ".join(dict.fromkeys(filter(None, (self.before.why, self.after.why))))


def what_if(
    flows: Iterable[Flow], moves: Sequence[Move], tariffs: Tariffs, pool: Pool | None = None
) -> list[WhatIf]:
    """Return a row for every flow and every move of one of its ends, the greatest saving first.

    ``pool``: what each vendor bills of each kind in a month, from the ledger. Tiers count the
    whole month, so a flow is priced as the last of it: it is taken out of the pool where it is in
    it today, and put on top where it would go. Rows are single moves: they do not add up.
    """
    rows = [
        WhatIf(
            flow, move, cost_of(flow, tariffs, pool or {}, counted=True),
            cost_of(moved(flow, move), tariffs, pool or {}, counted=False),
        )
        for flow in flows
        for move in moves
        if move.id in (flow.from_id, flow.to_id)
    ]  # fmt: skip
    return sorted(
        rows,
        key=lambda r: (r.change is None, r.change or 0, r.flow.from_id, r.flow.to_id, r.move.id,
                       str(r.move.to)),
    )  # fmt: skip


def moved(flow: Flow, move: Move) -> Flow:
    """Return the flow with the moved end in its new place."""
    return Flow(
        flow.from_id, flow.to_id,
        move.to if flow.from_id == move.id else flow.origin,
        move.to if flow.to_id == move.id else flow.destination,
        flow.sent_gb, flow.received_gb, flow.source,
    )  # fmt: skip


def moves_together(flows: Iterable[Flow], elsewhere: Sequence[Place] = ()) -> list[Move]:
    """Return the moves worth asking about: each end to the other's place, and to ``elsewhere``.

    A place that is not known, and the internet, are nowhere to move to or from.
    """
    moves: dict[Move, None] = {}
    for flow in flows:
        for identifier, here, there in (
            (flow.from_id, flow.origin, flow.destination),
            (flow.to_id, flow.destination, flow.origin),
        ):
            if here in (None, THE_INTERNET):
                continue
            for place in (there, *elsewhere):
                if place not in (None, here, THE_INTERNET):
                    moves[Move(identifier, place)] = None
    return list(moves)


def cost_of(flow: Flow, tariffs: Tariffs, pool: Pool, *, counted: bool) -> Cost:
    """Return what a flow costs a month; ``counted``: the pool holds its bytes already."""
    if flow.sent_gb is None or flow.received_gb is None:
        return Cost(None, None, "", why="bytes of this pair were not measured")
    if flow.origin is None or flow.destination is None:
        missing = flow.from_id if flow.origin is None else flow.to_id
        return Cost(None, None, "", why=f"it is not known where {missing} stands")
    route = route_between(flow.origin, flow.destination)
    ways = (
        (flow.sent_gb, flow.origin, flow.destination),
        (flow.received_gb, flow.destination, flow.origin),
    )
    total, currency = Decimal(0), ""
    sources: dict[str, None] = {}
    for gigabytes, start, end in ways:
        if gigabytes == 0:
            continue
        priced = _priced(start, end, tariffs)
        if isinstance(priced, str):
            return Cost(route, None, "", why=priced)
        if currency and priced.currency != currency:
            return Cost(route, None, "", why="its two directions are priced in two currencies")
        already = pool.get((start.vendor, priced.route), Decimal(0))
        if counted:
            already = max(already - gigabytes * priced.sides, Decimal(0))
        total += priced.added(already / priced.sides, gigabytes)
        currency = priced.currency
        sources[f"{priced.source} ({priced.as_of})"] = None
    return Cost(route, total, currency, tuple(sources))


def route_between(origin: Place, destination: Place) -> Kind | None:
    """Return the kind of route from one place to another; None: a zone is not known."""
    if destination == THE_INTERNET:
        return Kind.INTERNET_OUT
    if origin == THE_INTERNET:
        return Kind.INTERNET_IN
    if origin.vendor != destination.vendor:
        return Kind.CROSS_CLOUD
    if origin.region != destination.region:
        return Kind.INTER_REGION
    if EVERY_ZONE in (origin.zone, destination.zone):
        return Kind.WITHIN_REGION
    if not origin.zone or not destination.zone:
        return None
    return Kind.WITHIN_REGION if origin.zone == destination.zone else Kind.CROSS_ZONE


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
