"""Egress as its own ledger: tiers that are monotonic and continuous, in one currency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from qafila.errors import BadInput


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
        """Return the cost of a month's egress; never falls as the volume rises."""
        left, total = gigabytes, Decimal(0)
        for tier in self.tiers:
            taken = left if tier.size_gb is None else min(left, tier.size_gb)
            total += taken * tier.rate
            left -= taken
            if left <= 0:
                break
        return total


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
