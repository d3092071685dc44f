"""The lease: who hangs, or cannot reach the ledger, does not go on holding it."""

from __future__ import annotations

import time

import psycopg
import pytest

from qafila.errors import Refused
from qafila.ledger.leases import (
    held_lease,
    held_leases,
    lapsed_leases,
    read_lease,
    release_lease,
    take_lease,
)

NAME = "w"


def test_a_holder_that_gives_no_mark_loses_the_lease(
    ledger: psycopg.Connection, ledger_url: str
) -> None:
    with held_lease(
        ledger,
        NAME,
        "canary",
        ledger_address=ledger_url,
        ttl_seconds=1.5,
        must_mark=True,
        mark_within_s=1.0,
    ) as heart:
        for _ in range(20):  # twice the time: marks keep it
            heart.mark()
            assert not heart.lost.wait(0.1)
        assert heart.lost.wait(5)  # it hangs
        begun = time.monotonic()
        while not lapsed_leases(ledger):
            assert time.monotonic() - begun < 10
            time.sleep(0.05)
        assert take_lease(ledger, NAME, "watchdog") == heart.epoch + 1


def test_a_holder_that_need_not_mark_keeps_it_while_it_lives(
    ledger: psycopg.Connection, ledger_url: str
) -> None:
    with held_lease(ledger, NAME, "drill", ledger_address=ledger_url, ttl_seconds=1.5) as heart:
        assert not heart.lost.wait(3)
        assert lapsed_leases(ledger) == []


def test_a_ledger_that_hangs_loses_the_lease_as_one_that_refuses(
    ledger: psycopg.Connection, ledger_url: str
) -> None:
    with (
        held_lease(ledger, NAME, "canary", ledger_address=ledger_url, ttl_seconds=1.5) as heart,
        psycopg.connect(ledger_url) as other,
    ):
        other.execute("SELECT FROM qafila.lease WHERE workload = %s FOR UPDATE", [NAME])
        assert heart.lost.wait(5)
        other.rollback()


def test_the_epoch_is_above_the_routers_also_in_a_new_ledger(ledger: psycopg.Connection) -> None:
    first = take_lease(ledger, NAME, "canary", above=41)
    assert first == 42
    with pytest.raises(Refused, match="was alive"):
        take_lease(ledger, NAME, "another", above=99)
    release_lease(ledger, NAME, first)
    assert take_lease(ledger, NAME, "rollback", above=7) == 43
    lease = read_lease(ledger, NAME)
    assert lease is not None
    assert lease.holder == "rollback"


@pytest.mark.parametrize(("age_s", "is_taken"), [(4.2, False), (5.1, True)])
def test_a_holder_is_given_five_seconds_without_a_sign_of_life(
    ledger: psycopg.Connection, age_s: float, is_taken: bool
) -> None:
    take_lease(ledger, NAME, "canary")
    ledger.execute(
        "UPDATE qafila.lease SET heartbeat = clock_timestamp() - make_interval(secs => %s)", [age_s]
    )
    assert bool(lapsed_leases(ledger)) == is_taken
    if is_taken:
        assert take_lease(ledger, NAME, "watchdog") == 2
    else:
        with pytest.raises(Refused, match="was alive"):
            take_lease(ledger, NAME, "watchdog")


def test_a_holder_is_given_ten_seconds_between_its_marks_unless_it_says_otherwise(
    ledger: psycopg.Connection, ledger_url: str
) -> None:
    def given(must_mark: bool, within_s: float | None) -> list[float]:
        with held_lease(
            ledger,
            NAME,
            "canary",
            ledger_address=ledger_url,
            ttl_seconds=60,
            must_mark=must_mark,
            mark_within_s=within_s,
        ) as heart:
            now = heart._marked
            return [s for s in (1.9, 2.1, 9.9, 10.1, 50.0) if not heart.is_overdue(now + s)]

    assert given(True, None) == [1.9, 2.1, 9.9]
    assert given(True, 2.0) == [1.9]
    assert given(False, 2.0) == [1.9, 2.1, 9.9, 10.1, 50.0]


def test_a_heart_beats_once_a_second_and_is_still_after_its_block(
    ledger: psycopg.Connection, ledger_url: str
) -> None:
    def beat() -> str:
        (lease,) = held_leases(ledger)
        assert lease.beat is not None
        return lease.beat

    with held_lease(ledger, NAME, "canary", ledger_address=ledger_url) as heart:
        first = beat()
        assert not heart.lost.wait(0.4)
        assert beat() == first
        assert not heart.lost.wait(1.5)
        assert beat() != first
    assert not any(thread.is_alive() for thread in heart._threads)
