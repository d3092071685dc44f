"""Dead letters replayed where changes are followed, and where the target is Qdrant."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from blocks import EmbeddingEndpoint, QdrantServer
from qafila.backfill.dead_letters import Replayed, list_dead_letters, replay_dead_letters
from qafila.backfill.plan import Comparison, Sample, plan_backfill
from qafila.backfill.verify import verify_generation
from qafila.backfill.worker import Assignment, work
from qafila.endpoints import open_source
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import Generation, apply_workload
from qafila.live_sync.apply import open_applier
from qafila.live_sync.capture import recorded
from qafila.live_sync.feeder import feed_all
from qafila.live_sync.feeds import FedElsewhere
from qafila.live_sync.lifecycle import ensure_capture
from qafila.live_sync.verify import verify_live
from qafila.stack import postgres
from qafila.workload.model import Workload
from tasks import embedding_backfill as steps
from tests.support.corpus import demo_workload, make_source, ready_generation
from tests.support.embedding_provider import KEY, MODEL, Provider, serving
from tests.support.qdrant_ways import engine_behind_rest

ROWS = 60
BAD = ("op-000007", "op-000020", "op-000060")
PLAN = plan_backfill(
    rows=ROWS,
    shards=2,
    rows_per_shard=40,
    workers=1,
    sample=Sample(0, 0, 0, 0, 1, ()),
    price_per_million_tokens=1,
    currency="USD",
    spend_cap=5,
)


@dataclass
class World:
    """A generation of whose rows a service refuses three; ``provider`` may change its mind."""

    ledger: psycopg.Connection[Any]
    workload: Workload
    generation: Generation
    source_url: str
    provider: Provider

    def write(self, *statements: str) -> None:
        with psycopg.connect(self.source_url, autocommit=True) as source:
            for one in statements:
                source.execute(one)

    def letters(self) -> list[str]:
        return [one.source_key for one in list_dead_letters(self.ledger, self.generation)]

    def replay(self, **how: Any) -> Replayed:
        return replay_dead_letters(self.ledger, self.generation, **how)

    def compare(self) -> Comparison:
        if self.workload.corpus.live_sync:
            return verify_live(self.ledger, self.generation)
        return verify_generation(self.ledger, self.generation)


Begin = Callable[..., World]


@pytest.fixture(params=["pgvector", "qdrant"])
def begin(
    request: pytest.FixtureRequest,
    pg_server: postgres.Postgres,
    ledger: psycopg.Connection[Any],
    ledger_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Begin]:
    """Load a generation, with live sync or without; three of its rows are set aside."""
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("QAFILA_SECRET_PROVIDER", KEY)
    source_url = postgres.ensure_database(pg_server, f"source_{uuid.uuid4().hex[:8]}")
    make_source(source_url, ROWS)
    with serving(Provider(64)) as provider, engine_behind_rest() as (stub, _):

        def loaded(*, live_sync: bool) -> World:
            record_connection(ledger, "provider", EmbeddingEndpoint(url=provider.url, api_key=KEY))
            record_connection(ledger, "qdrant", QdrantServer(url=stub.url))
            target = {"kind": "qdrant", "block": "qdrant"}
            workload = demo_workload(
                embedder={
                    "kind": "openai",
                    "block": "provider",
                    "model": MODEL,
                    "dimensions": 64,
                    "price_per_million_tokens": 1,
                },
                live_sync=live_sync,
                **({"target": target} if request.param == "qdrant" else {}),
            )
            generation = ready_generation(ledger, workload, source_url, target_url)
            world = World(ledger, workload, generation, source_url, provider)
            for key in BAD:
                world.write(set_body(key, "POISON"))
            ensure_capture(ledger, workload, generation)
            with open_source(ledger, workload) as rows:
                ranges, shape = rows.freeze(40), rows.shape()
            steps.apply_plan.fn(generation, PLAN, ranges, shape)
            work(Assignment(workload.name, generation.number, 20, led=False))
            steps.build_index.fn(generation)
            assert world.letters() == list(BAD)
            return world

        yield loaded


def set_body(key: str, body: str) -> str:
    return f"UPDATE operation SET body = '{body}' WHERE operation_id = '{key}'"


def delete(key: str) -> str:
    return f"DELETE FROM operation WHERE operation_id = '{key}'"


def test_what_is_mended_gets_in_once(begin: Begin) -> None:
    world = begin(live_sync=False)
    compared = world.compare()
    assert (compared.complete, compared.chunks_target, compared.dead_letters) == (True, ROWS - 3, 3)
    world.write(set_body(BAD[0], "mended"), delete(BAD[1]))
    done = world.replay(batch_documents=2)
    assert done == Replayed(documents=3, gone=1, chunks=1, set_aside=1)
    assert world.letters() == [BAD[2]]
    world.write(set_body(BAD[2], "mended"))
    for chunks in (1, 0):
        assert world.replay().chunks == chunks
        compared = world.compare()
        assert (compared.complete, compared.chunks_target) == (True, ROWS - 1)
        assert (compared.duplicates, compared.dead_letters) == (0, 0)


def test_a_replay_takes_nothing_from_live_sync(begin: Begin) -> None:
    """It reads rows as they are now; their changes are applied later all the same."""
    world = begin(live_sync=True)
    world.write(set_body(BAD[0], "mended"), delete(BAD[1]), set_body("op-000001", "changed"))
    world.provider.poison = "not in any row"
    assert world.replay() == Replayed(documents=3, gone=1, chunks=2, set_aside=0)
    assert world.letters() == []
    (fed,) = feed_all(world.ledger, world.workload)
    assert (fed.applied.changes, fed.problem, fed.elsewhere) == (3, "", False)
    world.write(set_body(BAD[2], "mended too"), delete("op-000002"))
    (fed,) = feed_all(world.ledger, world.workload)
    assert (fed.applied.changes, fed.problem) == (2, "")
    compared = world.compare()
    assert (compared.complete, compared.chunks_target) == (True, ROWS - 2)
    assert (compared.duplicates, compared.dead_letters) == (0, 0)


def test_live_sync_replays_what_changes_and_sets_aside_what_is_bad_again(begin: Begin) -> None:
    world = begin(live_sync=True)
    world.write(set_body(BAD[0], "mended"), set_body(BAD[1], "POISON again"))
    (fed,) = feed_all(world.ledger, world.workload)
    assert (fed.applied.chunks, fed.applied.rejected, fed.problem) == (1, 1, "")
    assert world.letters() == list(BAD[1:])
    world.provider.poison = "not in any row"
    assert world.replay() == Replayed(documents=2, gone=0, chunks=2, set_aside=0)
    compared = world.compare()
    assert (compared.complete, compared.chunks_target, compared.dead_letters) == (True, ROWS, 0)


def test_one_at_a_time_writes_and_the_other_is_told(begin: Begin) -> None:
    world = begin(live_sync=True)
    known = recorded(world.ledger, world.workload.name)
    assert known
    with (
        open_applier(world.ledger, known[0], world.workload, world.generation),
        pytest.raises(FedElsewhere) as elsewhere,
    ):
        world.replay()
    assert "--set replay_dead_letters=true" in elsewhere.value.remedy
    assert world.letters() == list(BAD)

    world.provider.poison = "not in any row"
    told: list[bool] = []

    def feed_meanwhile(_: float) -> None:
        world.write(set_body("op-000001", "changed meanwhile"))
        with psycopg.connect(world.ledger.info.dsn, autocommit=True) as own:
            told.extend(one.elsewhere for one in feed_all(own, world.workload))

    assert world.replay(wait=feed_meanwhile, batch_documents=3).chunks == 3
    assert set(told) == {True}
    (fed,) = feed_all(world.ledger, world.workload)
    assert (fed.applied.changes, fed.problem) == (len(told), "")
    assert world.compare().complete


def test_a_replay_before_live_sync_began_does_not_keep_it_from_feeding(begin: Begin) -> None:
    """Without a feed the fence is the time, far above any epoch of a feed; a reload begins anew."""
    world = begin(live_sync=False)
    world.provider.poison = "not in any row"
    assert world.replay().chunks == 3
    world.workload = demo_workload(**{**world.workload.corpus.model_dump(), "live_sync": True})
    apply_workload(world.ledger, world.workload)
    with open_source(world.ledger, world.workload) as rows:
        ranges, shape = rows.freeze(40), rows.shape()
    world.generation = steps.empty_generation.fn(world.generation, PLAN, ranges, shape)
    ensure_capture(world.ledger, world.workload, world.generation, emptied=True)
    work(Assignment(world.workload.name, world.generation.number, 20, led=False))
    steps.build_index.fn(world.generation)
    world.write(set_body("op-000001", "changed"))
    (fed,) = feed_all(world.ledger, world.workload)
    assert (fed.applied.changes, fed.problem) == (1, "")
    assert world.compare().complete
