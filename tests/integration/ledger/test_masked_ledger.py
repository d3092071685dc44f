"""What others said reaches the ledger's rows without the secrets that were in it."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from qafila.backfill.claims import claim_shard, put_shards, release_shard
from qafila.backfill.control import _hold, beat_load
from qafila.backfill.dead_letters import _set_aside_again
from qafila.backfill.load import put_dead_letter
from qafila.backfill.pulse import Pulse
from qafila.backfill.throttle import Speed
from qafila.ledger.ledger import Generation
from qafila.live_sync.feeds import holding_feed, open_feed
from qafila.live_sync.outbox import Position
from qafila.sources.port import KeyRange
from qafila.stores.port import Chunk
from tests.support.applied import apply_demo

Ledger = psycopg.Connection[Any]
SECRET = "hush-Zq7pW2"
SAID = f"no answer from postgresql://reader:{SECRET}@db.example/shop, api_key={SECRET}"
CHUNK = Chunk("a", 0, 0, 1, "", "t", b"d" * 32, ["all"])


def a_shard_given_back(ledger: Ledger, generation: Generation) -> None:
    put_shards(ledger, generation, [KeyRange(None, None, 1)])
    shard = claim_shard(ledger, generation)
    assert shard is not None
    release_shard(ledger, generation, shard, SAID)


def a_dead_letter(ledger: Ledger, generation: Generation) -> None:
    put_dead_letter(ledger, generation, "a", 0, SAID)


def a_dead_letter_replayed(ledger: Ledger, generation: Generation) -> None:
    _set_aside_again(ledger, generation, [(CHUNK, SAID)])


def a_dead_letter_of_live_sync(ledger: Ledger, generation: Generation) -> None:
    ledger.execute("ALTER TABLE qafila.live_sync_feed DROP CONSTRAINT live_sync_feed_workload_fkey")
    start = Position.parse("token:1:0A 1:1: 1:1: -")
    open_feed(ledger, generation, start)
    with holding_feed(ledger, generation, None) as held:
        held.set_aside(ledger, ["a"], [(CHUNK, SAID)])


def a_load_slowed_down(ledger: Ledger, generation: Generation) -> None:
    epoch = _hold(ledger, generation, None)
    assert beat_load(ledger, generation, epoch, Speed(0.5, SAID))


def a_worker_that_waits(ledger: Ledger, generation: Generation) -> None:
    put_shards(ledger, generation, [KeyRange(None, None, 1)])
    _hold(ledger, generation, None)
    pulse = Pulse(generation)
    pulse.watch(claim_shard(ledger, generation), lambda: SAID)
    pulse._beat(ledger)


WRITERS = {
    "shard": a_shard_given_back,
    "dead_letter": a_dead_letter,
    "dead_letter, replayed": a_dead_letter_replayed,
    "dead_letter, live sync": a_dead_letter_of_live_sync,
    "load": a_load_slowed_down,
    "shard, waiting": a_worker_that_waits,
}


@pytest.mark.parametrize("name", WRITERS)
def test_no_secret_reaches_a_row(ledger: Ledger, target_url: str, name: str) -> None:
    _, generation = apply_demo(ledger, target_url)
    WRITERS[name](ledger, generation)
    table = name.split(",")[0]
    rows = ledger.execute(f"SELECT t::text FROM qafila.{table} t").fetchall()
    assert any("no answer from" in row for (row,) in rows)
    assert not [row for (row,) in rows if SECRET in row]
