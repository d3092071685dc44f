"""The backfill against real databases: killed, taken over, changed under its feet."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.backfill.claims import claim_shard, let_go_of_the_dead, list_shards
from qafila.backfill.generations import meaning_of
from qafila.backfill.load import Vectored
from qafila.backfill.load_plan import check_source_and_target
from qafila.backfill.progress import read_progress
from qafila.backfill.pulse import Pulse
from qafila.backfill.vectors import Vectorise
from qafila.backfill.verify import verify_generation
from qafila.backfill.worker import Assignment, load_one, open_desk
from qafila.embedders.wordllama import WordLlamaEmbedder
from qafila.endpoints import reach_of
from qafila.errors import BadInput, Refused, StaleEpoch
from qafila.ledger.ledger import Generation
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.pointer_row import Alias, move_alias, read_alias, set_trial
from qafila.stores.port import Checkpoint, Vectors
from qafila.workload.model import Workload
from tasks import embedding_backfill as steps
from tests.integration.backfill.conftest import ROWS
from tests.support.corpus import demo_workload, ready_generation
from tests.support.loads import load_all, load_shard
from tests.support.planning import plan_here


def test_every_row_arrives_once_and_a_second_pass_loads_nothing(
    ledger: psycopg.Connection, generation: Generation
) -> None:
    assert load_all(generation, 50) == ROWS
    assert load_all(generation, 50) == 0
    steps.build_index.fn(generation)
    compared = verify_generation(ledger, generation)
    assert compared.complete
    assert (compared.rows_source, compared.rows_target, compared.chunks_target) == (ROWS,) * 3


LOADER = """
import sys, time
from qafila.backfill.vectors import Vectorise
from qafila.backfill.worker import Assignment, work
vectorise = Vectorise.__call__
def slowly(self, *batch):  # some 60 batches of 25 rows: long enough to be met by five kills
    time.sleep(0.03)
    return vectorise(self, *batch)
Vectorise.__call__ = slowly
from qafila.backfill.claims import let_go_of_the_dead
from qafila.ledger.ledger import newest_generation, open_ledger
with open_ledger() as ledger:
    generation = newest_generation(ledger, sys.argv[1])
    let_go_of_the_dead(ledger, generation)
work(Assignment(generation.workload, generation.number, 25, led=False))
print("done", flush=True)
"""


def test_killed_at_any_moment_nothing_is_lost_and_nothing_is_twice(
    ledger: psycopg.Connection, generation: Generation
) -> None:
    chance, at_each_kill = random.Random(5), []
    for _ in range(5):
        before = backfill_rows(ledger, generation)
        wanted = before + chance.randrange(20, 200)
        worker = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", LOADER, generation.workload],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            env=dict(os.environ),
        )
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline
            assert worker.poll() is None, "the loader ended before it was killed"
            if backfill_rows(ledger, generation) >= wanted:
                worker.send_signal(signal.SIGSTOP)  # what is stopped can be looked at
                if any(s.state == "claimed" for s in list_shards(ledger, generation)):
                    break  # in the middle of a shard's rows
                worker.send_signal(signal.SIGCONT)
            time.sleep(0.002)
        worker.send_signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
        assert worker.stdout
        worker.stdout.close()
        at_each_kill.append(backfill_rows(ledger, generation))
    # every kill met a loader that had loaded rows of its own and had more of them before it
    assert at_each_kill == sorted(set(at_each_kill))
    assert 0 < at_each_kill[0] < at_each_kill[-1] < ROWS
    let_go_of_the_dead(ledger, generation)
    load_all(generation, 50)
    steps.build_index.fn(generation)
    compared = verify_generation(ledger, generation)
    assert compared.complete, compared
    assert compared.rows_target == ROWS


def backfill_rows(ledger: psycopg.Connection, generation: Generation) -> int:
    return sum(s.rows_loaded for s in list_shards(ledger, generation))


def test_a_worker_whose_shard_was_taken_cannot_commit(
    ledger: psycopg.Connection, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Vectorise.__call__

    def steal_then_embed(self: Vectorise, *batch: Any) -> Vectored:
        ledger.execute("UPDATE qafila.shard SET heartbeat = '-infinity' WHERE number = 0")
        monkeypatch.setattr(Vectorise, "__call__", real)
        assert load_shard(generation, 0, 50).rows == 200
        return real(self, *batch)

    monkeypatch.setattr(Vectorise, "__call__", steal_then_embed)
    with pytest.raises(StaleEpoch):
        load_shard(generation, 0, 50)
    load_all(generation, 50)
    assert verify_generation(ledger, generation).complete


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("INSERT INTO operation VALUES ('zz', 't', 'b')", {"missing": 1}),
        ("UPDATE operation SET body = 'other' WHERE operation_id = 'op-000007'", {"stale": 1}),
        ("DELETE FROM operation WHERE operation_id = 'op-000007'", {"extra": 1}),
    ],
)
def test_a_source_that_changed_is_found_out(
    ledger: psycopg.Connection,
    generation: Generation,
    source_url: str,
    change: str,
    expected: dict[str, int],
) -> None:
    load_all(generation, 50)
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute(change)
    compared = verify_generation(ledger, generation)
    assert not compared.complete
    found = {k: getattr(compared, k) for k in ("missing", "stale", "extra", "duplicates")}
    assert {k: v for k, v in found.items() if v} == expected


def test_a_generation_that_differs_is_emptied_and_loaded_anew(
    ledger: psycopg.Connection, generation: Generation, source_url: str
) -> None:
    load_all(generation, 50)
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute("UPDATE operation SET body = 'other' WHERE operation_id = 'op-000007'")
    assert not verify_generation(ledger, generation).complete
    assert reload(generation, 200).phase == "backfilling"
    assert load_all(generation, 50) == ROWS
    assert verify_generation(ledger, generation).complete


def reload(generation: Generation, rows_per_shard: int) -> Generation:
    return steps.empty_generation.fn(generation, *plan_here(generation, rows_per_shard, 2))


def test_a_reload_cuts_its_shards_from_the_source_as_it_is_now(
    ledger: psycopg.Connection, generation: Generation, source_url: str
) -> None:
    load_all(generation, 50)
    ledger.execute("UPDATE qafila.shard SET tokens = 10, cost = 0.5")
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute("DELETE FROM operation WHERE operation_id <= 'op-000300'")
        source.execute(
            "INSERT INTO operation SELECT 'zz-' || to_char(n, 'FM000000'), 'New',"
            " 'b' || n FROM generate_series(1, 800) AS n"
        )
    reload(generation, 500)
    shards = list_shards(ledger, generation)
    assert [s.rows_planned for s in shards] == [500] * 4
    assert [s.low_key for s in shards[1:]] == [s.high_key for s in shards[:-1]]
    assert (shards[0].low_key, shards[-1].high_key) == (None, None)
    progress = read_progress(ledger, generation)
    assert (progress.rows_planned, progress.rows_loaded, progress.shards) == (2000, 0, 4)
    # what was paid for the first load is paid
    assert (progress.tokens, progress.cost) == (80, Decimal("4.0"))

    assert load_all(generation, 50) == 2000
    assert [s.rows_loaded for s in list_shards(ledger, generation)] == [500] * 4
    assert verify_generation(ledger, generation).complete


def test_a_reload_ends_the_trial_first_and_is_refused_for_what_serves(
    generation: Generation, target_url: str
) -> None:
    load_all(generation, 50)
    name, number = generation.workload, generation.number
    with psycopg.connect(target_url, autocommit=True) as target:
        set_trial(target, name, number, 1)
        reload(generation, 500)
        assert read_alias(target, name) == Alias(name, None, None, None, 1)
        assert load_all(generation, 50) == ROWS
        move_alias(target, name, number, 1)
        with pytest.raises(Refused, match="it serves"):
            reload(generation, 500)
        left = target.execute(f"SELECT count(*) FROM qafila.chunk_aws_docs_search_g{number}")
        assert left.fetchone() == (ROWS,)


def test_a_worker_that_claimed_before_a_reload_is_fenced_off_after_it(
    ledger: psycopg.Connection, generation: Generation
) -> None:
    """It has the range of a shard of before, of which there may be no shard any more."""
    early = [claim_shard(ledger, generation, number=n) for n in range(8)]
    reload(generation, 500)
    assignment = Assignment(generation.workload, generation.number, 50, led=False)
    workload = meaning_of(ledger, generation)
    reach = reach_of(ledger, workload)
    with (
        Pulse(generation) as pulse,
        open_desk(workload, generation, reach, assignment, pulse) as desk,
    ):
        for shard in early:
            assert shard is not None
            with pytest.raises(StaleEpoch):
                load_one(desk, workload, generation, shard, 50, pulse)
    assert load_all(generation, 50) == ROWS
    assert verify_generation(ledger, generation).complete


def test_a_worker_that_writes_while_the_target_is_emptied_leaves_nothing(
    ledger: psycopg.Connection, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_all(generation, 50)
    epoch = list_shards(ledger, generation)[1].epoch + 1
    real, left = PgvectorStore.prepare, [Checkpoint(1, epoch, ["op-000390"], 190, 0)]

    def prepare_then_be_late(self: PgvectorStore) -> None:
        real(self)
        if left:
            mark = left.pop()
            self.claim(mark.shard, mark.epoch)
            self.write([], np.zeros((0, 256), np.float32), mark)

    monkeypatch.setattr(PgvectorStore, "prepare", prepare_then_be_late)
    ledger.execute("UPDATE qafila.shard SET epoch = %s WHERE number = 1", [epoch])
    reload(generation, 500)
    assert left == []
    assert load_all(generation, 50) == ROWS
    assert verify_generation(ledger, generation).complete


def test_a_text_without_a_vector_is_set_aside_with_its_reason(
    ledger: psycopg.Connection, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = WordLlamaEmbedder.embed

    def forgetful(self: WordLlamaEmbedder, texts: list[str]) -> Vectors:
        """The real model, but for one text it knows nothing."""
        vectors = real(self, texts)
        vectors[[n for n, text in enumerate(texts) if text.startswith("Put thing 3\n")]] = 0
        return vectors

    monkeypatch.setattr(WordLlamaEmbedder, "embed", forgetful)
    load_all(generation, 50)
    compared = verify_generation(ledger, generation)
    assert (compared.complete, compared.dead_letters, compared.chunks_target) == (True, 1, ROWS - 1)
    row = ledger.execute("SELECT source_key, reason FROM qafila.dead_letter").fetchone()
    assert row is not None
    assert row[0] == "op-000003"
    assert "no vector" in row[1]


def test_everything_wrong_with_the_source_is_said_at_once(
    ledger: psycopg.Connection,
    ledger_url: str,
    source_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    source = {
        **demo_workload().corpus.source.model_dump(),
        "key": ["id"],
        "text": ["heading"],
        "acl": "title",
    }
    workload: Workload = demo_workload(source=source)
    generation = ready_generation(ledger, workload, source_url, target_url)
    with pytest.raises(BadInput) as refused:
        check_source_and_target(ledger, generation)
    assert len(refused.value.problems) == 3


def test_the_same_port_fills_qdrant(
    ledger: psycopg.Connection,
    ledger_url: str,
    source_url: str,
    target_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from blocks import QdrantServer
    from qafila.ledger.connections import record_connection

    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    record_connection(ledger, "local-qdrant", QdrantServer(path=str(tmp_path / "qdrant")))
    workload = demo_workload(target={"kind": "qdrant", "block": "local-qdrant"})
    generation = ready_generation(ledger, workload, source_url, target_url)
    plan = steps.plan_load.fn(generation, 200, 2)
    steps.apply_plan.fn(generation, *plan)
    assert load_all(generation, 50) == ROWS
    assert verify_generation(ledger, generation).complete
