"""The network ledger of a bill: every transfer line by kind, service and route.

Money is exact and in its own currency. Gigabytes are the vendor's (2³⁰ bytes), and ``None`` where
no line of the group says how much was moved: an amount is then known, a volume is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from qafila.audit.network_cost.regions import pair_of_text, pair_of_usage_type, region_of_prefix
from qafila.decision.network_kinds import Kind
from qafila.text.exact_sum import add_up

NOT_KNOWN = "not known"
INTERNET = "internet"
OTHER_ACCOUNTS = "other accounts"
_USAGE = "Usage"
_GIB = Decimal(2**30)
_UNITS = {
    "gb": Decimal(1),
    "gib": Decimal(1),
    "gigabyte": Decimal(1),
    "gigabytes": Decimal(1),
    "gibibyte": Decimal(1),
    "gibibytes": Decimal(1),
    "gb months": Decimal(1),
    "gb month": Decimal(1),
    "gb-mo": Decimal(1),
    "gb/month": Decimal(1),
    "gigabyte outbound data transfer per month": Decimal(1),
    "gigabyte of data transferred": Decimal(1),
    "gigabyte (gb) of data processed": Decimal(1),
    "tb": Decimal(1024),
    "tib": Decimal(1024),
    "mb": 1 / Decimal(1024),
    "mib": 1 / Decimal(1024),
    "byte": 1 / _GIB,
    "bytes": 1 / _GIB,
}
_ENDS = {
    Kind.NAT_PROCESSING: "NAT gateway",
    Kind.NAT_HOURS: "NAT gateway",
    Kind.ENDPOINT: "endpoint",
    Kind.ENDPOINT_HOURS: "endpoint",
    Kind.LOAD_BALANCER: "load balancer",
    Kind.CONNECTION: "private connection",
    Kind.CONNECTION_HOURS: "private connection",
    Kind.CROSS_CLOUD: "another cloud",
    Kind.INTERNET_OUT: INTERNET,
}


@dataclass(frozen=True)
class Charge:
    """All lines of a bill that say the same: what a database returns after grouping.

    ``quantity`` is the sum over the ``measured`` of ``rows`` lines that have one.
    """

    currency: str
    start: date
    category: str
    vendor: str
    service: str
    region: str | None
    usage_type: str | None
    description: str | None
    unit: str | None
    from_region: str | None
    to_region: str | None
    kind: Kind
    amount: Decimal
    quantity: Decimal | None
    measured: int
    rows: int
    account: str | None = None


@dataclass(frozen=True)
class Transfer:
    """What one route of one service and account cost in one month.

    ``gigabytes`` None: not measured. ``unmeasured`` lines of ``rows`` say no volume that can be
    read, so ``gigabytes`` leaves them out. Traffic between zones is billed at both ends: its
    gigabytes count each byte twice. ``account`` None: the bill names none;
    :data:`OTHER_ACCOUNTS`: one of those that are not told apart.
    """

    currency: str
    start: date
    vendor: str
    service: str
    kind: Kind
    origin: str
    destination: str
    amount: Decimal
    gigabytes: Decimal | None
    rows: int
    unmeasured: int
    account: str | None = None


@dataclass(frozen=True)
class Talker:
    """What one named resource paid of one kind in a month: a bill knows this end of a route only.

    ``gigabytes`` None: not measured.
    """

    currency: str
    start: date
    resource: str
    kind: Kind
    amount: Decimal
    gigabytes: Decimal | None


@dataclass(frozen=True)
class Unclassified:
    """A transfer line that no rule could place, with its own words and its sum."""

    currency: str
    start: date
    service: str
    said: str
    amount: Decimal
    rows: int


@dataclass(frozen=True)
class Ledger:
    """The network side of a bill. ``beside``: credits, tax and the like on transfer lines.

    The parts add up: every line that speaks of a transfer is in ``transfers`` or in ``beside``;
    ``unclassified`` repeats those of ``transfers`` whose kind is not known, one by one;
    ``talkers`` repeats those that name a resource, the dearest of each kind and month.
    """

    transfers: tuple[Transfer, ...] = ()
    unclassified: tuple[Unclassified, ...] = ()
    beside: tuple[Unclassified, ...] = ()
    talkers: tuple[Talker, ...] = ()

    def of(self, currency: str, start: date) -> list[Transfer]:
        """Return the transfers of one month in one currency, the dearest first."""
        found = [t for t in self.transfers if (t.currency, t.start) == (currency, start)]
        return sorted(found, key=lambda t: (-t.amount, *_words(t)))

    @property
    def accounts(self) -> tuple[str, ...]:
        """Return the accounts that the bill names on transfer lines, sorted."""
        return tuple(sorted({t.account for t in self.transfers if t.account is not None}))

    def amount(self, currency: str, start: date, *kinds: Kind) -> Decimal:
        """Return what the kinds cost in one month; no kind given: all that is paid by bytes."""
        return add_up(
            t.amount
            for t in self.of(currency, start)
            if (t.kind in kinds if kinds else t.kind.by_bytes)
        )

    def gigabytes(self, vendor: str, start: date, kind: Kind) -> Decimal | None:
        """Return what was measured of one kind in one month at one vendor; None: nothing was."""
        found = [
            t.gigabytes
            for t in self.transfers
            if (t.vendor, t.start, t.kind) == (vendor, start, kind) and t.gigabytes is not None
        ]
        return add_up(found) if found else None


# currency, month, vendor, service, kind, from, to; and the account
_Route = tuple[str, date, str, str, Kind, str, str]


def ledger_of(charges: Iterable[Charge]) -> Ledger:
    """Return the ledger of grouped lines; the order of the lines does not matter."""
    by_route: defaultdict[tuple[_Route, str | None], list[Charge]] = defaultdict(list)
    by_words: defaultdict[tuple[str, date, str, str], list[Charge]] = defaultdict(list)
    beside: defaultdict[tuple[str, date, str, str], list[Charge]] = defaultdict(list)
    for charge in charges:
        said = charge.usage_type or charge.description or NOT_KNOWN
        key = (charge.currency, charge.start, charge.service)
        if charge.category != _USAGE:
            beside[*key, f"{charge.category}: {said}"].append(charge)
            continue
        if charge.kind is Kind.OTHER:
            by_words[*key, said].append(charge)
        origin, destination = ends_of(charge)
        route = (
            charge.currency,
            charge.start,
            charge.vendor,
            charge.service,
            charge.kind,
            origin,
            destination,
        )
        by_route[route, charge.account].append(charge)
    transfers = [
        Transfer(
            *route,
            add_up(c.amount for c in group),
            _volume(group),
            sum(c.rows for c in group),
            sum(_unmeasured(c) for c in group),
            account,
        )
        for (route, account), group in by_route.items()
    ]
    return Ledger(
        tuple(sorted(transfers, key=lambda t: (t.currency, t.start, t.kind, t.vendor, *_words(t)))),
        _listed(by_words),
        _listed(beside),
    )


def _words(transfer: Transfer) -> tuple[str, ...]:
    """Return what tells a route from another of the same kind and month, to sort by."""
    return (
        transfer.service,
        transfer.kind,
        transfer.origin,
        transfer.destination,
        transfer.vendor,
        transfer.account or "",
    )


def ends_of(charge: Charge) -> tuple[str, str]:
    """Return where the bytes of a charge came from and went to, as far as the line tells."""
    here = _region_of(charge)
    words = f"{charge.usage_type or ''} {charge.description or ''}"
    match charge.kind:
        case Kind.INTER_REGION:
            return _pair(charge) or _way(here, NOT_KNOWN, inward="-In-" in words)
        case Kind.INTERNET_IN:
            return INTERNET, here
        case Kind.CROSS_ZONE | Kind.WITHIN_REGION:
            return here, here
        case Kind.CDN:
            if "CloudFront-Out" in words or "to CloudFront" in words:
                return here, "CDN"
            if "CloudFront-In" in words or "from CloudFront" in words:
                return "CDN", here
            return "CDN", INTERNET
        case Kind.OTHER:
            return here, NOT_KNOWN
        case _:
            return here, _ENDS[charge.kind]


def gigabytes_of(quantity: Decimal, unit: str | None) -> Decimal | None:
    """Return a quantity in GB (2³⁰ bytes); None where the unit is missing or holds several GB.

    A unit such as "100 GB" is a block whose count vendors write in two ways, so it is not guessed.
    """
    plain = (unit or "").strip().lower().removeprefix("1 ")
    factor = _UNITS.get(plain)
    return None if factor is None else quantity * factor


def _pair(charge: Charge) -> tuple[str, str] | None:
    for read, text in (
        (pair_of_usage_type, charge.usage_type),
        (pair_of_text, charge.description),
    ):
        if text and (pair := read(text)) is not None:
            return pair
    if charge.from_region and charge.to_region:
        # An export names the account's own region first, whichever way the bytes went.
        inward = "-In-" in (charge.usage_type or "")
        return _way(charge.from_region, charge.to_region, inward=inward)
    return None


def _way(here: str, there: str, *, inward: bool) -> tuple[str, str]:
    return (there, here) if inward else (here, there)


def _region_of(charge: Charge) -> str:
    if charge.region:
        return charge.region
    if charge.usage_type:
        told = region_of_prefix(charge.usage_type)
        if told is None and charge.vendor.upper().startswith(("AWS", "AMAZON")):
            return "us-east-1"  # AWS writes no prefix there
        return told or NOT_KNOWN
    return NOT_KNOWN


def _volume(group: list[Charge]) -> Decimal | None:
    known = [
        gb
        for c in group
        if c.quantity is not None and c.measured and c.kind.by_bytes
        if (gb := gigabytes_of(c.quantity, c.unit)) is not None
    ]
    return add_up(known) if known else None


def _unmeasured(charge: Charge) -> int:
    if not charge.kind.by_bytes:
        return 0
    if charge.quantity is None or gigabytes_of(charge.quantity, charge.unit) is None:
        return charge.rows
    return charge.rows - charge.measured


def _listed(
    groups: dict[tuple[str, date, str, str], list[Charge]],
) -> tuple[Unclassified, ...]:
    found = [
        Unclassified(*key, add_up(c.amount for c in group), sum(c.rows for c in group))
        for key, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda u: (u.currency, u.start, -u.amount, u.service, u.said)))
