"""Where things stand, what they exchange, and where one of them could stand instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from qafila.audit.network_cost.ledger import INTERNET
from qafila.decision.network_kinds import Kind

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


def moved(flow: Flow, move: Move) -> Flow:
    """Return the flow with the moved end in its new place."""
    return Flow(
        flow.from_id,
        flow.to_id,
        move.to if flow.from_id == move.id else flow.origin,
        move.to if flow.to_id == move.id else flow.destination,
        flow.sent_gb,
        flow.received_gb,
        flow.source,
    )


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
