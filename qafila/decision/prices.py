"""The price book: dated, sourced list prices in one currency; what a month costs, P50 and P90."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import numpy.typing as npt

from qafila.decision.egress import Tariff, tariffs_of
from qafila.errors import BadInput
from qafila.stores.sizes import Gpu, ModelShape
from qafila.text.strict_toml import load_toml

HOURS_PER_MONTH = 730
CURRENCY = "USD"
Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Price:
    """One list price with its source and date; machines carry what they are and where."""

    item: str
    kind: str
    unit: str
    currency: str
    amount: Decimal
    source: str
    as_of: date
    provider: str = ""
    country: str = ""
    region: str = ""
    vcpus: int = 0
    memory_gib: int = 0
    gpu: str = ""
    gpu_count: int = 0
    gpu_memory_gib: int = 0
    tier: str = ""


@dataclass(frozen=True)
class PriceBook:
    """Everything a pattern is priced from."""

    prices: Mapping[str, Price]
    tariffs: Mapping[str, Tariff]
    models: Mapping[str, ModelShape]
    gpus: Mapping[str, Gpu]
    currency: str = CURRENCY

    def __getitem__(self, item: str) -> Price:
        try:
            return self.prices[item]
        except KeyError:
            raise BadInput(f"the price book has no item {item!r}.") from None

    def machines(self, kind: str, *, tier: str = "", provider: str = "") -> list[Price]:
        """Return machines of one kind, cheapest first; the item's name breaks a tie."""
        found = [
            p
            for p in self.prices.values()
            if p.kind == kind and p.tier == tier and (not provider or p.provider == provider)
        ]
        return sorted(found, key=lambda p: (p.amount, p.item))


def parse_price_book(prices: str, models: str, egress: str) -> PriceBook:
    """Read the three tables (TOML) and check every row.

    Raises:
        BadInput: a row lacks a source, a date or an amount, is in another currency, or appears
            twice; all problems at once.
    """
    problems: list[str] = []
    of_models = load_toml(models, "the table of models")
    rows = {
        "price": load_toml(prices, "the table of prices").get("price", []),
        "tier": load_toml(egress, "the table of egress tariffs").get("tier", []),
        "model": of_models.get("model", []),
        "gpu": of_models.get("gpu", []),
    }
    for table, entries in rows.items():
        problems += _row_problems(table, entries, money=table in ("price", "tier"))
    if problems:
        raise BadInput("the price book is not usable:", problems)
    book = {r["item"]: Price(**{**r, "amount": Decimal(r["amount"])}) for r in rows["price"]}
    book |= {
        r["item"]: Price(
            r["item"],
            "egress",
            r["unit"],
            r["currency"],
            Decimal(r["amount"]),
            r["source"],
            r["as_of"],
        )
        for r in rows["tier"]
    }
    skip = ("item", "source", "as_of")
    return PriceBook(
        prices=book,
        tariffs=tariffs_of(rows["tier"]),
        models={r["item"]: ModelShape(r["item"], **_without(r, skip)) for r in rows["model"]},
        gpus={r["item"]: Gpu(r["item"], **_without(r, skip)) for r in rows["gpu"]},
    )


def _without(row: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in keys}


def _row_problems(table: str, entries: list[dict[str, Any]], *, money: bool) -> list[str]:
    problems: list[str] = []
    seen: set[str] = set()
    if not entries:
        problems.append(f"there is no [[{table}]] row")
    for number, row in enumerate(entries, 1):
        item = str(row.get("item") or "")
        where = f"{table} {item or f'number {number}'}"
        if not item:
            problems.append(f"{where}: no item")
        if item in seen:
            problems.append(f"{where}: appears twice")
        seen.add(item)
        if not str(row.get("source") or "").strip():
            problems.append(f"{where}: no source")
        if not isinstance(row.get("as_of"), date):
            problems.append(f"{where}: no date; write as_of = 2026-01-31")
        if not money:
            continue
        if not row.get("unit"):
            problems.append(f"{where}: no unit")
        if row.get("currency") != CURRENCY:
            problems.append(f"{where}: currency {row.get('currency')!r}, the book is in {CURRENCY}")
        if not isinstance(row.get("amount"), str) or not _is_amount(row["amount"]):
            problems.append(f"{where}: amount must be a decimal in quotes, 0 or more")
    return problems


def _is_amount(text: str) -> bool:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return False
    return amount.is_finite() and amount >= 0


@dataclass(frozen=True)
class Uncertainty:
    """What is not known about a coming month; each a stated assumption, not a finding.

    Volumes are lognormal around their plan; the month is any of the coming twelve, so growth
    counts; usage of a service outside the plan adds up to ``overhead`` (logs, backups, tests).
    """

    volume_sigma: float = 0.25
    corpus_sigma: float = 0.10
    overhead: float = 0.15
    months: int = 12


@dataclass(frozen=True)
class Volumes:
    """Plan volumes drawn once per sample: what a month may look like."""

    queries: Samples
    documents: Samples
    overhead: Samples


def draw_volumes(
    queries_per_month: float,
    documents: float,
    growth_per_year: float,
    *,
    seed: int,
    samples: int,
    uncertainty: Uncertainty = Uncertainty(),
) -> Volumes:
    """Draw ``samples`` months from a seeded generator: the same seed, the same months."""
    random = np.random.default_rng(seed)
    u = uncertainty
    month = random.uniform(0, u.months, samples)
    grown = (1.0 + growth_per_year) ** (month / 12.0)
    queries = queries_per_month * grown * random.lognormal(0.0, u.volume_sigma, samples)
    docs = documents * grown * random.lognormal(0.0, u.corpus_sigma, samples)
    return Volumes(queries, docs, 1.0 + random.uniform(0.0, u.overhead, samples))


@dataclass(frozen=True)
class Spread:
    """The median and the 90th percentile of a month's cost."""

    p50: Decimal
    p90: Decimal


def spread(costs: Samples) -> Spread:
    """Return P50 and P90, rounded to cents. Estimates are floats; money is Decimal from here on."""
    p50, p90 = np.percentile(costs, [50, 90])
    cent = Decimal("0.01")
    return Spread(
        Decimal(repr(float(p50))).quantize(cent), Decimal(repr(float(p90))).quantize(cent)
    )


def egress_costs(tariff: Tariff, gigabytes: Samples) -> Samples:
    """Return a month's egress cost per sample: the tiers of ``tariff``, vectorised."""
    left, total = gigabytes.copy(), np.zeros_like(gigabytes)
    for tier in tariff.tiers:
        taken = left if tier.size_gb is None else np.minimum(left, float(tier.size_gb))
        total += taken * float(tier.rate)
        left = left - taken
    return total


def break_even_utilisation(
    hourly: Decimal, tokens_per_s: float, price_per_million: Decimal
) -> float | None:
    """Return the share of full load above which a machine beats paying by token.

    hourly / (tokens per second · 3 600 · price per token). Above 1 it never does; None when
    tokens cost nothing or the machine makes none, so that there is nothing to compare.
    """
    if tokens_per_s <= 0 or price_per_million <= 0:
        return None
    full_hour = Decimal(repr(tokens_per_s)) * 3600 * price_per_million / Decimal(1_000_000)
    return float(hourly / full_hour)


def first_where(
    holds: Callable[[float], bool], *, start: float, stop: float, points: int = 300
) -> float | None:
    """Return the first value on a logarithmic grid from ``start`` to ``stop`` that ``holds``.

    Costs move in steps (whole machines), so a grid is honest where bisection is not; the answer
    is right to one grid step. None: it holds nowhere in the range.
    """
    for value in np.geomspace(start, stop, points):
        if holds(float(value)):
            return float(value)
    return None
