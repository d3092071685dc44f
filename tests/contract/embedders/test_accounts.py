"""What an account at a paid service promises: one of this process, and the ledger's governor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.embedders.governor import Governor
from qafila.embedders.governor import Purse as LedgerPurse
from qafila.embedders.limit_arithmetic import Limits
from qafila.errors import SpendCapReached
from qafila.llm_eval.accounts import Account, OwnAccount, Purse

Open = Callable[..., Account]
ONE = Decimal(1)
NO_LIMIT = Limits()


@pytest.fixture(params=["own", "ledger"])
def open_account(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Return a function that opens an account with a cap of 3."""
    with ExitStack() as stack:
        if request.param == "own":
            purse = Purse(Decimal(3), "USD")
            yield lambda limits=NO_LIMIT: OwnAccount("service", limits, purse)
            return
        ledger = request.getfixturevalue("ledger_url")

        def from_ledger(limits: Limits = NO_LIMIT) -> Account:
            purse = LedgerPurse(
                "docs",
                1,
                None,
                Decimal(3),
                "USD",
                Decimal(0),
                what="answers",
                run="benchmark-validation",
            )
            opened = Governor(ledger, "service", limits, purse, time.sleep)
            stack.callback(opened.close)
            return opened

        yield from_ledger


def test_money_is_set_aside_before_a_call_and_put_right_after_it(open_account: Open) -> None:
    account = open_account()
    permits = [account.reserve(10, ONE) for _ in range(3)]
    with pytest.raises(SpendCapReached):
        account.reserve(10, Decimal("0.01"))
    half = Decimal("0.5")
    assert account.settle(permits[0], "answered", tokens=5, actual=half) == half
    account.settle(permits[0], "answered", tokens=5, actual=half)  # a second time: nothing
    account.reserve(10, half)
    with pytest.raises(SpendCapReached) as caught:
        account.reserve(10, Decimal("0.01"))
    assert caught.value.cap == 3
    assert caught.value.spent == half
    assert account.settle(permits[1], "not sent", tokens=0, actual=Decimal(0)) == 0
    account.reserve(10, ONE)


def test_what_costs_nothing_is_never_refused(open_account: Open) -> None:
    account = open_account()
    account.reserve(10, Decimal(3))
    account.reserve(10, Decimal(0))


def test_places_are_paced_and_a_pause_loses_them(open_account: Open) -> None:
    account = open_account(Limits(requests=60, window_seconds=60.0))
    waits = [account.take_place(account.reserve(1, Decimal(0))).wait_seconds for _ in range(4)]
    assert waits[-1] > 1.0
    place = account.take_place(account.reserve(1, Decimal(0)))
    account.pause(30)
    time.sleep(0.01)
    later = account.take_place(account.reserve(1, Decimal(0)))
    assert later.wait_seconds > 25
    assert account.left_to_wait(place) != 0


@given(
    st.lists(
        st.tuples(
            st.decimals(0, 2, places=3),
            st.floats(0, 1),
            st.sampled_from(["answered", "not answered", "not sent"]),
        ),
        max_size=40,
    )
)
def test_an_account_never_spends_more_than_the_cap(
    calls: list[tuple[Decimal, float, str]],
) -> None:
    """Each call costs at most what was expected, some stay open."""
    purse = Purse(Decimal(5), "USD")
    account = OwnAccount("service", Limits(), purse)
    for expected, share, outcome in calls:
        try:
            permit = account.reserve(1, expected)
        except SpendCapReached:
            assert purse.spent + purse.reserved + expected > purse.cap
            continue
        if share < 0.9:
            actual = expected * Decimal(repr(round(share, 3)))
            account.settle(permit, outcome, tokens=1, actual=actual)  # type: ignore[arg-type]
        assert 0 <= purse.spent + purse.reserved <= purse.cap
        assert purse.reserved >= 0
