"""What moving bytes costs: tariffs with monotonic, continuous tiers, and where they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from qafila.decision.network_kinds import Kind
from qafila.errors import BadInput
from qafila.text.strict_toml import load_toml


@dataclass(frozen=True)
class Tier:
    """How many GB a month cost ``rate`` each; ``size_gb`` None: everything above."""

    rate: Decimal
    size_gb: Decimal | None


@dataclass(frozen=True)
class Tariff:
    """One vendor's tiers, lowest volume first."""

    name: str
    tiers: tuple[Tier, ...]

    def cost(self, gigabytes: Decimal) -> Decimal:
        """Return the cost of a month's volume; never falls as the volume rises."""
        left, total = gigabytes, Decimal(0)
        for tier in self.tiers:
            taken = left if tier.size_gb is None else min(left, tier.size_gb)
            total += taken * tier.rate
            left -= taken
            if left <= 0:
                break
        return total

    def added(self, before: Decimal, gigabytes: Decimal) -> Decimal:
        """Return what ``gigabytes`` cost on top of a month's ``before``: tiers count them all."""
        return self.cost(before + gigabytes) - self.cost(before)

    @property
    def dearest(self) -> Decimal:
        """Return the highest price of one more GB, whatever the volume."""
        return max(t.rate for t in self.tiers)


@dataclass(frozen=True)
class Listing:
    """A tariff with where it holds and where it was read.

    ``sides``: how often each byte is billed; AWS bills traffic between zones to both ends.
    """

    tariff: Tariff
    vendor: str
    route: Kind
    origins: tuple[str, ...]
    destinations: tuple[str, ...]
    sides: int
    currency: str
    source: str
    as_of: date

    def holds(self, vendor: str, route: Kind, origin: str, destination: str) -> bool:
        """Tell whether this is the price of that route."""
        return (
            (self.vendor, self.route) == (vendor, route)
            and any(fnmatchcase(origin, p) for p in self.origins)
            and any(fnmatchcase(destination, p) for p in self.destinations)
        )

    def added(self, before: Decimal, gigabytes: Decimal) -> Decimal:
        """Return what ``gigabytes`` more cost in a month that has ``before``, on all sides."""
        return self.sides * self.tariff.added(before, gigabytes)


@dataclass(frozen=True)
class Tariffs:
    """Every listing, the closest first."""

    listings: tuple[Listing, ...]

    def find(self, vendor: str, route: Kind, origin: str, destination: str) -> Listing | None:
        """Return the first listing that holds; None: the price is not known."""
        return next((x for x in self.listings if x.holds(vendor, route, origin, destination)), None)


def tariff(name: str, tiers: Sequence[Tier]) -> Tariff:
    """Return a tariff whose tiers cover every volume.

    Raises:
        BadInput: there is no tier, a rate is negative, or the tiers end (or have none to end).
    """
    problems = []
    if not tiers:
        problems.append(f"tariff {name} has no tier")
    else:
        if tiers[-1].size_gb is not None:
            problems.append(f"tariff {name}: the last tier has an end; leave out its size_gb")
        if any(t.size_gb is None or t.size_gb <= 0 for t in tiers[:-1]):
            problems.append(f"tariff {name}: every tier but the last needs a size_gb above 0")
        if any(t.rate < 0 for t in tiers):
            problems.append(f"tariff {name}: a rate is negative")
    if problems:
        raise BadInput("the egress tariff is not usable:", problems)
    return Tariff(name, tuple(tiers))


def tariffs_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tariff]:
    """Return the tariffs that ``[[tier]]`` rows make, by name.

    Raises:
        BadInput: see :func:`tariff`.
    """
    tiers: dict[str, list[Tier]] = {}
    for row in rows:
        size = None if row.get("size_gb") is None else Decimal(row["size_gb"])
        tiers.setdefault(row["tariff"], []).append(Tier(Decimal(row["amount"]), size))
    return {name: tariff(name, parts) for name, parts in tiers.items()}


def parse_tariffs(text: str) -> Tariffs:
    """Read ``egress.toml``: its tiers, and the ``[[tariff]]`` rows that say where each holds.

    Raises:
        BadInput: a row names a tariff without tiers or a route that is none, lacks its origins,
            or its tiers are in two currencies; all problems at once.
    """
    read = load_toml(text, "the table of egress tariffs")
    tiers: list[dict[str, Any]] = read.get("tier", [])
    tariffs = tariffs_of(tiers)
    problems: list[str] = []
    listings: list[Listing] = []
    for number, row in enumerate(read.get("tariff", []), 1):
        name = str(row.get("tariff") or "")
        where = f"tariff row {number} ({name or 'no name'})"
        own = [t for t in tiers if t["tariff"] == name]
        wrong = []
        if not own:
            wrong.append(f"{where}: there are no tiers of that name")
        if row.get("route") not in set(Kind):
            wrong.append(f"{where}: {row.get('route')!r} is no route; take one of {_routes()}")
        if not row.get("vendor") or not row.get("origins"):
            wrong.append(f"{where}: write its vendor and its origins, which may be ['*']")
        if len({t["currency"] for t in own}) > 1:
            wrong.append(f"{where}: its tiers are in several currencies")
        problems += wrong
        if not wrong:
            listings.append(
                Listing(
                    tariffs[name],
                    row["vendor"],
                    Kind(row["route"]),
                    tuple(row["origins"]),
                    tuple(row.get("destinations", ("*",))),
                    int(row.get("sides", 1)),
                    own[0]["currency"],
                    own[0]["source"],
                    own[0]["as_of"],
                )
            )
    if problems:
        raise BadInput("the prices of moving bytes are not usable:", problems)
    return Tariffs(tuple(listings))


def _routes() -> str:
    return ", ".join(k.value for k in Kind)
