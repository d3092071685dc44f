"""From what was found and observed to flows: who moves how many bytes a month to whom."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

from qafila.audit.dependencies.traffic import Traffic
from qafila.audit.estate import Edge, Resource
from qafila.audit.network_cost.ledger import INTERNET, NOT_KNOWN, Ledger, Transfer
from qafila.audit.network_cost.places import EVERY_ZONE, ONE_ZONE, THE_INTERNET, Flow, Place
from qafila.decision.network_kinds import Kind

DAYS_A_MONTH = 30
_GIB = Decimal(2**30)
# Edges along which bytes move; a permission ("network-allows") alone moves none.
_MOVING = frozenset({"calls", "reads", "writes", "routes"})
_AWS_REGION = re.compile(r"^[a-z]{2}(-gov|-iso[a-z]?)?-[a-z]+-\d$")
# AWS Global Network FAQ: data between EC2 and these in the same region is free of charge.
_WHOLE_REGION = ("s3:", "dynamodb:", "sqs:", "sns:", "ecr:", "kinesis:", "ses:")
_TARIFF_OF_VENDOR = {
    "aws": "aws",
    "amazon": "aws",
    "amazon web services": "aws",
    "microsoft": "azure",
    "azure": "azure",
    "oracle": "oci",
    "oci": "oci",
    "google": "gcp",
    "google cloud": "gcp",
    "gcp": "gcp",
}


def place_of(resource: Resource) -> Place | None:
    """Return where a resource stands; None: it is in no region that a vendor has a price for."""
    if not _AWS_REGION.match(resource.region):
        return None
    if resource.kind.startswith(_WHOLE_REGION):
        return Place("aws", resource.region, EVERY_ZONE)
    zone = resource.facts.get("zone")
    return Place("aws", resource.region, str(zone) if zone else "")


class _Places:
    """Where the two ends of a pair stand, in words that mean the same for both."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._accounts: dict[str, str] = {}
        self._places: dict[str, Place | None] = {INTERNET: THE_INTERNET}
        for resource in resources:
            self._accounts[resource.id] = resource.account
            self._places[resource.id] = place_of(resource)

    def of(self, start: str, end: str) -> tuple[Place | None, Place | None]:
        here, there = self._places.get(start), self._places.get(end)
        ours, theirs = self._accounts.get(start, ""), self._accounts.get(end, "")
        if ours and theirs and ours != theirs:
            return _without_zone(here), _without_zone(there)
        return here, there


def _without_zone(place: Place | None) -> Place | None:
    named = place is not None and place.zone not in ("", EVERY_ZONE)
    return replace(place, zone="") if named and place is not None else place


def flows_of(
    resources: Iterable[Resource],
    edges: Iterable[Edge],
    traffic: Sequence[Traffic],
    observed_days: float,
) -> list[Flow]:
    """Return a flow for each pair that was seen or that an edge joins.

    Bytes are those of ``observed_days`` (above 0), taken as a month of 30 days; the flow's source
    says so. A pair that only an edge joins has no bytes: they were not measured. Of a pair in two
    accounts the zones are not known: their names mean other zones in each (AWS, "AZ IDs").
    """
    places = _Places(resources)
    sent: defaultdict[tuple[str, str], int] = defaultdict(int)
    received: defaultdict[tuple[str, str], int] = defaultdict(int)
    for seen in traffic:
        sent[seen.from_id, seen.to_id] += seen.sent_bytes
        received[seen.from_id, seen.to_id] += seen.received_bytes
    month = Decimal(DAYS_A_MONTH) / Decimal(repr(float(observed_days)))
    since = f" from {min(t.first_seen for t in traffic):%Y-%m-%d}" if traffic else ""
    how = f"flow logs of {observed_days:g} days{since}, as a month of {DAYS_A_MONTH}"
    flows = [
        Flow(a, b, *places.of(a, b), sent[a, b] / _GIB * month, received[a, b] / _GIB * month, how)
        for a, b in sorted(sent)
    ]
    unmeasured = {
        (e.from_id, e.to_id): e.source
        for e in edges
        if e.kind in _MOVING and not {(e.from_id, e.to_id), (e.to_id, e.from_id)} & sent.keys()
    }
    return flows + [
        Flow(a, b, *places.of(a, b), None, None, source)
        for (a, b), source in sorted(unmeasured.items())
    ]


def routes_of(ledger: Ledger, start: date) -> list[Flow]:
    """Return the routes of one month's bill whose volume is known, each service and account apart.

    Only routes between two places: to the internet, between regions, between zones. A bill does
    not name zones: both ends are in "one zone of" their region, and in another between zones,
    where AWS bills each byte at both ends and it is counted once here.
    """
    return [
        flow
        for transfer in ledger.transfers
        if transfer.start == start and (transfer.gigabytes or 0) > 0
        if (flow := _route(transfer)) is not None
    ]


def _route(transfer: Transfer) -> Flow | None:
    """Return a route's flow in the direction of the bytes; None: its places have no price."""
    vendor = _TARIFF_OF_VENDOR.get(transfer.vendor.lower())
    volume = transfer.gigabytes
    if vendor is None or volume is None or NOT_KNOWN in (transfer.origin, transfer.destination):
        return None
    whose = "" if transfer.account is None else f" of {transfer.account}"
    start = f"{transfer.service} in {transfer.origin}{whose}"
    source = f"bill of {transfer.start:%Y-%m}"
    origin = Place(vendor, transfer.origin, f"{ONE_ZONE}{transfer.origin}")
    match transfer.kind:
        case Kind.INTERNET_OUT:
            return Flow(start, INTERNET, origin, THE_INTERNET, volume, Decimal(0), source)
        case Kind.INTER_REGION:
            region = transfer.destination
            there = Place(vendor, region, f"{ONE_ZONE}{region}")
            return Flow(
                start, f"its other end in {region}", origin, there, volume, Decimal(0), source
            )
        case Kind.CROSS_ZONE:
            there = Place(vendor, transfer.origin, f"another zone of {transfer.origin}")
            sent = volume / 2 if vendor == "aws" else volume
            return Flow(
                start,
                f"its other end in another zone of {transfer.origin}",
                origin,
                there,
                sent,
                Decimal(0),
                source,
            )
        case _:
            return None


def pool_of(ledger: Ledger, start: date) -> dict[tuple[str, Kind], Decimal]:
    """Return the GB of one month by vendor (as tariffs name it) and kind, as far as measured."""
    pool: defaultdict[tuple[str, Kind], Decimal] = defaultdict(Decimal)
    for transfer in ledger.transfers:
        vendor = _TARIFF_OF_VENDOR.get(transfer.vendor.lower())
        if vendor and transfer.start == start and transfer.gigabytes is not None:
            pool[vendor, transfer.kind] += transfer.gigabytes
    return dict(pool)
