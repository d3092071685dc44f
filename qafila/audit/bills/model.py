"""A bill as values: exact amounts by period, service, network route and resource.

Currencies are never added to each other; a period is closed when the vendor has issued its
invoice, which FOCUS 1.2 shows by ``InvoiceId``, AWS by ``bill/InvoiceId``, Azure's Customer
Agreement by ``invoiceId``, and the other formats do not show at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from qafila.audit.bills.defects import Defect
from qafila.audit.bills.tags import TaggedSpend
from qafila.audit.network_cost.ledger import Ledger
from qafila.decision.network_kinds import Kind
from qafila.text.exact_sum import add_up

# DuckDB's decimals have 38 digits, and a sum of many of them a few more; Python's usual 28 would
# round the last digits of a large bill away.

CROSS_ZONE = Kind.CROSS_ZONE.value


@dataclass(frozen=True)
class Period:
    """One billing month in one currency. ``closed`` None: this format cannot say."""

    currency: str
    start: date
    amount: Decimal
    usage: Decimal
    rows: int
    closed: bool | None

    @property
    def month(self) -> str:
        return f"{self.start:%Y-%m}"

    @property
    def state(self) -> str:
        return {True: "closed", False: "open", None: "not known"}[self.closed]


@dataclass(frozen=True)
class Spend:
    """An amount of one subject (a service, a vendor or a network route) in one month."""

    currency: str
    start: date
    subject: str
    amount: Decimal
    rows: int


@dataclass(frozen=True)
class Commitments:
    """What a month was billed beside what it cost amortised, in one currency.

    ``amortised`` None: the bill has no effective cost, or one that is not to be trusted.
    ``purchased`` was billed for commitments (reservations, savings plans, committed use) in this
    month; ``used`` is the amortised cost of the usage that they covered, on ``rows`` lines.
    """

    currency: str
    start: date
    billed: Decimal
    amortised: Decimal | None
    purchased: Decimal
    used: Decimal | None
    rows: int


@dataclass(frozen=True)
class BilledItem:
    """What one resource was billed, by the first day of the month."""

    resource_id: str
    service: str
    region: str
    currency: str
    amounts: Mapping[date, Decimal]

    def in_period(self, start: date) -> Decimal:
        """Return the amount of one month; zero when the bill has no line for it."""
        return self.amounts.get(start, Decimal(0))

    def largest_period(self) -> Decimal:
        """Return the amount of the month that cost most: a full month, where there is one."""
        return max(self.amounts.values(), default=Decimal(0))


@dataclass(frozen=True)
class Bill:
    """One bill, whatever its vendor; every amount is exact.

    ``network``, ``items``, ``ledger`` and ``tagged`` are empty when it was read for totals alone.
    ``network`` is what was paid by bytes, by kind; ``ledger`` has every route, and hours as well.
    """

    name: str
    format: str
    rows: int
    issuers: tuple[str, ...]
    periods: tuple[Period, ...]
    services: tuple[Spend, ...]
    vendors: tuple[Spend, ...]
    network: tuple[Spend, ...]
    items: tuple[BilledItem, ...]
    defects: tuple[Defect, ...] = ()
    categories: tuple[Spend, ...] = ()
    commitments: tuple[Commitments, ...] = ()
    ledger: Ledger = field(default_factory=Ledger)
    tagged: tuple[TaggedSpend, ...] = ()

    @property
    def currencies(self) -> tuple[str, ...]:
        """Return the currencies, the one with most rows first."""
        rows: dict[str, int] = {}
        for period in self.periods:
            rows[period.currency] = rows.get(period.currency, 0) + period.rows
        return tuple(sorted(rows, key=lambda c: (-rows[c], c)))

    def total(self, currency: str) -> Decimal:
        """Return the sum over all periods of one currency."""
        return add_up(p.amount for p in self.periods if p.currency == currency)

    def sums(self, spends: Sequence[Spend], currency: str) -> dict[str, tuple[Decimal, int]]:
        """Return amount and lines of each subject over all months of one currency."""
        found: dict[str, tuple[Decimal, int]] = {}
        for spend in spends:
            if spend.currency == currency:
                amount, rows = found.get(spend.subject, (Decimal(0), 0))
                found[spend.subject] = (add_up((amount, spend.amount)), rows + spend.rows)
        return dict(sorted(found.items(), key=lambda s: (-s[1][0], s[0])))

    def newest_period(self, currency: str) -> Period | None:
        """Return the last month of the bill, open or not."""
        return max(
            (p for p in self.periods if p.currency == currency), default=None, key=lambda p: p.start
        )

    def reference_period(self, currency: str) -> Period | None:
        """Return the last month that can be taken for whole, else the last month.

        That is a closed one; where no month is known to be closed, the one before the last, since
        the last may have just begun.
        """
        months = sorted((p for p in self.periods if p.currency == currency), key=lambda p: p.start)
        whole = [p for p in months if p.closed] or months[-2:-1] or months
        return whole[-1] if whole else None

    def network_share(self, period: Period) -> float | None:
        """Return network cost over usage cost of one month; None when nothing was used."""
        if period.usage <= 0:
            return None
        network = add_up(
            s.amount
            for s in self.network
            if s.currency == period.currency and s.start == period.start
        )
        return float(network / period.usage)

    def spend_of(self, spends: Sequence[Spend], period: Period) -> list[Spend]:
        """Return the amounts of one month, the largest first."""
        found = [s for s in spends if (s.currency, s.start) == (period.currency, period.start)]
        return sorted(found, key=lambda s: (-s.amount, s.subject))


def main_currency(bill: Bill, preferred: str) -> str | None:
    """Return the preferred currency when the bill has it, else the one with most rows."""
    return preferred if preferred in bill.currencies else next(iter(bill.currencies), None)


def exact(amount: Decimal) -> str:
    """Return an amount as plain digits: every digit that matters, never an exponent."""
    text = f"{amount:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def money(amount: Decimal, currency: str) -> str:
    """Return an amount for a reader: two decimals and the currency's code."""
    return f"{amount:,.2f} {currency}"
