"""Data gravity: what the traffic of each pair would cost if one end of it stood elsewhere.

Every figure is measured bytes times a list price with a source. Where bytes were not measured (a
bill never says which pair moved them; flow logs do) or no price is at hand, the row says what is
not known and has no figure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from qafila.core.egress import Listing, Tariffs
from qafila.core.network.kinds import Kind
from qafila.core.network.ledger import INTERNET

Pool = Mapping[tuple[str, Kind], Decimal]  # GB a month that a vendor bills of a kind already


EVERY_ZONE = "*"
ONE_ZONE = "one zone of "  # and a region: a zone that no bill names


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


class Asked(StrEnum):
    """Where one end of a pair is put, seen from where the pair stands today."""

    TOGETHER = "together"  # where the other end stands
    ANOTHER_ZONE = "another zone"
    ANOTHER_REGION = "another region"
    ANOTHER_PROVIDER = "another provider"


@dataclass(frozen=True)
class WhatIf:
    """One row: one flow, one of its ends moved, its cost a month before and after.

    ``period``: the month of the bill that tiers count on top of, as "2026-05"; empty: no bill
    says what else was moved, and tiers begin at the first gigabyte.
    """

    flow: Flow
    move: Move
    before: Cost
    after: Cost
    period: str = ""

    @property
    def change(self) -> Decimal | None:
        """Return what the move would add to a month; negative: it saves. None: not known."""
        if self.before.amount is None or self.after.amount is None:
            return None
        if self.before.currency and self.after.currency not in ("", self.before.currency):
            return None
        return self.after.amount - self.before.amount

    @property
    def why(self) -> str:
        """Return why the change is not known; empty when it is."""
        if self.change is None and not (self.before.why or self.after.why):
            return "before and after are priced in two currencies"
        return "; ".join(dict.fromkeys(filter(None, (self.before.why, self.after.why))))

    @property
    def asked(self) -> Asked:
        """Return where the end is put: with the other one, or how far from where it stands."""
        first = self.move.id == self.flow.from_id
        here, there = self.flow.origin, self.flow.destination
        if not first:
            here, there = there, here
        if self.move.to == there:
            return Asked.TOGETHER
        if here is None or here.vendor != self.move.to.vendor:
            return Asked.ANOTHER_PROVIDER
        return Asked.ANOTHER_ZONE if here.region == self.move.to.region else Asked.ANOTHER_REGION

    @property
    def assumes(self) -> str:
        """Return in one sentence what the figures take for granted."""
        taken = ["list prices without discount", "all else stays where it is"]
        taken.append(
            f"tiers on top of what the bill of {self.period} has besides"
            if self.period
            else "tiers from the first gigabyte, as no bill says what else was moved"
        )
        if Kind.CROSS_CLOUD in (self.before.route, self.after.route):
            taken.append("another provider is reached over the internet")
        if self.move.to.zone.startswith(ONE_ZONE):
            taken.append("both ends in one zone")
        return "; ".join(taken)


def what_if(
    flows: Iterable[Flow],
    moves: Sequence[Move],
    tariffs: Tariffs,
    pool: Pool | None = None,
    period: str = "",
) -> list[WhatIf]:
    """Return a row for every flow and every move of one of its ends, the greatest saving first.

    ``pool``: what each vendor bills of each kind in a month, from the ledger, and ``period`` which
    month. Tiers count the whole month, so a flow is priced as the last of it: it is taken out of
    the pool where it is in it today, and put on top where it would go. Rows are single moves:
    they do not add up.
    """
    by_id: defaultdict[str, list[Move]] = defaultdict(list)
    for move in moves:
        by_id[move.id].append(move)
    asked = (
        (flow, [m for end in dict.fromkeys((flow.from_id, flow.to_id)) for m in by_id.get(end, ())])
        for flow in flows
    )
    return price_moves(asked, tariffs, pool, period)


def price_moves(
    asked: Iterable[tuple[Flow, Sequence[Move]]],
    tariffs: Tariffs,
    pool: Pool | None = None,
    period: str = "",
) -> list[WhatIf]:
    """Return a row for each flow and each of the moves that are asked of it; see what_if()."""
    rows = []
    for flow, moves in asked:
        if not moves:
            continue
        rest = without(pool or {}, flow, tariffs)
        before = cost_of(flow, tariffs, rest)
        rows += [
            WhatIf(flow, move, before, cost_of(moved(flow, move), tariffs, rest), period)
            for move in moves
        ]
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
