"""Egress tiers: right, monotonic, continuous."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.core.egress import Tariff, Tier, tariff
from qafila.errors import BadInput
from tests.unit.price_book import BOOK

AWS = BOOK.tariffs["aws"]
VOLUMES = st.decimals(min_value=0, max_value=10**7, places=3, allow_nan=False)


@pytest.mark.parametrize(
    ("gigabytes", "cost"),
    [
        ("0", "0"),
        ("100", "0"),  # the free tier
        ("10340", "921.60"),  # 10 240 · 0.09
        ("51300", "4403.20"),  # and 40 960 · 0.085
        ("61440", "5113.00"),  # 60 TB: and 10 140 · 0.07
        ("153700", "11571.20"),  # and 102 400 · 0.07 in all
        ("153800", "11576.20"),  # and 100 · 0.05
    ],
)
def test_aws_tiers(gigabytes: str, cost: str) -> None:
    assert AWS.cost(Decimal(gigabytes)) == Decimal(cost)


@pytest.mark.parametrize("name", sorted(BOOK.tariffs))
@given(a=VOLUMES, b=VOLUMES)
def test_more_never_costs_less(name: str, a: Decimal, b: Decimal) -> None:
    low, high = sorted((a, b))
    assert BOOK.tariffs[name].cost(low) <= BOOK.tariffs[name].cost(high)


@pytest.mark.parametrize("name", sorted(BOOK.tariffs))
@given(a=VOLUMES, step=st.decimals(min_value=0, max_value=1, places=3, allow_nan=False))
def test_a_small_step_never_jumps(name: str, a: Decimal, step: Decimal) -> None:
    each: Tariff = BOOK.tariffs[name]
    dearest = max(t.rate for t in each.tiers)
    assert each.cost(a + step) - each.cost(a) <= step * dearest


@pytest.mark.parametrize(
    ("tiers", "problem"),
    [
        ([], "no tier"),
        ([Tier(Decimal(1), Decimal(10))], "the last tier has an end"),
        ([Tier(Decimal(1), None), Tier(Decimal(1), None)], "needs a size_gb"),
        ([Tier(Decimal(-1), None)], "negative"),
    ],
)
def test_tiers_that_leave_a_gap_are_refused(tiers: list[Tier], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        tariff("t", tiers)
