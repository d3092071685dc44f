"""The price book's rows, the drawn months, and break-even."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.decision.prices import (
    break_even_utilisation,
    draw_volumes,
    egress_costs,
    first_where,
    parse_price_book,
    spread,
)
from qafila.errors import BadInput
from tests.support.price_book import BOOK, EGRESS, MODELS, PRICES


@pytest.mark.parametrize(
    ("item", "amount"),
    [
        ("aws-p5-48xlarge-virginia", "55.04"),  # AWS on-demand list of 2026-07-20
        ("aws-g6-xlarge-virginia", "0.8048"),
        ("aws-g6e-xlarge-virginia", "1.861"),
        ("nebius-h100-finland", "2.95"),
        ("runpod-a100-texas", "1.39"),
    ],
)
def test_known_list_prices(item: str, amount: str) -> None:
    assert BOOK[item].amount == Decimal(amount)


def test_every_price_has_source_date_and_the_one_currency() -> None:
    assert all(p.source and p.as_of.year >= 2022 for p in BOOK.prices.values())
    assert {p.currency for p in BOOK.prices.values()} == {"USD"}


def test_all_mistakes_of_a_book_are_named_at_once() -> None:
    rows = """
    [[price]]
    item = "a"
    unit = "hour"
    currency = "EUR"
    amount = 1.5
    [[price]]
    item = "a"
    unit = "hour"
    currency = "USD"
    amount = "-1"
    source = "s"
    as_of = 2026-01-01
    """
    with pytest.raises(BadInput) as refused:
        parse_price_book(rows, MODELS, EGRESS)
    assert refused.value.problems == (
        "price a: no source",
        "price a: no date; write as_of = 2026-01-31",
        "price a: currency 'EUR', the book is in USD",
        "price a: amount must be a decimal in quotes, 0 or more",
        "price a: appears twice",
        "price a: amount must be a decimal in quotes, 0 or more",
    )


def test_an_unknown_item_is_named() -> None:
    with pytest.raises(BadInput, match="no item 'moon'"):
        BOOK["moon"]
    with pytest.raises(BadInput, match="no \\[\\[price\\]\\] row"):
        parse_price_book("", MODELS, EGRESS)
    assert PRICES.count("[[price]]") + EGRESS.count("[[tier]]") == len(BOOK.prices)


def test_the_same_seed_draws_the_same_months() -> None:
    first, again, other = (
        draw_volumes(1e6, 1e4, 0.5, seed=s, samples=500).queries for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # half a year of +50 % a year is a factor of about 1.22 at the median
    assert np.median(first) == pytest.approx(1.22e6, rel=0.06)


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_p50_never_exceeds_p90(costs: list[float]) -> None:
    found = spread(np.array(costs))
    assert found.p50 <= found.p90


@given(st.integers(0, 10**7))
def test_vectorised_egress_agrees_with_the_exact_one(gigabytes: int) -> None:
    exact = BOOK.tariffs["aws"].cost(Decimal(gigabytes))
    assert egress_costs(BOOK.tariffs["aws"], np.array([float(gigabytes)]))[0] == pytest.approx(
        float(exact)
    )


@pytest.mark.parametrize(
    ("hourly", "speed", "price", "share"),
    [
        ("3.60", 1000.0, "1", 1.0),  # 3.6 M tokens an hour at 1 a million
        ("3.60", 4000.0, "1", 0.25),
        ("3.60", 100.0, "1", 10.0),  # never
        ("3.60", 0.0, "1", None),
        ("3.60", 1000.0, "0", None),
    ],
)
def test_break_even(hourly: str, speed: float, price: str, share: float | None) -> None:
    found = break_even_utilisation(Decimal(hourly), speed, Decimal(price))
    assert found == (None if share is None else pytest.approx(share))


def test_first_where_is_right_to_one_grid_step() -> None:
    found = first_where(lambda x: x > 1000, start=1, stop=1e6)
    assert found is not None
    assert 1000 < found < 1050
    assert first_where(lambda _: False, start=1, stop=10) is None
