"""What changed since last time: prices, spend, quality, latency; alert past two floors, not one.

What was not measured or cannot be compared is None and says why; it is never zero.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from math import sqrt


@dataclass(frozen=True)
class Floors:
    """A change is worth waking somebody for when it passes both."""

    absolute: Decimal
    relative: Decimal

    def passed(self, before: Decimal, after: Decimal) -> bool:
        """Tell whether the change is past both floors; from zero any relative change counts."""
        change = abs(after - before)
        if change < self.absolute or change == 0:
            return False
        return before == 0 or change / abs(before) >= self.relative


@dataclass(frozen=True)
class Alert:
    """One thing somebody should know, with the numbers behind it (JSON-able)."""

    kind: str
    sentence: str
    numbers: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One subject of the night: what was compared, or why it could not be."""

    subject: str
    compared: bool
    lines: tuple[str, ...]
    alerts: tuple[Alert, ...] = ()
    numbers: Mapping[str, object] = field(default_factory=dict)


# --- prices ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quote:
    """A price as a snapshot keeps it."""

    item: str
    unit: str
    currency: str
    amount: Decimal


def compare_prices(before: Sequence[Quote], after: Sequence[Quote], floors: Floors) -> Finding:
    """Compare two snapshots. A changed unit or currency is a new item, never a ratio."""
    if not before:
        return Finding("prices", False, ("nothing to compare yet: this is the first snapshot",))
    old = {(q.item, q.unit, q.currency): q.amount for q in before}
    new = {(q.item, q.unit, q.currency): q.amount for q in after}
    lines, alerts = [], []
    for key in sorted(old.keys() & new.keys()):
        was, now = old[key], new[key]
        if was == now:
            continue
        item, unit, currency = key
        ratio = f" ({float((now - was) / was):+.0%})" if was else ""
        line = f"{item}: {was} → {now} {currency} per {unit}{ratio}"
        lines.append(line)
        if floors.passed(was, now):
            alerts.append(Alert("price", line, {"item": item, "before": str(was), "now": str(now)}))
    added = sorted(k[0] for k in new.keys() - old.keys())
    gone = sorted(k[0] for k in old.keys() - new.keys())
    if added:
        lines.append(f"new in the price book: {', '.join(added)}")
    if gone:
        lines.append(f"gone from the price book: {', '.join(gone)}")
    return Finding(
        "prices",
        True,
        tuple(lines) or (f"{len(new)} prices, none changed",),
        tuple(alerts),
        {"items": len(new), "new": added, "gone": gone},
    )


# --- spend -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LineItem:
    """What one item cost in one period. ``quantity`` None: the bill did not say."""

    item: str
    cost: Decimal
    quantity: Decimal | None = None
    unit: str = ""


@dataclass(frozen=True)
class Decomposition:
    """Why spend changed; the parts add up to ``after - before`` exactly.

    ``price``, ``volume`` and ``mix`` are None when no item has quantities in both periods;
    ``unexplained`` is the change of items without them.
    """

    before: Decimal
    after: Decimal
    price: Decimal | None
    volume: Decimal | None
    mix: Decimal | None
    new_items: Decimal
    gone_items: Decimal
    unexplained: Decimal


def decompose(before: Sequence[LineItem], after: Sequence[LineItem]) -> Decomposition:
    """Split a change of spend into price, volume, mix, new and gone items.

    Over items with a quantity in both periods, unit by unit: price = Σ (p₁ − p₀) · q₁; volume =
    C₀ · (Q₁/Q₀ − 1) with Q the unit's total quantity; mix is the rest, what the shift between
    dearer and cheaper items makes.
    """
    old = {(i.item, i.unit): i for i in before}
    new = {(i.item, i.unit): i for i in after}
    groups: dict[str, list[tuple[LineItem, LineItem]]] = {}
    unexplained = Decimal(0)
    for key in old.keys() & new.keys():
        was, now = old[key], new[key]
        if was.quantity and now.quantity:
            groups.setdefault(was.unit, []).append((was, now))
        else:
            unexplained += now.cost - was.cost
    price, volume, mix = Decimal(0), Decimal(0), Decimal(0)
    for pairs in groups.values():
        cost0 = sum((w.cost for w, _ in pairs), Decimal(0))
        cost1 = sum((n.cost for _, n in pairs), Decimal(0))
        quantity0 = sum((w.quantity or Decimal(0) for w, _ in pairs), Decimal(0))
        quantity1 = sum((n.quantity or Decimal(0) for _, n in pairs), Decimal(0))
        part_price = sum(
            (
                n.cost - w.cost / w.quantity * n.quantity
                for w, n in pairs
                if w.quantity and n.quantity
            ),
            Decimal(0),
        )
        part_volume = cost0 * quantity1 / quantity0 - cost0 if quantity0 else Decimal(0)
        price += part_price
        volume += part_volume
        mix += (cost1 - cost0) - part_price - part_volume
    return Decomposition(
        before=sum((i.cost for i in before), Decimal(0)),
        after=sum((i.cost for i in after), Decimal(0)),
        price=price if groups else None,
        volume=volume if groups else None,
        mix=mix if groups else None,
        new_items=sum((new[k].cost for k in new.keys() - old.keys()), Decimal(0)),
        gone_items=-sum((old[k].cost for k in old.keys() - new.keys()), Decimal(0)),
        unexplained=unexplained,
    )


@dataclass(frozen=True)
class PeriodSpend:
    """One audited period. ``items`` None: the audit kept no spend by service."""

    period: str
    closed: bool
    currency: str
    total: Decimal
    audited_on: date
    items: tuple[LineItem, ...] | None = None


def compare_spend(periods: Sequence[PeriodSpend], floors: Floors, *, trailing: int = 4) -> Finding:
    """Compare the newest period with the mean of those before it; closed periods only.

    ``periods`` may hold one period several times (it was audited again): the last one counts.
    """
    newest_of = {p.period: p for p in sorted(periods, key=lambda p: p.audited_on)}
    closed = [newest_of[k] for k in sorted(newest_of) if newest_of[k].closed]
    open_ones = [k for k in sorted(newest_of) if not newest_of[k].closed]
    note = (f"{', '.join(open_ones)} still open: not an actual, not compared",) if open_ones else ()
    if not newest_of:
        return Finding("spend", False, ("nothing to compare yet: no audit with a bill",))
    if len(closed) < 2:
        only = f"one closed period ({closed[0].period})" if closed else "no closed period"
        return Finding("spend", False, (f"nothing to compare yet: {only}", *note))
    now, earlier = closed[-1], closed[-1 - trailing : -1]
    if {p.currency for p in earlier} != {now.currency}:
        return Finding("spend", False, ("periods in several currencies are not compared", *note))
    usual = sum((p.total for p in earlier), Decimal(0)) / len(earlier)
    line = (
        f"{now.period}: {now.total} {now.currency}; the {len(earlier)} before it on average "
        f"{usual:.2f}"
    )
    lines, numbers = [line], {"period": now.period, "now": str(now.total), "usual": f"{usual:.2f}"}
    before = earlier[-1]
    if now.items is None or before.items is None:
        lines.append("not decomposed: the audits hold no spend by service")
    else:
        parts = decompose(before.items, now.items)
        named = {
            "price": parts.price,
            "volume": parts.volume,
            "mix": parts.mix,
            "new items": parts.new_items,
            "gone items": parts.gone_items,
            "without quantity": parts.unexplained,
        }
        told = ", ".join(
            f"{name} {'not known' if v is None else format(v, '+.2f')}" for name, v in named.items()
        )
        lines.append(f"against {before.period}: {told}")
        numbers["parts"] = str({k: None if v is None else str(v) for k, v in named.items()})
    alerts = (Alert("spend", line, dict(numbers)),) if floors.passed(usual, now.total) else ()
    return Finding("spend", True, (*lines, *note), alerts, numbers)


def forecast(spent: Decimal, today: date) -> Decimal:
    """Return the month's spend if the days to come are like those that passed, today included."""
    days = calendar.monthrange(today.year, today.month)[1]
    return (spent / today.day * days).quantize(Decimal("0.01"))


# --- the decision ------------------------------------------------------------------------------


def compare_decision(decided: str | None, now: str | None, sentence: str) -> Finding:
    """Say whether today's prices and volumes would lead to the same architecture."""
    if decided is None:
        return Finding("decision", False, ("nothing to compare yet: no architecture was chosen",))
    if decided == now:
        return Finding("decision", True, (f"{decided} would be chosen again",))
    line = f"{decided} was chosen; today it would be {now or 'none'}: {sentence}"
    return Finding(
        "decision",
        True,
        (line,),
        (Alert("decision", line, {"decided": decided, "today": now}),),
        {"decided": decided, "today": now},
    )


# --- quality, latency, certificates ------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """What a bounded sample of judged queries gave tonight."""

    ndcg: tuple[float, ...]
    latencies_ms: tuple[float, ...]
    failed: int


def compare_quality(promised: float | None, sample: Sample | None) -> Finding:
    """Compare nDCG@10 with the promotion's. Decay is a fall past .03, 5 % and twice the sample's
    standard error, so that a small sample cannot cry wolf."""
    subject = "quality"
    if promised is None:
        return Finding(subject, False, ("nothing to compare yet: no validation to compare with",))
    if sample is None or len(sample.ndcg) < 2:
        return Finding(subject, False, ("not measured: too few judged queries were answered",))
    n = len(sample.ndcg)
    now = sum(sample.ndcg) / n
    variance = sum((x - now) ** 2 for x in sample.ndcg) / (n - 1)
    error = sqrt(variance / n)
    line = f"nDCG@10 {now:.3f} ± {2 * error:.3f} on {n} queries; at promotion {promised:.3f}"
    fall = promised - now
    decayed = fall > max(0.03, 0.05 * promised, 2 * error)
    numbers = {"ndcg_at_10": now, "standard_error": error, "queries": n, "promised": promised}
    lines = [line]
    if sample.failed:
        lines.append(f"{sample.failed} queries were not answered and count as not measured")
    alerts = (Alert("quality", f"quality fell: {line}", numbers),) if decayed else ()
    return Finding(subject, True, tuple(lines), alerts, numbers)


def compare_latency(promised_ms: float | None, sample: Sample | None, *, ratio: float) -> Finding:
    """Compare p95 with the promotion's: an alert past ``ratio`` and past 20 ms."""
    subject = "latency"
    if promised_ms is None:
        return Finding(subject, False, ("nothing to compare yet: no validation to compare with",))
    if sample is None or len(sample.latencies_ms) < 20:
        return Finding(subject, False, ("not measured: fewer than 20 queries were answered",))
    ordered = sorted(sample.latencies_ms)
    now = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    line = f"p95 {now:.1f} ms on {len(ordered)} queries; at validation {promised_ms:.1f} ms"
    slower = now > promised_ms * ratio and now - promised_ms > 20
    numbers = {"p95_ms": now, "promised_ms": promised_ms}
    alerts = (Alert("latency", f"slower: {line}", numbers),) if slower else ()
    return Finding(subject, True, (line,), alerts, numbers)


def check_certificate(
    expires: datetime | None,
    now: datetime,
    *,
    warn_hours: float,
    drilled: int | None,
    serving: int | None,
) -> Finding:
    """Say whether the rollback that was drilled is still certified, and for how long."""
    subject = "certificate"
    if expires is None:
        return Finding(subject, False, ("nothing to check yet: no rollback was ever drilled",))
    hours = (expires - now).total_seconds() / 3600
    numbers = {"hours_left": hours, "generation": drilled}
    line = f"generation {drilled}, until {expires:%Y-%m-%d %H:%M %Z}"
    if hours <= 0:
        line = f"expired: {line}"
    if serving is not None and drilled != serving:
        line += f"; generation {serving} serves"
    stale = hours <= warn_hours
    alerts = (Alert("certificate", f"rollback certificate, {line}", numbers),) if stale else ()
    return Finding(subject, True, (line,), alerts, numbers)
