"""Two holders of one name, old epochs, and two connections that claim at once."""

from __future__ import annotations

import os
import threading
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from qafila.backfill.claims import (
    Shard,
    Spent,
    beat_shard,
    claim_shard,
    list_shards,
    put_shards,
    release_shard,
)
from qafila.errors import Refused, StaleEpoch
from qafila.ledger import leases
from qafila.ledger.ledger import Generation
from qafila.sources.port import KeyRange
from qafila.stores.port import Checkpoint
from tests.support.applied import apply_demo

Ledger = psycopg.Connection[Any]
NAME = "canary-cutover"  # in production every holder has this one


def lapse(ledger: Ledger, workload: str = "w") -> None:
    ledger.execute(
        "UPDATE qafila.lease SET heartbeat = clock_timestamp() - interval '1 hour'"
        " WHERE workload = %s",
        [workload],
    )


def test_a_second_holder_of_the_same_name_is_refused_while_the_first_lives(ledger: Ledger) -> None:
    first = leases.take_lease(ledger, "w", NAME)
    with pytest.raises(Refused, match="holds the lease"):
        leases.take_lease(ledger, "w", NAME)
    leases.beat_lease(ledger, "w", NAME, first)


def test_an_old_epoch_of_the_same_name_neither_renews_nor_releases(ledger: Ledger) -> None:
    first = leases.take_lease(ledger, "w", NAME)
    lapse(ledger)
    second = leases.take_lease(ledger, "w", NAME)
    assert second == first + 1
    lapse(ledger)
    before = leases.read_lease(ledger, "w")
    with pytest.raises(StaleEpoch):
        leases.beat_lease(ledger, "w", NAME, first)
    leases.release_lease(ledger, "w", first)
    after = leases.read_lease(ledger, "w")
    assert before is not None
    assert after is not None
    assert (after.holder, after.epoch) == (NAME, second)
    assert (after.age_seconds or 0) >= (before.age_seconds or 0) > 3000


def test_beat_and_release_touch_their_own_workload_alone(ledger: Ledger) -> None:
    for workload in ("w", "v"):
        assert leases.take_lease(ledger, workload, NAME) == 1
    lapse(ledger, "v")
    leases.beat_lease(ledger, "w", NAME, 1)
    assert [one.workload for one in leases.lapsed_leases(ledger)] == ["v"]
    leases.release_lease(ledger, "w", 1)
    assert [one.workload for one in leases.held_leases(ledger)] == ["v"]


def test_each_workload_has_a_lease_of_its_own_to_be_read(ledger: Ledger) -> None:
    for workload, holder in (("v", "drill"), ("w", NAME), ("x", "rollback")):
        leases.take_lease(ledger, workload, holder, generation=3, run_id=f"run-{workload}")
    for workload, holder in (("v", "drill"), ("w", NAME), ("x", "rollback")):
        read = leases.read_lease(ledger, workload)
        assert read is not None
        assert (read.workload, read.holder) == (workload, holder)
        assert (read.holder_run, read.generation) == (f"run-{workload}", 3)
        assert read.holder_pid == os.getpid()
    assert leases.read_lease(ledger, "nobody's") is None


def test_a_lease_that_was_given_back_is_neither_held_nor_lapsed(ledger: Ledger) -> None:
    epoch = leases.take_lease(ledger, "w", NAME, ttl_seconds=0.01)
    lapse(ledger)
    leases.release_lease(ledger, "w", epoch)
    assert leases.held_leases(ledger) == leases.lapsed_leases(ledger) == []
    read = leases.read_lease(ledger, "w")
    assert read is not None
    assert (read.holder, read.age_seconds, read.epoch) == (None, None, epoch)


def test_a_beat_by_another_name_is_refused(ledger: Ledger) -> None:
    epoch = leases.take_lease(ledger, "w", NAME)
    with pytest.raises(StaleEpoch):
        leases.beat_lease(ledger, "w", "watchdog", epoch)


def test_the_epoch_rises_above_the_router_and_after_a_release(ledger: Ledger) -> None:
    assert leases.take_lease(ledger, "w", NAME, above=7) == 8
    leases.release_lease(ledger, "w", 8)
    assert leases.take_lease(ledger, "w", NAME, above=3) == 9
    assert leases.take_lease(ledger, "w", NAME, above=20, force=True) == 21


@pytest.fixture
def generation(ledger: Ledger, target_url: str) -> Generation:
    _, made = apply_demo(ledger, target_url)
    put_shards(ledger, made, [KeyRange([0], [1], 1), KeyRange([1], [2], 1)])
    return made


def claim(ledger: Ledger, generation: Generation, **how: Any) -> Shard:
    shard = claim_shard(ledger, generation, **how)
    assert shard is not None
    return shard


def test_a_claim_that_lives_is_taken_by_nobody(ledger: Ledger, generation: Generation) -> None:
    first, second = claim(ledger, generation), claim(ledger, generation)
    assert (first.number, second.number) == (0, 1)
    assert claim_shard(ledger, generation) is None
    assert claim_shard(ledger, generation, number=0) is None


def test_two_connections_that_claim_at_once_get_different_shards(
    ledger: Ledger, ledger_url: str, generation: Generation
) -> None:
    with psycopg.connect(ledger_url) as other:  # its transaction stays open while we claim
        other.execute("SET lock_timeout = '5s'")
        ledger.execute("SET lock_timeout = '2s'")
        assert claim(other, generation).number == 0
        assert claim(ledger, generation).number == 1
        assert claim_shard(ledger, generation) is None
        other.commit()
    assert claim_shard(ledger, generation) is None
    assert [(s.state, s.epoch) for s in list_shards(ledger, generation)] == [("claimed", 1)] * 2


def test_many_connections_that_claim_one_shard_get_it_once(
    ledger: Ledger, ledger_url: str, generation: Generation
) -> None:
    found: list[Shard | None] = []
    start = threading.Barrier(4)

    def work() -> None:
        with psycopg.connect(ledger_url, autocommit=True) as own:
            start.wait()
            found.append(claim_shard(own, generation, number=0))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(shard is not None for shard in found) == [False, False, False, True]
    assert list_shards(ledger, generation)[0].epoch == 1


def test_an_old_epoch_neither_beats_nor_releases_a_claim(
    ledger: Ledger, generation: Generation
) -> None:
    old = claim(ledger, generation, number=0)
    ledger.execute("UPDATE qafila.shard SET heartbeat = clock_timestamp() - interval '1 hour'")
    new = claim(ledger, generation, number=0)
    assert new.epoch == old.epoch + 1
    mark = Checkpoint(shard=0, epoch=old.epoch, last_key=None, rows=1, chunks=1, finished=True)
    assert not beat_shard(ledger, generation, mark, Spent(tokens=5, cost=Decimal(1)))
    release_shard(ledger, generation, old, "late")
    after = list_shards(ledger, generation)[0]
    assert (after.state, after.epoch, after.rows_loaded) == ("claimed", new.epoch, 0)


def test_beat_and_release_touch_their_own_shard_alone(
    ledger: Ledger, generation: Generation
) -> None:
    first, second = claim(ledger, generation), claim(ledger, generation)
    mark = Checkpoint(shard=0, epoch=first.epoch, last_key=None, rows=1, chunks=1, finished=True)
    assert beat_shard(ledger, generation, mark, Spent())
    release_shard(ledger, generation, first)  # it is loaded: nothing to give back
    assert [s.state for s in list_shards(ledger, generation)] == ["loaded", "claimed"]
    release_shard(ledger, generation, second)
    assert [s.state for s in list_shards(ledger, generation)] == ["loaded", "planned"]
    assert claim(ledger, generation).number == 1
