"""After a promotion: what users wrote meanwhile is on the old side before they are sent there."""

from __future__ import annotations

import threading
import time
import uuid

import psycopg
import pytest
from psycopg.types.json import Jsonb

from qafila.backfill.generations import open_for
from qafila.errors import Refused
from qafila.ledger.ledger import apply_workload, move_phase, newest_generation
from qafila.live_sync.feeder import feed_all
from qafila.live_sync.lifecycle import ensure_capture
from qafila.rollback.rollback import roll_back
from qafila.rollback.way_back import bring_back
from qafila.sql import statement
from qafila.stack import postgres
from qafila.stores.pointer_row import move_alias, read_alias
from qafila.workload.corpus import WordLlamaEmbedder
from qafila.workload.phases import Event, Phase
from qafila.workload.verdict import Verdict
from tasks import embedding_backfill as steps
from tests.support.corpus import demo_workload
from tests.support.edges import Edge
from tests.support.live import Live, followed

NAME = "aws-docs-search"
PUT = "INSERT INTO operation VALUES ('new', 'T', 'written since the promotion')"


@pytest.fixture
def promoted(
    edge: Edge,
    ledger: psycopg.Connection,
    ledger_url: str,
    target_url: str,
    pg_server: postgres.Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> Live:
    """Generation 2 serves, generation 1 is warm behind it; a write only the source knows of."""
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    source_url = postgres.ensure_database(pg_server, f"source_{uuid.uuid4().hex[:8]}")
    live = followed(ledger, source_url, target_url)
    live.load()
    ups = (Event.LADDER_PASS, Event.DRILL_PASS, Event.FIRST_WEIGHT, Event.BAKE_PASS)
    for event in ups:
        live.generation = move_phase(ledger, live.generation, event)
    smaller = WordLlamaEmbedder(kind="wordllama", dimensions=64)
    live.workload = demo_workload(live_sync=True, embedder=smaller.model_dump())
    apply_workload(ledger, live.workload)
    second = open_for(ledger, live.workload)
    for event in (Event.AUDIT_ACCEPTED, Event.DECISION_APPROVED, Event.PLAN_APPLIED):
        second = move_phase(ledger, second, event)
    ensure_capture(ledger, live.workload, second)
    steps.apply_plan.fn(second, *steps.plan_load.fn(second, 100, 1))
    live.generation = second
    live.load()
    for event in ups:
        live.generation = move_phase(ledger, live.generation, event)
    ledger.execute(
        statement("ledger", "put_connection"),
        {
            "name": live.workload.service.router.block,
            "kind": "qafila-envoy",
            "settings": Jsonb(edge.settings()),
            "has_secret": False,
        },
    )
    with psycopg.connect(target_url, autocommit=True) as target:
        move_alias(target, NAME, 1, 0)
        move_alias(target, NAME, 2, 0)
    epoch = edge.router.read().epoch
    edge.router.acknowledged(edge.router.write(100, epoch=epoch, why="promoted"))
    feed_all(ledger, live.workload)
    live.write(PUT)
    return live


def test_the_way_back_goes_only_where_every_write_is(
    edge: Edge, promoted: Live, ledger_url: str
) -> None:
    """Refused while the old side is behind; the weights and the pointer row are untouched."""
    ledger = promoted.ledger
    lines: list[str] = []
    with pytest.raises(Refused) as caught:
        bring_back(NAME, "quality fell", holder="test", wait_s=0.5, tell=lines.append)
    assert "generation 1 lacks 1 changes" in caught.value.what
    assert f"qafila rollback {NAME} --now" in caught.value.remedy
    assert "generation 1 lacks 1 changes" in lines[0]
    assert edge.router.read().candidate_percent == 100

    def catch_up() -> None:
        time.sleep(0.5)
        with psycopg.connect(ledger_url, autocommit=True) as own:
            feed_all(own, promoted.workload)

    thread = threading.Thread(target=catch_up)
    thread.start()
    outcome = bring_back(NAME, "quality fell", holder="test", wait_s=60)
    thread.join()
    assert outcome.verdict is Verdict.PASS, outcome.sentence
    assert "generation 1 has every write" in outcome.sentence
    assert promoted.texts(1)["new"] == "T\nwritten since the promotion"
    with psycopg.connect(promoted.target_url) as target:
        alias = read_alias(target, NAME)
    assert alias is not None
    assert alias.generation == 1
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    assert generation.phase == Phase.ROLLED_BACK


def test_now_goes_at_once_and_says_what_is_missing(edge: Edge, promoted: Live) -> None:
    begun = time.monotonic()
    outcome = bring_back(NAME, "it leaks", holder="test", wait_s=60, now=True)
    assert time.monotonic() - begun < 30
    assert outcome.verdict is Verdict.PASS, outcome.sentence
    assert "lacks 1 changes" in outcome.old_side
    assert edge.router.read().candidate_percent == 0


def test_an_abort_of_a_canary_never_waits(edge: Edge, promoted: Live) -> None:
    promoted.ledger.execute(
        "UPDATE qafila.generation SET phase = %s WHERE number = 2", [Phase.CANARY.value]
    )
    outcome = roll_back(promoted.ledger, NAME, "errors", wait_s=60, proof_seconds=0.2)
    assert outcome.verdict is Verdict.PASS, outcome.sentence
    assert outcome.old_side == ""
