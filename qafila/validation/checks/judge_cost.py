"""Rung 9 decides: what a thousand queries cost, the month at the projected volume, the ratio.

Machine time is priced as if the machine were fully used (``cost_per_thousand``), which is fair
between two systems and a floor for a bill. A month is never less than one whole machine: none is
rented by the millisecond. Amounts are in one currency; nothing is converted, and a price that is
not known is None, never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from math import isfinite

import numpy as np

from qafila.decision.prices import HOURS_PER_MONTH, Price
from qafila.statistics.intervals import mean_interval, resampled_counts
from qafila.stores.sizes import GIB
from qafila.validation.judge_common import cost_per_thousand
from qafila.workload.model import Projection
from qafila.workload.verdict import Judgement, Verdict

MACHINE, EMBEDDING, STORAGE = "machine time", "embedding of queries", "storage of vectors"
_CENT = Decimal("0.01")


@dataclass(frozen=True)
class Volume:
    """The dearest month of the coming twelve, and the growth it stands for."""

    queries: Decimal
    grown: Decimal  # factor on today's volume

    @classmethod
    def of(cls, projection: Projection) -> Volume:
        """Return the first month or, where the volume grows, the one a year from now."""
        grown = max(Decimal(1), 1 + Decimal(repr(projection.growth_per_year)))
        return cls(projection.queries_per_month * grown, grown)


@dataclass(frozen=True)
class Usage:
    """What one system takes: ms of every answered query; None where a figure is not known.

    ``embedding`` is the mean price of embedding one query, ``vector_bytes`` what its vectors take
    today.
    """

    ms: Sequence[float]
    embedding: Decimal | None
    vector_bytes: int | None


@dataclass(frozen=True)
class SystemCost:
    """What one system costs, in the currency of the prices.

    ``month`` names the parts; ``low`` and ``high`` are the 95 % interval of their sum, None when a
    part is not known.
    """

    machine: Decimal
    embedding: Decimal | None
    month: Mapping[str, Decimal | None]
    low: Decimal | None
    high: Decimal | None

    @property
    def per_thousand(self) -> Decimal | None:
        """Return what 1 000 queries cost: machine time and their embedding."""
        return None if self.embedding is None else self.machine + self.embedding

    @property
    def total(self) -> Decimal | None:
        """Return the month; None when a part is not known."""
        return _sum(self.month.values())

    def parts(self, currency: str) -> str:
        """Return the parts of the month in words, the largest first."""
        known = sorted(self.month.items(), key=lambda p: -(p[1] or Decimal(0)))
        return ", ".join(
            f"{name} " + ("not known" if v is None else f"{_money(v)} {currency}")
            for name, v in known
        )


def cost_of(
    usage: Usage,
    volume: Volume,
    machine: Price,
    storage: Price | None,
    *,
    seed: int,
    dearer: float = 1.0,
) -> SystemCost:
    """Price what one system takes. ``dearer`` multiplies the price of its machine.

    Raises:
        ValueError: no query was answered, or the machine has no vCPU.
    """
    hourly = machine.amount * Decimal(repr(dearer))
    mean = sum(usage.ms) / len(usage.ms) if usage.ms else None
    if mean is None:
        raise ValueError("no query was answered")

    def month_of(mean_ms: float) -> Decimal:
        used = cost_per_thousand(hourly, mean_ms, machine.vcpus) * volume.queries / 1000
        return max(used, hourly * HOURS_PER_MONTH)

    embedding = None if usage.embedding is None else usage.embedding * volume.queries
    stored: Decimal | None = None
    if usage.vector_bytes == 0:
        stored = Decimal(0)
    elif usage.vector_bytes is not None and storage is not None:
        gib = Decimal(usage.vector_bytes) * volume.grown / GIB
        stored = gib * storage.amount * HOURS_PER_MONTH
    low, high = mean_interval(list(usage.ms), seed=seed)
    rest = _sum([embedding, stored])
    return SystemCost(
        cost_per_thousand(hourly, mean, machine.vcpus),
        None if usage.embedding is None else usage.embedding * 1000,
        {MACHINE: month_of(mean), EMBEDDING: embedding, STORAGE: stored},
        None if rest is None else month_of(max(low, 0.0)) + rest,
        None if rest is None else month_of(high) + rest,
    )


def judge_month(cost: SystemCost, budget: Decimal, currency: str, volume: Volume) -> Judgement:
    """Judge the candidate's month against the budget by its whole interval."""
    numbers = {"month": str(cost.total), "budget": str(budget), "currency": currency}
    per = cost.per_thousand
    said = (
        f"1,000 queries cost {'an unknown sum' if per is None else f'{per:.6f} {currency}'}; a "
        f"month of {volume.queries:,.0f} queries"
    )
    if cost.total is None or cost.low is None or cost.high is None:
        return Judgement(
            Verdict.INCONCLUSIVE,
            f"{said} cannot be priced ({cost.parts(currency)}): a price is missing.",
            numbers,
        )
    said += f" costs {_money(cost.total)} {currency} ({cost.parts(currency)})"
    limit = f"the budget of {_money(budget)} {currency}"
    if cost.high <= budget:
        return Judgement(Verdict.PASS, f"{said}, within {limit}.", numbers)
    if cost.low > budget:
        return Judgement(Verdict.FAIL, f"{said}, over {limit}.", numbers)
    return Judgement(
        Verdict.INCONCLUSIVE,
        f"{said}, {_money(cost.low)} to {_money(cost.high)} at 95 %, on both sides of {limit}: "
        "more judged queries would decide.",
        numbers,
    )


@dataclass(frozen=True)
class CostRatio:
    """The candidate's cost of a query over the baseline's, on the same queries."""

    ratio: float
    ci_low: float
    ci_high: float


def compare_costs(
    candidate: Sequence[float], baseline: Sequence[float], *, seed: int, resamples: int = 4000
) -> CostRatio | None:
    """Return the ratio of two means over the same queries, with a percentile bootstrap interval.

    Queries are resampled, both sides together (Efron and Tibshirani 1993, chapter 13). None: there
    is nothing to compare, or the baseline costs nothing.
    """
    new, old = np.asarray(candidate, np.float64), np.asarray(baseline, np.float64)
    if new.size == 0 or old.sum() <= 0:
        return None
    drawn = []
    for counts in resampled_counts(len(new), seed=seed, resamples=resamples):
        below = counts @ old
        drawn.append((counts @ new)[below > 0] / below[below > 0])
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    ratio = float(new.sum() / old.sum())
    return CostRatio(ratio, min(float(low), ratio), max(float(high), ratio))


def judge_cost_ratio(ratio: CostRatio | None, at_most: float | None) -> Judgement | None:
    """Judge the ratio by its whole interval; None: there is no objective.

    Without one the ratio is shown all the same.
    """
    if at_most is None:
        return None
    if ratio is None or not isfinite(ratio.ratio):
        return Judgement(
            Verdict.INCONCLUSIVE, "the candidate's cost cannot be compared with the baseline's."
        )
    numbers = {
        "ratio": ratio.ratio,
        "ci_low": ratio.ci_low,
        "ci_high": ratio.ci_high,
        "at_most_ratio": at_most,
    }
    said = f"{ratio_said(ratio)}; at most {at_most:g} times is allowed"
    if ratio.ci_high <= at_most:
        return Judgement(Verdict.PASS, f"{said}.", numbers)
    if ratio.ci_low > at_most:
        return Judgement(Verdict.FAIL, f"{said}, and all of the interval is above it.", numbers)
    return Judgement(Verdict.INCONCLUSIVE, f"{said}: more judged queries would decide.", numbers)


def ratio_said(ratio: CostRatio) -> str:
    """Return the ratio in words."""
    return (
        f"a query costs {ratio.ratio:.2f} times what it costs the baseline "
        f"(95 % {ratio.ci_low:.2f}…{ratio.ci_high:.2f})"
    )


def _sum(parts: Iterable[Decimal | None]) -> Decimal | None:
    known = Decimal(0)
    for part in parts:
        if part is None:
            return None
        known += part
    return known


def _money(amount: Decimal) -> str:
    rounded = amount.quantize(_CENT, ROUND_HALF_UP)
    return f"{rounded:f}" if rounded or not amount else f"{amount:.6f}"  # not 0.00
