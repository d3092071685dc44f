"""Who feeds which generation, from where on, and what is said of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from qafila.errors import Refused, StaleEpoch
from qafila.ledger.ledger import move_phase
from qafila.live_sync.apply import open_applier
from qafila.live_sync.capture import recorded
from qafila.live_sync.drain import drain
from qafila.live_sync.feeder import feed_all, follow
from qafila.live_sync.feeds import FedElsewhere, list_feeds
from qafila.live_sync.lifecycle import ensure_capture
from qafila.live_sync.status import read_live_sync
from qafila.live_sync.verify import verify_live
from qafila.stores.port import SyncMark
from qafila.workload.corpus import WordLlamaEmbedder
from qafila.workload.phases import Event
from tests.support.corpus import demo_workload
from tests.support.live import ROWS, SHARD_ROWS, Live, assert_in_step, put
from tests.support.planning import plan_here

OUTBOX = "qafila_outbox_aws_docs_search.outbox"


def test_one_applier_a_generation_and_whoever_was_taken_over_cannot_write(live: Live) -> None:
    known = recorded(live.ledger, live.workload.name)
    assert known
    capture, opened = known[0], (live.ledger, known[0], live.workload, live.generation)
    live.write(put("op-000001", "old"))
    with open_applier(*opened) as slow:
        with pytest.raises(FedElsewhere), open_applier(*opened):
            pass
        live.ledger.execute("UPDATE qafila.live_sync_feed SET heartbeat = '-infinity'")
        with open_applier(*opened) as quick:
            live.write(put("op-000001", "new"))
            assert quick.step().changes == 2
            nothing = quick._vectorise([], []).vectors
            mark = SyncMark(slow._held.epoch, str(slow.position))
            with pytest.raises(StaleEpoch):
                slow._store.replace(["op-000001"], [], nothing, mark)
            with pytest.raises(StaleEpoch):
                slow.step()
    assert capture
    assert_in_step(live)


def test_the_generation_before_is_fed_until_its_successor_is_settled(
    live: Live, target_url: str
) -> None:
    """With another model: each generation gets its own vectors, and going back loses no write."""
    from qafila.backfill.generations import open_for
    from qafila.ledger.ledger import apply_workload
    from tasks import embedding_backfill as steps

    ledger, first = live.ledger, live.generation
    for event in (Event.LADDER_PASS, Event.DRILL_PASS, Event.FIRST_WEIGHT, Event.BAKE_PASS):
        first = move_phase(ledger, first, event)
    smaller = WordLlamaEmbedder(kind="wordllama", dimensions=64)
    second_meaning = demo_workload(live_sync=True, embedder=smaller.model_dump())
    apply_workload(ledger, second_meaning)
    second = open_for(ledger, second_meaning)
    for event in (Event.AUDIT_ACCEPTED, Event.DECISION_APPROVED, Event.PLAN_APPLIED):
        second = move_phase(ledger, second, event)
    live.write(put("op-000001", "before the second"))
    ensure_capture(ledger, second_meaning, second)
    steps.apply_plan.fn(second, *steps.plan_load.fn(second, 100, 1))
    live.write(put("op-000002", "while it is loaded"))
    live.generation, live.workload = second, second_meaning
    assert [f.generation for f in feed_all(ledger, second_meaning)] == [1]
    live.load()
    for event in (Event.LADDER_PASS, Event.DRILL_PASS, Event.FIRST_WEIGHT, Event.BAKE_PASS):
        second = move_phase(ledger, live.generation, event)
    live.write(put("op-000003", "after promotion"))
    fed = feed_all(ledger, second_meaning)
    assert [(f.generation, f.problem) for f in fed] == [(1, ""), (2, "")]
    for number in (1, 2):
        assert_in_step(live, number)
    move_phase(ledger, second, Event.SETTLE)
    live.write(put("op-000004", "after it is settled"))
    assert [f.generation for f in feed_all(ledger, second_meaning)] == [2]
    assert live.texts(1)["op-000004"] != live.texts(2)["op-000004"]
    assert set(list_feeds(ledger, live.workload.name)) == {2}
    state = read_live_sync(ledger, second_meaning)
    assert state
    assert state.held_changes <= 1  # pruned behind the one that is left


def test_a_target_that_went_back_is_not_fed_on(live: Live) -> None:
    live.write(put("op-000001", "one"))
    drain(live.ledger, live.workload, live.generation)
    with psycopg.connect(live.target_url) as target:
        before = target.execute("SELECT position FROM qafila.sync_mark").fetchone()
    live.write(put("op-000001", "two"))
    feed_all(live.ledger, live.workload)
    live.write(put("op-000001", "three"))
    feed_all(live.ledger, live.workload)
    with psycopg.connect(live.target_url) as target:  # as a restored backup would
        target.execute("UPDATE qafila.sync_mark SET position = %s", before)
    with pytest.raises(Refused, match="gone back"):
        drain(live.ledger, live.workload, live.generation)


def test_on_another_timeline_everything_is_applied_again(live: Live) -> None:
    live.write(put("op-000001", "one"))
    drain(live.ledger, live.workload, live.generation)
    with psycopg.connect(live.target_url) as target:
        target.execute("UPDATE qafila.sync_mark SET position = replace(position, ':0000', ':1000')")
    assert drain(live.ledger, live.workload, live.generation).changes == 1
    assert drain(live.ledger, live.workload, live.generation).changes == 0


def test_a_reload_begins_anew(live: Live) -> None:
    from tasks import embedding_backfill as steps

    live.write(put("op-000001", "before"))
    feed_all(live.ledger, live.workload)
    plan = plan_here(live.generation, SHARD_ROWS, 1)
    live.generation = steps.empty_generation.fn(live.generation, *plan)
    ensure_capture(live.ledger, live.workload, live.generation, emptied=True)
    live.write(put("op-000001", "after"))
    live.load()
    drain(live.ledger, live.workload, live.generation)
    assert_in_step(live)


def test_two_that_drain_at_once_both_return_when_it_is_done(live: Live) -> None:
    live.write(*[put(f"op-{n:06}", "busy") for n in range(1, 60)])
    errors: list[BaseException] = []

    def go() -> None:
        try:
            with psycopg.connect(live.ledger.info.dsn, autocommit=True) as own:
                drain(own, live.workload, live.generation)
                assert live.texts()["op-000059"].endswith("busy")
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert_in_step(live)


@pytest.fixture
def writer(live: Live) -> Iterator[threading.Event]:
    """Write to the source all the time: updates, inserts, deletes, key changes, roll-backs."""
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(live.source_url) as source:
            n = 0
            while not stop.wait(0.002):
                n += 1
                key, other = f"op-{n % ROWS + 1:06}", f"op-{(n * 7) % ROWS + 1:06}"
                source.execute(put(key, f"body {n}"))  # type: ignore[arg-type]
                if n % 5 == 0:
                    source.execute("DELETE FROM operation WHERE operation_id = %s", [other])
                if n % 7 == 0:
                    source.rollback()
                source.commit()

    thread = threading.Thread(target=write)
    thread.start()
    yield stop
    stop.set()
    thread.join()


def test_a_comparison_under_writes_ends_with_equality_or_the_truth(
    live: Live, writer: threading.Event
) -> None:
    heard: list[Any] = []
    live.write(put("op-quiet", "nobody writes this again"))
    followed = follow(live.ledger, live.workload, seconds=1.5, tell=heard.append, tell_seconds=0.5)
    assert followed[0].applied.changes > 0  # how many in that time is the machine's to say
    assert followed[0].problem == ""
    assert heard
    compared = verify_live(live.ledger, live.generation)
    assert compared.complete, compared
    with psycopg.connect(live.target_url, autocommit=True) as target:
        target.execute(
            "DELETE FROM qafila.chunk_aws_docs_search_g1 WHERE source_key = 'op-quiet';"
            "UPDATE qafila.chunk_aws_docs_search_g1 SET source_key = 'op-stranger' WHERE"
            " source_key = (SELECT max(source_key) FROM qafila.chunk_aws_docs_search_g1)"
        )
    compared = verify_live(live.ledger, live.generation)  # as often as it takes for races to end
    assert (compared.missing, compared.stale, compared.extra) == (1, 0, 1), compared
    assert set(compared.examples) == {"missing op-quiet", "extra op-stranger"}


def test_the_commands_say_where_it_stands(live: Live) -> None:
    from typer.testing import CliRunner

    from qafila.cli import app

    def run(*words: str) -> Any:
        ran = CliRunner().invoke(app, ["live-sync", *words, live.workload.name, "--json"])
        assert ran.exit_code == 0, ran.output
        return json.loads(ran.stdout)

    live.write(put("op-000001", "one"))
    assert "CREATE TRIGGER" in run("install", "--dry-run")["sql"]
    assert run("install")["outbox"] == OUTBOX
    status = run("status")
    assert (status["installed"], status["faults"], status["held_changes"]) == (True, [], 1)
    assert status["generations"][0]["lag"]["changes"] == 1
    text = CliRunner().invoke(app, ["live-sync", "status", live.workload.name]).stdout
    assert "g1: fed, 1 changes" in text
    assert "nobody applies now" in text
    assert run("remove", "--force")["removed"]
    assert run("status") == {"workload": live.workload.name, "installed": False}
