"""The protocol of claims and checkpoints, driven at random against a pure model.

Workers claim, write, die before or after their commit, go to sleep until their claim lapses, and
wake up with a claim that is somebody else's. Whatever the order, the target holds exactly what the
model says: each row once, nothing beyond a checkpoint, nothing from a stale worker.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from qafila.backfill.claims import Shard, Spent, beat_shard, claim_shard, left_to_load, list_shards
from qafila.errors import StaleEpoch
from qafila.ledger.ledger import Generation
from qafila.sql import apply_schema
from qafila.stack import postgres
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.fingerprint import text_digest
from tests.support.corpus import demo_workload, ready_generation

SHARDS, ROWS = 3, 7  # rows a shard
PLACE = Place("machine", 1, "f" * 16, 4)
TARGET = PgvectorTarget(kind="pgvector", block="b", index="none", full_text="none")


class Died(Exception):
    """The worker's process is gone in the middle of a transaction."""


@dataclass
class Worker:
    """What a process remembers: its claim and its own idea of how far it is."""

    shard: Shard
    mark: Checkpoint


def chunk(shard: int, row: int) -> Chunk:
    key = f"{shard}-{row}"
    return Chunk(key, 0, 0, len(key), "", key, text_digest(key), ["everyone"])


class Claims(RuleBasedStateMachine):
    """Each rule is one thing that can happen to one worker; ``model`` is what the target holds."""

    ledger: psycopg.Connection[Any]
    target: psycopg.Connection[Any]
    generation: Generation
    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        self.store = PgvectorStore(self.target, PLACE, TARGET)
        self.store.drop()
        self.store.prepare()
        self.ledger.execute("UPDATE qafila.shard SET state = 'planned', epoch = 0")
        self.model: dict[int, int] = dict.fromkeys(range(SHARDS), 0)  # rows committed by shard
        self.epochs: dict[int, int] = dict.fromkeys(range(SHARDS), 0)

    @rule(target=workers)
    def claim(self) -> Any:
        shard = claim_shard(self.ledger, self.generation)
        if shard is None:
            return multiple()
        assert shard.epoch == self.epochs[shard.number] + 1
        self.epochs[shard.number] = shard.epoch
        mark = self.store.claim(shard.number, shard.epoch)
        assert mark.rows == self.model[shard.number]
        return Worker(shard, mark)

    @rule(worker=workers, rows=st.integers(1, 4))
    def write(self, worker: Worker, rows: int) -> None:
        chunks, mark = self.batch(worker, rows)
        if not chunks:
            return
        if self.epochs[mark.shard] != mark.epoch:
            with pytest.raises(StaleEpoch):
                self.commit(chunks, mark)
            return
        self.commit(chunks, mark)
        worker.mark, self.model[mark.shard] = mark, mark.rows

    @rule(worker=consumes(workers), rows=st.integers(1, 4))
    def die_before_the_commit(self, worker: Worker, rows: int) -> None:
        chunks, mark = self.batch(worker, rows)
        with pytest.raises((Died, StaleEpoch)):
            self.commit_and_die(chunks, mark)
        self.lapse(worker)

    @rule(worker=consumes(workers), rows=st.integers(1, 4))
    def die_after_the_commit(self, worker: Worker, rows: int) -> None:
        """The ledger never hears of the batch; the target's checkpoint knows."""
        self.write(worker, rows)
        self.lapse(worker)

    @rule(worker=workers)
    def sleep_until_the_claim_lapses(self, worker: Worker) -> None:
        self.lapse(worker)

    @rule(worker=workers)
    def finish(self, worker: Worker) -> None:
        if worker.mark.rows < ROWS:
            return
        done = replace(worker.mark, finished=True)
        if self.epochs[done.shard] != done.epoch:
            with pytest.raises(StaleEpoch):
                self.commit([], done)
            assert not beat_shard(self.ledger, self.generation, done, Spent())
            return
        self.commit([], done)
        assert beat_shard(self.ledger, self.generation, done, Spent())

    @invariant()
    def the_target_holds_what_the_model_says(self) -> None:
        rows = self.target.execute(
            f"SELECT source_key FROM qafila.{PLACE.name} ORDER BY source_key"
        ).fetchall()
        expected = sorted(f"{s}-{row}" for s, rows in self.model.items() for row in range(rows))
        assert [r[0] for r in rows] == expected

    @precondition(lambda self: any(rows < ROWS for rows in self.model.values()))
    @rule()
    def a_shard_that_is_not_loaded_is_never_called_loaded(self) -> None:
        for shard in list_shards(self.ledger, self.generation):
            assert shard.state != "loaded" or self.model[shard.number] == ROWS

    def teardown(self) -> None:
        """Whatever happened, fresh workers bring it to its end: each row is there, once."""
        self.ledger.execute("UPDATE qafila.shard SET heartbeat = '-infinity'")
        while left_to_load(self.ledger, self.generation):
            claimed = self.claim()
            assert isinstance(claimed, Worker)
            while claimed.mark.rows < ROWS:
                self.write(claimed, 3)
            self.finish(claimed)
        assert self.model == dict.fromkeys(range(SHARDS), ROWS)
        self.the_target_holds_what_the_model_says()

    def batch(self, worker: Worker, rows: int) -> tuple[list[Chunk], Checkpoint]:
        start, number = worker.mark.rows, worker.shard.number
        keys = range(start, min(ROWS, start + rows))
        mark = replace(
            worker.mark,
            last_key=[f"{number}-{keys[-1]}"] if keys else worker.mark.last_key,
            rows=start + len(keys),
            chunks=start + len(keys),
        )
        return [chunk(number, k) for k in keys], mark

    def commit(self, chunks: list[Chunk], mark: Checkpoint) -> None:
        vectors = np.tile(np.array([1, 0, 0, 0], np.float32), (len(chunks), 1))
        self.store.write(chunks, vectors, mark)

    def commit_and_die(self, chunks: list[Chunk], mark: Checkpoint) -> None:
        with self.target.transaction():
            self.commit(chunks, mark)
            raise Died

    def lapse(self, worker: Worker) -> None:
        self.ledger.execute(
            "UPDATE qafila.shard SET heartbeat = '-infinity' WHERE number = %s AND epoch = %s",
            [worker.shard.number, worker.shard.epoch],
        )


@pytest.fixture
def machine(
    ledger: psycopg.Connection[Any], pg_server: postgres.Postgres
) -> Iterator[type[Claims]]:
    url = postgres.ensure_database(pg_server, f"machine_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url, autocommit=True) as target:
        with target.transaction():
            apply_schema(target, "target")
        generation = ready_generation(ledger, demo_workload(), url, url)
        ledger.execute(
            "INSERT INTO qafila.shard (workload, generation, number, rows_planned)"
            " SELECT %s, %s, n, %s FROM generate_series(0, %s) AS n",
            [generation.workload, generation.number, ROWS, SHARDS - 1],
        )
        yield type(
            "BoundClaims",
            (Claims,),
            {"ledger": ledger, "target": target, "generation": generation},
        )


def test_any_interleaving_ends_with_each_row_once(machine: type[Claims]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
