"""From what was found and observed to flows: who moves how many bytes a month to whom."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal

from qafila.core.dependencies.traffic import Traffic
from qafila.core.estate import Edge, Resource
from qafila.core.network.gravity import EVERY_ZONE, THE_INTERNET, Flow, Place
from qafila.core.network.kinds import Kind
from qafila.core.network.ledger import INTERNET, Ledger

DAYS_A_MONTH = 30
_GIB = Decimal(2**30)
# Edges along which bytes move; a permission ("network-allows") alone moves none.
_MOVING = frozenset({"calls", "reads", "writes", "routes"})
_AWS_REGION = re.compile(r"^[a-z]{2}(-gov|-iso[a-z]?)?-[a-z]+-\d$")
# AWS Global Network FAQ: data between EC2 and these in the same region is free of charge.
_WHOLE_REGION = ("s3:", "dynamodb:", "sqs:", "sns:", "ecr:", "kinesis:", "ses:")
_TARIFF_OF_VENDOR = {
    "aws": "aws", "amazon": "aws", "amazon web services": "aws",
    "microsoft": "azure", "azure": "azure", "oracle": "oci", "oci": "oci",
    "google": "gcp", "google cloud": "gcp", "gcp": "gcp",
}  # fmt: skip


def place_of(resource: Resource) -> Place | None:
    """Return where a resource stands; None: it is in no region that a vendor has a price for."""
    if not _AWS_REGION.match(resource.region):
        return None
    if resource.kind.startswith(_WHOLE_REGION):
        return Place("aws", resource.region, EVERY_ZONE)
    zone = resource.facts.get("zone")
    return Place("aws", resource.region, str(zone) if zone else "")


def flows_of(
    resources: Iterable[Resource],
    edges: Iterable[Edge],
    traffic: Sequence[Traffic],
    observed_days: float,
) -> list[Flow]:
    """Return a flow for each pair that was seen or that an edge joins.

    Bytes are those of ``observed_days`` (above 0), taken as a month of 30 days; the flow's source
    says so. A pair that only an edge joins has no bytes: they were not measured.
    """
    places = {r.id: place_of(r) for r in resources} | {INTERNET: THE_INTERNET}
    sent: defaultdict[tuple[str, str], int] = defaultdict(int)
    received: defaultdict[tuple[str, str], int] = defaultdict(int)
    for seen in traffic:
        sent[seen.from_id, seen.to_id] += seen.sent_bytes
        received[seen.from_id, seen.to_id] += seen.received_bytes
    month = Decimal(DAYS_A_MONTH) / Decimal(repr(float(observed_days)))
    how = f"flow logs of {observed_days:g} days, as a month of {DAYS_A_MONTH}"
    flows = [
        Flow(a, b, places.get(a), places.get(b), sent[a, b] / _GIB * month,
             received[a, b] / _GIB * month, how)
        for a, b in sorted(sent)
    ]  # fmt: skip
    unmeasured = {
        (e.from_id, e.to_id): e.source
        for e in edges
        if e.kind in _MOVING and not {(e.from_id, e.to_id), (e.to_id, e.from_id)} & sent.keys()
    }
    return flows + [
        Flow(a, b, places.get(a), places.get(b), None, None, source)
        for (a, b), source in sorted(unmeasured.items())
    ]


def pool_of(ledger: Ledger, start: date) -> dict[tuple[str, Kind], Decimal]:
    """Return the GB of one month by vendor (as tariffs name it) and kind, as far as measured."""
    pool: defaultdict[tuple[str, Kind], Decimal] = defaultdict(Decimal)
    for transfer in ledger.transfers:
        vendor = _TARIFF_OF_VENDOR.get(transfer.vendor.lower())
        if vendor and transfer.start == start and transfer.gigabytes is not None:
            pool[vendor, transfer.kind] += transfer.gigabytes
    return dict(pool)
