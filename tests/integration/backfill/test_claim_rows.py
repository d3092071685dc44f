"""What a claim writes, and that it leaves every other row of the table alone."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from qafila.backfill import claims
from qafila.backfill.claims import (
    Forgotten,
    Spent,
    beat_shard,
    claim_shard,
    forget_shards,
    left_to_load,
    let_go_of_the_dead,
    list_shards,
    put_shards,
    release_shard,
)
from qafila.ledger.ledger import Generation
from qafila.sources.port import KeyRange
from qafila.sql import statement
from qafila.stores.port import Checkpoint
from tests.support.applied import apply_demo

Ledger = psycopg.Connection[Any]
RANGES = [KeyRange(None, [10], 3), KeyRange([10], [20], 4), KeyRange([20], None, 5)]
COLUMNS = "number, state, owner, owner_pid, owner_run, epoch, error, waits_for, rows_loaded"


@pytest.fixture
def generation(ledger: Ledger, target_url: str) -> Generation:
    """A generation with three shards, beside another number and another workload with the same."""
    _, made = apply_demo(ledger, target_url)
    ledger.execute(
        "ALTER TABLE qafila.shard DROP CONSTRAINT IF EXISTS shard_workload_generation_fkey"
    )
    for one in (replace(made, number=7), replace(made, workload="another"), made):
        put_shards(ledger, one, RANGES)
    return made


def others(ledger: Ledger, generation: Generation) -> list[Any]:
    return ledger.execute(
        "SELECT * FROM qafila.shard WHERE (workload, generation) <> (%s, %s)"
        " ORDER BY workload, generation, number",
        [generation.workload, generation.number],
    ).fetchall()


def rows(ledger: Ledger, generation: Generation) -> list[Any]:
    return ledger.execute(
        f"SELECT {COLUMNS} FROM qafila.shard WHERE (workload, generation) = (%s, %s)"
        " ORDER BY number",
        [generation.workload, generation.number],
    ).fetchall()


def mark(epoch: int, *, shard: int = 0, finished: bool = False) -> Checkpoint:
    return Checkpoint(shard=shard, epoch=epoch, last_key=None, rows=2, chunks=6, finished=finished)


def test_a_plan_is_stored_once_in_order_with_its_ends_open(
    ledger: Ledger, generation: Generation
) -> None:
    put_shards(ledger, generation, [KeyRange([1], [2], 99)], Forgotten(1, 40, Spent(tokens=9)))
    found = list_shards(ledger, generation)
    assert [(s.number, s.low_key, s.high_key, s.rows_planned) for s in found] == [
        (0, None, [10], 3),
        (1, [10], [20], 4),
        (2, [20], None, 5),
    ]
    assert {(s.state, s.epoch, s.owner, s.owner_pid, s.rows_loaded) for s in found} == {
        ("planned", 0, None, None, 0)
    }
    assert left_to_load(ledger, generation) == 3


def test_a_claim_names_its_owner_and_touches_one_row(
    ledger: Ledger, generation: Generation
) -> None:
    before = others(ledger, generation)
    ledger.execute(
        "UPDATE qafila.shard SET error = 'failed', waits_for = 'a slot'"
        " WHERE workload = %s AND generation = %s",
        [generation.workload, generation.number],
    )
    first = claim_shard(ledger, generation, run_id="run-1")
    assert first is not None
    assert (first.number, first.epoch, first.state) == (0, 1, "claimed")
    here = (socket.gethostname(), os.getpid())
    assert rows(ledger, generation) == [
        (0, "claimed", *here, "run-1", 1, None, "", 0),
        (1, "planned", None, None, None, 0, "failed", "a slot", 0),
        (2, "planned", None, None, None, 0, "failed", "a slot", 0),
    ]
    chosen = claim_shard(ledger, generation, number=2)
    assert chosen is not None
    assert chosen.number == 2
    assert claim_shard(ledger, generation, except_for=[1]) is None
    last = claim_shard(ledger, generation, except_for=[0])
    assert last is not None
    assert last.number == 1
    assert others(ledger, generation) == before


def test_a_claim_lapses_after_its_time_and_a_loaded_shard_never(
    ledger: Ledger, generation: Generation
) -> None:
    claimed = claim_shard(ledger, generation, number=0)
    assert claimed is not None
    ledger.execute("UPDATE qafila.shard SET heartbeat = clock_timestamp() - interval '60 s'")
    assert claim_shard(ledger, generation, number=0, ttl_seconds=90) is None
    again = claim_shard(ledger, generation, number=0, ttl_seconds=30)
    assert again is not None
    assert again.epoch == 2
    ledger.execute("UPDATE qafila.shard SET heartbeat = clock_timestamp() - interval '11 s'")
    third = claim_shard(ledger, generation, number=0)  # ten seconds, unless somebody says more
    assert third is not None
    assert beat_shard(ledger, generation, mark(third.epoch, finished=True), Spent())
    ledger.execute("UPDATE qafila.shard SET heartbeat = clock_timestamp() - interval '1 hour'")
    assert claim_shard(ledger, generation, number=0) is None
    assert left_to_load(ledger, generation) == 2


@pytest.mark.parametrize(("age_s", "is_taken"), [(9.2, False), (10.1, True)])
def test_a_claim_lives_ten_seconds_without_a_sign_of_life(
    ledger: Ledger, generation: Generation, age_s: float, is_taken: bool
) -> None:
    assert claim_shard(ledger, generation, number=0) is not None
    ledger.execute(
        "UPDATE qafila.shard SET heartbeat = clock_timestamp() - make_interval(secs => %s)", [age_s]
    )
    assert (claim_shard(ledger, generation, number=0) is not None) == is_taken


def test_a_shard_that_lapsed_is_claimed_with_a_new_sign_of_life(
    ledger: Ledger, generation: Generation
) -> None:
    assert claim_shard(ledger, generation, number=0) is not None
    assert claim_shard(ledger, generation, number=0) is None
    ledger.execute("UPDATE qafila.shard SET heartbeat = clock_timestamp() - interval '1 hour'")
    assert claim_shard(ledger, generation, number=0) is not None
    assert claim_shard(ledger, generation, number=0) is None
    renewed = ledger.execute(
        "SELECT heartbeat > clock_timestamp() - interval '1 minute' FROM qafila.shard"
        " WHERE (workload, generation, number) = (%s, %s, 0)",
        [generation.workload, generation.number],
    ).fetchone()
    assert renewed == (True,)  # one without a time would never lapse


def test_a_beat_adds_what_was_spent_and_renews_the_claim(
    ledger: Ledger, generation: Generation
) -> None:
    for one in (generation, replace(generation, number=7), replace(generation, workload="another")):
        claimed = claim_shard(ledger, one)  # the same number and epoch in each
        assert claimed is not None
        assert (claimed.number, claimed.epoch) == (0, 1)
    ledger.execute(
        "UPDATE qafila.shard SET heartbeat = clock_timestamp() - interval '1 hour'"
        " WHERE state = 'claimed'"
    )
    before = others(ledger, generation)
    assert beat_shard(ledger, generation, mark(1), Spent())
    spent = Spent(copied=1, reused=2, embedded=3, tokens=4, cost=Decimal("0.5"))
    assert beat_shard(ledger, generation, mark(1), spent)
    assert beat_shard(ledger, generation, mark(1), spent + Spent(5, 5, 5, 5, Decimal(5)))
    found = ledger.execute(
        "SELECT rows_loaded, chunks_loaded, copied, reused, embedded, tokens, cost,"
        " heartbeat > clock_timestamp() - interval '1 minute', state FROM qafila.shard"
        " WHERE (workload, generation) = (%s, %s) AND number = 0",
        [generation.workload, generation.number],
    ).fetchone()
    assert found == (2, 6, 7, 9, 11, 13, Decimal("6.0"), True, "claimed")
    assert others(ledger, generation) == before
    assert [s.rows_loaded for s in list_shards(ledger, generation)] == [2, 0, 0]


def test_a_shard_is_given_back_with_its_reason_by_its_epoch_alone(
    ledger: Ledger, generation: Generation
) -> None:
    for one in (generation, replace(generation, number=7), replace(generation, workload="another")):
        assert claim_shard(ledger, one, number=0) is not None
        assert claim_shard(ledger, one, number=1) is not None
    before = others(ledger, generation)
    ours = list_shards(ledger, generation)[0]
    release_shard(ledger, generation, replace(ours, epoch=0), "too old")
    assert [s.state for s in list_shards(ledger, generation)] == ["claimed", "claimed", "planned"]
    release_shard(ledger, generation, ours, "no space")
    found = rows(ledger, generation)
    assert [(r[1], r[6]) for r in found] == [
        ("planned", "no space"),
        ("claimed", None),
        ("planned", None),
    ]
    assert others(ledger, generation) == before


def test_the_dead_of_this_machine_let_go_and_nobody_else(
    ledger: Ledger, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in (generation, replace(generation, number=7), replace(generation, workload="another")):
        for number in (0, 1, 2):
            assert claim_shard(ledger, one, number=number) is not None
    here = "(workload, generation) = (%s, %s)"
    key = [generation.workload, generation.number]
    ledger.execute(f"UPDATE qafila.shard SET owner_pid = 11 WHERE {here} AND number = 0", key)
    ledger.execute(
        f"UPDATE qafila.shard SET owner_pid = 11, owner = 'elsewhere' WHERE {here} AND number = 1",
        key,
    )
    ledger.execute("UPDATE qafila.shard SET owner_pid = 11 WHERE generation = 7")
    ledger.execute("UPDATE qafila.shard SET owner_pid = 11 WHERE workload = 'another'")
    before = others(ledger, generation)
    monkeypatch.setattr(claims.psutil, "pid_exists", lambda pid: pid != 11)
    assert let_go_of_the_dead(ledger, generation) == 1
    assert [s.state for s in list_shards(ledger, generation)] == ["planned", "claimed", "claimed"]
    assert others(ledger, generation) == before
    assert let_go_of_the_dead(ledger, generation) == 0


def test_a_shard_that_was_loaded_or_claimed_meanwhile_is_not_let_go(
    ledger: Ledger, generation: Generation
) -> None:
    """Between the look at who is dead and its statement, another process can claim the shard."""
    key = {"workload": generation.workload, "generation": generation.number, "number": 0}
    let_go = statement("backfill", "let_go")
    claimed = claim_shard(ledger, generation, number=0)
    assert claimed is not None
    ledger.execute(let_go, {**key, "pid": os.getpid() + 1})
    assert list_shards(ledger, generation)[0].state == "claimed"
    assert beat_shard(ledger, generation, mark(claimed.epoch, finished=True), Spent())
    ledger.execute(let_go, {**key, "pid": os.getpid()})
    assert list_shards(ledger, generation)[0].state == "loaded"


def test_what_a_reload_forgets_stays_counted_and_fenced_off(
    ledger: Ledger, generation: Generation
) -> None:
    before = others(ledger, generation)
    claimed = claim_shard(ledger, generation, number=1)
    assert claimed is not None
    beat = mark(claimed.epoch, shard=1)
    assert beat_shard(ledger, generation, beat, Spent(tokens=7, cost=Decimal("0.25")))
    gone = forget_shards(ledger, generation)
    assert gone == Forgotten(3, 1, Spent(tokens=7, cost=Decimal("0.25")))
    assert list_shards(ledger, generation) == []
    assert forget_shards(ledger, generation) == Forgotten(0, -1, Spent())
    assert others(ledger, generation) == before
    put_shards(ledger, generation, RANGES[:2], gone)
    assert [s.epoch for s in list_shards(ledger, generation)] == [2, 2]
    counted = ledger.execute(
        "SELECT tokens, cost FROM qafila.shard WHERE (workload, generation) = (%s, %s)"
        " ORDER BY number",
        [generation.workload, generation.number],
    ).fetchall()
    assert counted == [(7, Decimal("0.25")), (0, Decimal(0))]
