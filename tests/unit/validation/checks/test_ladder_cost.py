"""Rung 9: which prices and volumes give which verdict."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.decision.prices import Price
from qafila.validation.checks.judge_cost import (
    EMBEDDING,
    MACHINE,
    STORAGE,
    SystemCost,
    Usage,
    Volume,
    compare_costs,
    cost_of,
    judge_cost_ratio,
    judge_month,
)
from qafila.workload.model import Projection
from qafila.workload.verdict import Verdict

# 0.36 an hour is 0.0001 a second, and two vCPUs share it
VM = Price("vm", "vm", "hour", "USD", Decimal("0.36"), "a list", date(2026, 1, 1), vcpus=2)
DISK = Price("disk", "storage", "GiB hour", "USD", Decimal("0.001"), "a list", date(2026, 1, 1))
VOLUME = Volume(Decimal(3_000_000), Decimal("1.5"))
USAGE = Usage([20.0] * 50, Decimal("0.00001"), 2**30)


def cost(usage: Usage = USAGE, **more: float) -> SystemCost:
    return cost_of(usage, VOLUME, VM, DISK, seed=7, **more)


def test_a_month_is_machine_time_embedding_and_storage() -> None:
    priced = cost()
    # 1 000 × 20 ms × 0.0001 / 2 = 0.001; one machine for 730 h is 262.80, more than 3 000 × 0.001
    assert priced.machine == Decimal("0.001000")
    assert priced.month[MACHINE] == Decimal("0.36") * 730
    assert priced.month[EMBEDDING] == Decimal(30)
    assert priced.month[STORAGE] == Decimal("1.5") * Decimal("0.001") * 730  # grown by half
    assert priced.per_thousand == Decimal("0.011")
    assert priced.low <= priced.total <= priced.high


def test_a_busy_month_costs_more_than_one_machine() -> None:
    slow = cost(replace(USAGE, ms=[4000.0] * 50))  # 0.2 a thousand, 3 000 thousands
    assert slow.month[MACHINE] == Decimal(600)
    dear = cost(replace(USAGE, ms=[4000.0] * 50), dearer=1.3)
    assert dear.month[MACHINE] == Decimal(780)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("293.90", Verdict.PASS), ("293.89", Verdict.FAIL), ("0", Verdict.FAIL)],
)
def test_the_month_is_judged_against_the_budget(budget: str, expected: Verdict) -> None:
    # 262.80 + 30 + 1.095 = 293.895, without any spread
    judged = judge_month(cost(), Decimal(budget), "USD", VOLUME)
    assert judged.verdict is expected
    assert "machine time 262.80 USD, embedding of queries 30.00 USD" in judged.sentence
    assert "a month of 3,000,000 queries costs 293.90 USD" in judged.sentence


def test_a_spread_on_both_sides_of_the_budget_is_inconclusive() -> None:
    chance = Random(1)
    spread = cost(replace(USAGE, ms=[chance.lognormvariate(8.0, 1.0) for _ in range(50)]))
    assert spread.low < spread.total < spread.high
    judged = judge_month(spread, spread.total, "USD", VOLUME)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judge_month(spread, spread.high, "USD", VOLUME).verdict is Verdict.PASS
    below = spread.low - Decimal("0.01")
    assert judge_month(spread, below, "USD", VOLUME).verdict is Verdict.FAIL


@pytest.mark.parametrize("missing", ["embedding", "vector_bytes"])
def test_a_missing_price_is_inconclusive_and_never_zero(missing: str) -> None:
    priced = cost(replace(USAGE, **{missing: None}))
    assert priced.total is None
    judged = judge_month(priced, Decimal(10_000), "USD", VOLUME)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "not known" in judged.sentence
    without_disk = cost_of(USAGE, VOLUME, VM, None, seed=7)
    assert without_disk.month[STORAGE] is None
    none_stored = cost_of(replace(USAGE, vector_bytes=0), VOLUME, VM, None, seed=7)
    assert none_stored.month[STORAGE] == 0


def test_what_was_not_answered_has_no_cost() -> None:
    with pytest.raises(ValueError, match="no query"):
        cost(replace(USAGE, ms=[]))


def test_the_dearest_of_twelve_months_counts() -> None:
    grown = Volume.of(Projection(queries_per_month=2_000_000, growth_per_year=0.5))
    assert (grown.queries, grown.grown) == (Decimal(3_000_000), Decimal("1.5"))
    shrinking = Volume.of(Projection(queries_per_month=2_000_000, growth_per_year=-0.5))
    assert shrinking.queries == Decimal(2_000_000)


def test_thirty_percent_more_is_seen() -> None:
    chance = Random(1)
    each = [chance.lognormvariate(2.0, 0.5) for _ in range(150)]
    noisy = [v * chance.lognormvariate(0.0, 0.1) for v in each]
    ratio = compare_costs([1.3 * v for v in noisy], each, seed=7)
    assert judge_cost_ratio(ratio, 1.15).verdict is Verdict.FAIL
    assert judge_cost_ratio(ratio, 1.5).verdict is Verdict.PASS
    assert judge_cost_ratio(ratio, ratio.ratio).verdict is Verdict.INCONCLUSIVE
    assert judge_cost_ratio(compare_costs(noisy, each, seed=7), 1.15).verdict is Verdict.PASS


def test_without_an_objective_the_ratio_is_not_judged() -> None:
    assert judge_cost_ratio(compare_costs([2.0], [1.0], seed=7), None) is None
    assert compare_costs([1.0], [0.0], seed=7) is None
    assert compare_costs([], [], seed=7) is None
    assert judge_cost_ratio(None, 1.2).verdict is Verdict.INCONCLUSIVE


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=30), st.floats(1, 5), st.floats(0.5, 3))
def test_dearer_is_never_judged_better(each: list[float], dearer: float, at_most: float) -> None:
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    base = [10.0] * len(each)
    one = judge_cost_ratio(compare_costs(each, base, seed=7, resamples=200), at_most)
    two = judge_cost_ratio(
        compare_costs([dearer * v for v in each], base, seed=7, resamples=200), at_most
    )
    assert order.index(two.verdict) >= order.index(one.verdict)
