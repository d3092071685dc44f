"""The lease's own arithmetic, and the thread that beats it, without a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from qafila.errors import Refused, StaleEpoch
from qafila.ledger import leases
from qafila.ledger.leases import Heart, LeaseRow, take_lease


@pytest.mark.parametrize(
    ("holder", "ttl_s", "age_s", "lapsed"),
    [
        ("canary", 5.0, 5.1, True),
        ("canary", 5.0, 5.0, False),  # as old as it may be
        ("canary", 5.0, 0.1, False),
        ("canary", 5.0, None, False),  # no heartbeat is known
        (None, 5.0, 60.0, False),  # nobody holds it
        (None, 5.0, None, False),
    ],
)
def test_a_lease_lapses_when_it_is_held_and_older_than_allowed(
    holder: str | None, ttl_s: float, age_s: float | None, lapsed: bool
) -> None:
    assert LeaseRow("w", 1, holder, None, None, None, ttl_s, age_s).lapsed is lapsed


class NoRow:
    """A ledger that gives the lease to nobody."""

    def execute(self, *_: object) -> NoRow:
        return self

    def fetchone(self) -> None:
        return None


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (LeaseRow("w", 1, "drill", 1, None, None, 5.0, 2.25), "drill .* 2.2 s ago"),
        (LeaseRow("w", 1, "drill", 1, None, None, 5.0, None), "drill .* 0.0 s ago"),
        (None, "somebody .* 0.0 s ago"),  # released meanwhile
    ],
)
def test_who_is_refused_learns_who_holds_it(
    held: LeaseRow | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "read_lease", lambda *_: held)
    with pytest.raises(Refused, match=said):
        take_lease(NoRow(), "w", "canary")  # type: ignore[arg-type]


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each beat does, one after the other; the last is repeated. Beats come at once."""
    script: list[Any] = []

    @contextmanager
    def opened(_: object) -> Iterator[None]:
        yield

    def beat(*_: object) -> None:
        now = script.pop(0) if len(script) > 1 else script[0]
        if now is not None:
            raise now

    monkeypatch.setattr(leases, "open_ledger", opened)
    monkeypatch.setattr(leases, "beat_lease", beat)
    monkeypatch.setattr(leases, "_BEAT_S", 0.01)
    return script


def ended(heart: Heart) -> bool:
    for thread in heart._threads:
        thread.join(5)
    return not any(thread.is_alive() for thread in heart._threads)


@pytest.mark.parametrize("error", [StaleEpoch("taken."), psycopg.OperationalError("gone")])
def test_a_beat_that_is_refused_or_fails_loses_the_lease(
    beats: list[Any], error: Exception
) -> None:
    beats[:] = [None, None, error]
    heart = Heart("w", "canary", 1, None, ttl_seconds=60)
    heart.start()
    assert heart.lost.wait(5)
    assert ended(heart)  # a holder that lost it neither beats nor watches any more
    heart.stop()


def test_a_heart_beats_until_it_is_stopped_and_then_ends(beats: list[Any]) -> None:
    beats[:] = [None]
    heart = Heart("w", "canary", 1, None, ttl_seconds=60)
    assert all(thread.daemon for thread in heart._threads)  # none keeps a process alive
    heart.start()
    assert not heart.lost.wait(0.3)
    heart.stop()
    # both were waited for: no beat after the release
    assert not any(thread.is_alive() for thread in heart._threads)
    assert not heart.lost.is_set()


def test_without_a_beat_for_its_time_the_lease_is_lost(
    beats: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    beats[:] = [None]
    monkeypatch.setattr(leases, "_BEAT_S", 60.0)
    heart = Heart("w", "canary", 1, None, ttl_seconds=0.3)
    heart.start()
    assert heart.lost.wait(5)
    heart.stop()


def test_without_a_mark_for_its_time_the_lease_is_lost_although_it_beats(beats: list[Any]) -> None:
    beats[:] = [None]
    heart = Heart("w", "canary", 1, None, ttl_seconds=60, mark_within_s=0.5)
    heart.start()
    for _ in range(8):
        heart.mark()
        assert not heart.lost.wait(0.1)
    assert heart.lost.wait(5)
    heart.stop()


def test_the_time_counts_from_the_start_and_not_from_when_it_was_made(beats: list[Any]) -> None:
    beats[:] = [None]
    heart = Heart("w", "canary", 1, None, ttl_seconds=60, mark_within_s=1.0)
    heart._beaten = heart._marked = -1e9
    heart.start()
    assert not heart.lost.wait(0.3)
    heart.stop()


@pytest.mark.parametrize(
    ("within_s", "beaten_at", "marked_at", "overdue"),
    [
        (10.0, 15.0, 10.0, False),  # as late as either may be
        (10.0, 14.9, 10.0, True),
        (10.0, 15.0, 9.9, True),
        (None, 15.0, 0.0, False),  # it need not mark
        (None, 14.9, 20.0, True),
    ],
)
def test_a_lease_is_lost_when_a_beat_or_a_mark_is_later_than_allowed(
    within_s: float | None, beaten_at: float, marked_at: float, overdue: bool
) -> None:
    heart = Heart("w", "canary", 1, None, ttl_seconds=5.0, mark_within_s=within_s)
    heart._beaten, heart._marked = beaten_at, marked_at
    assert heart.is_overdue(20.0) is overdue


def test_whoever_held_a_lease_knows_of_its_loss_a_fifth_of_a_second_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heart = Heart("w", "canary", 1, None)
    waits: list[float] = []
    monkeypatch.setattr(heart, "is_overdue", lambda now: len(waits) >= 3)
    monkeypatch.setattr(heart._stop, "wait", lambda seconds: waits.append(seconds))
    heart._watch()
    assert heart.lost.is_set()
    assert max(waits) <= 0.2
