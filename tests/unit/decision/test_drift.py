"""Drift: two floors, an exact decomposition, and "not measured" that is never zero."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.decision.drift_rules import (
    Decomposition,
    Finding,
    Floors,
    LineItem,
    PeriodSpend,
    Quote,
    Sample,
    check_certificate,
    compare_decision,
    compare_latency,
    compare_prices,
    compare_quality,
    compare_spend,
    decompose,
    forecast,
)

FLOORS = Floors(Decimal(20), Decimal("0.15"))


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        ("100", "130", True),  # 30 and 30 %
        ("100", "118", False),  # under the absolute floor
        ("1000", "1100", False),  # 100, but only 10 %
        ("100", "60", True),  # a fall counts as well
        ("0", "25", True),  # from nothing any relative change counts
        ("0", "0", False),
    ],
)
def test_an_alert_needs_both_floors(before: str, after: str, passed: bool) -> None:
    assert FLOORS.passed(Decimal(before), Decimal(after)) is passed


def quote(item: str, amount: str, unit: str = "hour") -> Quote:
    return Quote(item, unit, "USD", Decimal(amount))


def test_prices_changed_new_and_gone() -> None:
    before = [quote("a", "10"), quote("b", "1"), quote("c", "1"), quote("d", "1")]
    after = [quote("a", "15"), quote("b", "1.01"), quote("e", "2"), quote("d", "1", "day")]
    found = compare_prices(before, after, Floors(Decimal("0.01"), Decimal("0.05")))
    assert [a.numbers["item"] for a in found.alerts] == ["a"]  # b rose by 1 % only
    assert found.lines[0] == "a: 10 → 15 USD per hour (+50%)"
    # another unit is another item, never a ratio
    assert found.numbers == {"items": 4, "new": ["d", "e"], "gone": ["c", "d"]}


def test_without_a_snapshot_nothing_is_compared() -> None:
    found = compare_prices([], [quote("a", "1")], FLOORS)
    assert not found.compared
    assert "nothing to compare yet" in found.lines[0]


def item(name: str, cost: str, quantity: str | None = None, unit: str = "h") -> LineItem:
    return LineItem(name, Decimal(cost), None if quantity is None else Decimal(quantity), unit)


def test_price_volume_and_mix_apart() -> None:
    # p₀ 1 and 4, p₁ 2 and 4; price (2 − 1) · 20 = 20; volume 50 · (30/20 − 1) = 25;
    # mix: at old prices 20 · 1 + 10 · 4 = 60 against 75 by volume alone: −15
    found = decompose(
        [item("small", "10", "10"), item("large", "40", "10")],
        [item("small", "40", "20"), item("large", "40", "10"), item("new", "7", "1")],
    )
    assert found == Decomposition(
        before=Decimal(50),
        after=Decimal(87),
        price=Decimal(20),
        volume=Decimal(25),
        mix=Decimal(-15),
        new_items=Decimal(7),
        gone_items=Decimal(0),
        unexplained=Decimal(0),
    )


def test_without_quantities_price_and_volume_are_not_known() -> None:
    found = decompose([item("a", "10"), item("b", "3")], [item("a", "15")])
    assert (found.price, found.volume, found.mix) == (None, None, None)
    assert (found.unexplained, found.gone_items) == (Decimal(5), Decimal(-3))


LINES = st.lists(
    st.builds(
        LineItem,
        item=st.sampled_from("abcd"),
        cost=st.decimals(0, 10_000, places=2),
        quantity=st.none() | st.decimals(0, 1_000, places=2),
        unit=st.sampled_from(["h", "GB"]),
    ),
    max_size=6,
    unique_by=lambda i: (i.item, i.unit),
)


@given(LINES, LINES)
def test_the_parts_always_add_up(before: list[LineItem], after: list[LineItem]) -> None:
    d = decompose(before, after)
    parts = [d.price, d.volume, d.mix, d.new_items, d.gone_items, d.unexplained]
    total = sum((p for p in parts if p is not None), Decimal(0))
    assert total == pytest.approx(d.after - d.before, abs=Decimal("1e-15"))


def period(month: str, total: str, *, closed: bool = True, currency: str = "USD") -> PeriodSpend:
    return PeriodSpend(month, closed, currency, Decimal(total), date(2026, 11, 1))


@pytest.mark.parametrize(
    ("periods", "compared", "alerts", "says"),
    [
        ([], False, 0, "no audit with a bill"),
        ([period("2026-01", "100")], False, 0, "one closed period (2026-01)"),
        ([period("2026-01", "100", closed=False)], False, 0, "not an actual"),
        ([period("2026-01", "100"), period("2026-02", "200")], True, 1, "on average 100.00"),
        ([period("2026-01", "100"), period("2026-02", "105")], True, 0, "not decomposed"),
        (
            [period("2026-01", "100"), period("2026-02", "900", currency="EUR")],
            False,
            0,
            "several currencies",
        ),
        (
            [
                period("2026-01", "100"),
                period("2026-02", "100"),
                period("2026-03", "9", closed=False),
            ],
            True,
            0,
            "2026-03 still open",
        ),
    ],
)
def test_spend(periods: list[PeriodSpend], compared: bool, alerts: int, says: str) -> None:
    found = compare_spend(periods, FLOORS)
    assert (found.compared, len(found.alerts)) == (compared, alerts)
    assert says in " ".join(found.lines)


def test_the_last_audit_of_a_period_counts() -> None:
    early = PeriodSpend("2026-02", True, "USD", Decimal(1), date(2026, 3, 1))
    late = PeriodSpend("2026-02", True, "USD", Decimal(100), date(2026, 3, 9))
    found = compare_spend([late, period("2026-01", "100"), early], FLOORS)
    assert found.numbers["now"] == "100"


@pytest.mark.parametrize(
    ("spent", "day", "end"),
    [
        ("10", date(2026, 11, 10), "30.00"),  # 10 / 10 · 30
        ("28", date(2026, 2, 28), "28.00"),
        ("1", date(2028, 2, 1), "29.00"),  # a leap year
    ],
)
def test_forecast(spent: str, day: date, end: str) -> None:
    assert forecast(Decimal(spent), day) == Decimal(end)


def sample(ndcg: float, n: int = 40, latency: float = 10.0) -> Sample:
    spread = [ndcg + 0.01 * (-1) ** i for i in range(n)]
    return Sample(tuple(spread), (latency,) * n, 0)


@pytest.mark.parametrize(
    ("promised", "measured", "compared", "alerts"),
    [
        (None, sample(0.6), False, 0),
        (0.6, None, False, 0),
        (0.6, Sample((), (), 3), False, 0),
        (0.6, sample(0.6), True, 0),
        (0.6, sample(0.58), True, 0),  # a fall of .02 is under the floor
        (0.6, sample(0.5), True, 1),
        (0.6, Sample((0.0, 1.0) * 4, (1.0,) * 8, 0), True, 0),  # .5 ± .38: too few to tell
    ],
)
def test_quality(
    promised: float | None, measured: Sample | None, compared: bool, alerts: int
) -> None:
    found = compare_quality(promised, measured)
    assert (found.compared, len(found.alerts)) == (compared, alerts)


@pytest.mark.parametrize(
    ("promised", "latency", "compared", "alerts"),
    [(None, 10, False, 0), (10, 12, True, 0), (10, 29, True, 0), (10, 40, True, 1)],
)
def test_latency(promised: float | None, latency: float, compared: bool, alerts: int) -> None:
    found = compare_latency(promised, sample(0.6, latency=latency), ratio=2.0)
    assert (found.compared, len(found.alerts)) == (compared, alerts)


def test_too_few_latencies_are_not_measured() -> None:
    assert not compare_latency(10, sample(0.6, n=19), ratio=2.0).compared


NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "alerts", "says"),
    [
        (None, 0, "no rollback was ever drilled"),
        (100, 0, "until"),
        (3, 1, "until"),
        (-1, 1, "expired"),
    ],
)
def test_certificates(hours: float | None, alerts: int, says: str) -> None:
    expires = None if hours is None else NOW + timedelta(hours=hours)
    found: Finding = check_certificate(expires, NOW, warn_hours=48, drilled=3, serving=4)
    assert len(found.alerts) == alerts
    assert says in found.lines[0]
    assert hours is None or "generation 4 serves" in found.lines[0]


@pytest.mark.parametrize(
    ("decided", "now", "compared", "alerts"),
    [(None, "a", False, 0), ("a", "a", True, 0), ("a", "b", True, 1), ("a", None, True, 1)],
)
def test_the_decision_again(
    decided: str | None, now: str | None, compared: bool, alerts: int
) -> None:
    found = compare_decision(decided, now, "because")
    assert (found.compared, len(found.alerts)) == (compared, alerts)
