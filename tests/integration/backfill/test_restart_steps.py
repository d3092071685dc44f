"""PostgreSQL stops at once in each step of a backfill but the load; the run goes on by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from prefect import flow
from prefect.runtime import flow_run

import qafila.backfill.verify as verifying
import tasks.embedding_backfill as steps
from blocks import QdrantServer
from qafila.backfill import attempt, load_plan
from qafila.backfill.patience import is_away
from qafila.errors import BackfillHalted, Unavailable
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import open_ledger
from qafila.session_name import working_on
from qafila.stores.pgvector import index as pgvector_index
from tests.integration.backfill.restarting import ROWS, World, load, until
from tests.support.corpus import demo_workload, ready_generation
from tests.support.task_states import states_of

Patch = pytest.MonkeyPatch


def once_before(monkeypatch: Patch, room: Any, name: str, happens: Callable[[], None]) -> None:
    """Let something happen just before a function is called for the first time."""
    real, left = getattr(room, name), [happens]

    def called(*given: Any, **named: Any) -> Any:
        if left:
            left.pop()()
        return real(*given, **named)

    monkeypatch.setattr(room, name, called)


def blink_while_the_graph_grows(world: World) -> None:
    """Stop the server as soon as HNSW takes in rows: not before, and not for a B-tree."""

    def growing() -> bool:
        with world.here.target() as target:
            return bool(
                target.execute(
                    "SELECT 1 FROM pg_stat_progress_create_index"
                    " WHERE phase = 'building index: loading tuples'"
                ).fetchone()
            )

    until(growing)
    world.blink()


def states_in_run(world: World, step: str) -> list[str]:
    """Return the states of a step of the run that wrote the verdict."""
    with world.here.ledger() as ledger:
        row = ledger.execute(
            "SELECT run_id FROM qafila.evidence WHERE kind = 'backfill'"
        ).fetchone()
    assert row
    return states_of(UUID(row[0]), step)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("room", "name", "step"),
    [
        (load_plan, "shard_rows", "plan backfill of"),  # source and ledger are open
        (load_plan, "sample_apart", "plan backfill of"),  # a process of its own finds nobody
        (attempt, "record_evidence", "begin g1"),  # the first attempt is noted
        (verifying, "compare_whole", "compare source with"),  # source and target are open
    ],
    ids=["planning", "sampling", "beginning", "comparing"],
)
def test_a_step_outlives_its_postgresql_and_is_seen_to_await_its_retry(
    world: World, monkeypatch: Patch, room: Any, name: str, step: str
) -> None:
    once_before(monkeypatch, room, name, world.blink)
    body = load(world, rows_per_shard=None, batch_rows=None)
    assert (body["verdict"], body["rows_target"], body["attempts"]) == ("PASS", ROWS, 1)
    assert len(world.returning) == 1
    world.assert_each_row_is_there_once()
    with world.here.ledger() as ledger:
        assert ledger.execute("SELECT phase FROM qafila.generation").fetchone() == ("backfilled",)
    states = states_in_run(world, step)
    assert states[-1] == "Completed"
    assert 1 <= states.count("AwaitingRetry") <= 4, states


@pytest.mark.usefixtures("prefect_server")
def test_an_index_build_outlives_its_postgresql(world: World, monkeypatch: Patch) -> None:
    def later() -> None:
        threading.Thread(target=blink_while_the_graph_grows, args=[world]).start()

    once_before(monkeypatch, pgvector_index, "plan_building", later)
    monkeypatch.setattr(steps.build_index, "retry_delay_seconds", [2.0, 2.0, 2.0])
    body = load(world, batch_rows=None)
    assert (body["verdict"], body["attempts"]) == ("PASS", 1)
    assert len(world.returning) == 1
    assert "AwaitingRetry" in states_in_run(world, "build index of")
    with world.here.target() as target:
        valid = target.execute(
            "SELECT count(*), bool_and(indisvalid) FROM pg_index"
            " WHERE indrelid = 'qafila.chunk_aws_docs_search_g1'::regclass"
        ).fetchone()
    assert valid == (3, True)


@pytest.mark.usefixtures("prefect_server")
def test_every_session_of_a_backfill_says_what_it_is_for(world: World) -> None:
    seen: set[tuple[str, str]] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen.update(world.sessions())
            time.sleep(0.005)

    looking = threading.Thread(target=look)
    looking.start()
    load(world, workers=2)
    over.set()
    looking.join()
    name = "aws-docs-search"
    assert {
        ("source", f"qafila plan g1 {name}"),
        ("source", f"qafila load g1 w1 {name}"),
        ("target", f"qafila load g1 w2 {name}"),
        ("target", f"qafila index g1 {name}"),
        ("source", f"qafila compare g1 {name}"),
        ("ledger", f"qafila ledger load g1 w1 {name}"),
        ("ledger", f"qafila ledger embedding-backfill {name}"),
    } <= seen
    assert all(told.startswith("qafila ") for where, told in seen if where in ("source", "target"))


def test_a_name_that_the_operator_chose_stays(ledger_url: str, monkeypatch: Patch) -> None:
    def name(url: str) -> object:
        with working_on("load", workload="docs"), open_ledger(url) as ledger:
            row = ledger.execute("SHOW application_name").fetchone()
        return row and row[0]

    assert name(ledger_url) == "qafila ledger load docs"
    joined = "&" if "?" in ledger_url else "?"
    assert name(f"{ledger_url}{joined}application_name=night-shift") == "night-shift"
    monkeypatch.setenv("PGAPPNAME", "from-outside")
    assert name(ledger_url) == "from-outside"


def in_a_run(step: Callable[[], object]) -> UUID:
    """Call a step that fails in a flow run; return the run's id."""

    @flow(name="one-step")
    def one_step() -> None:
        run_ids.append(UUID(str(flow_run.id)))
        step()

    run_ids: list[UUID] = []
    with pytest.raises((Unavailable, BackfillHalted)):
        one_step()
    return run_ids[0]


@pytest.mark.usefixtures("prefect_server", "ledger_named")
def test_a_qdrant_that_is_silent_is_waited_for_unless_it_has_never_answered(
    ledger: psycopg.Connection, source_url: str, target_url: str
) -> None:
    workload = demo_workload(target={"kind": "qdrant", "block": "points"})
    record_connection(ledger, "points", QdrantServer(url="http://127.0.0.1:9"))
    generation = ready_generation(ledger, workload, source_url, target_url)
    with pytest.raises(Unavailable, match="Qdrant gave no answer"):
        steps.check_source_and_target.fn(generation)
    run_id = in_a_run(lambda: steps.check_source_and_target(generation))
    assert "AwaitingRetry" not in states_of(run_id, "check source and target")
    build_index = steps.build_index.with_options(retry_delay_seconds=0.01)
    run_id = in_a_run(lambda: build_index(generation))
    states = states_of(run_id, "build index of")
    assert (states.count("AwaitingRetry"), states[-1]) == (3, "Failed")
    with pytest.raises(Unavailable, match="a server is away: Qdrant gave no") as gone:
        steps.build_index.fn(generation)
    assert (
        gone.value.remedy == f"qafila doctor; then: qafila run embedding-backfill {workload.name}"
    )


@pytest.mark.usefixtures("prefect_server", "ledger_named")
def test_a_server_that_goes_away_again_and_again_ends_the_build(
    ledger: psycopg.Connection, source_url: str, target_url: str, monkeypatch: Patch
) -> None:
    """As when the build itself is what it dies of: out of memory, for instance."""
    built: list[int] = []

    def cut_off(*_: object) -> None:
        built.append(1)
        halted = BackfillHalted("the server ended the build")
        raise halted from psycopg.errors.AdminShutdown("terminating connection")

    monkeypatch.setattr(attempt, "build_index", cut_off)
    generation = ready_generation(ledger, demo_workload(), source_url, target_url)
    build_index = steps.build_index.with_options(retry_delay_seconds=0.01)
    run_id = in_a_run(lambda: build_index(generation))
    assert len(built) == 4
    assert states_of(run_id, "build index of").count("AwaitingRetry") == 3


def test_the_delays_outlast_two_minutes() -> None:
    for step in (
        steps.plan_load,
        steps.empty_generation,
        steps.start_capture,
        steps.apply_plan,
        steps.begin,
        steps.build_index,
        steps.replay,
        steps.compare,
        steps.accept,
    ):
        delays = step.retry_delay_seconds
        assert isinstance(delays, list)
        assert len(delays) == step.retries
        assert sum(delays) >= 120
        assert step.retry_condition_fn is steps.server_is_away


@pytest.mark.usefixtures("prefect_server", "ledger_named")
def test_an_answer_that_says_no_is_not_asked_for_again(
    ledger: psycopg.Connection, source_url: str, target_url: str, monkeypatch: Patch
) -> None:
    def cancelled(*_: object) -> None:
        raise BackfillHalted("cancelled") from psycopg.errors.QueryCanceled("by somebody")

    monkeypatch.setattr(attempt, "build_index", cancelled)
    generation = ready_generation(ledger, demo_workload(), source_url, target_url)
    run_id = in_a_run(lambda: steps.build_index(generation))
    assert states_of(run_id, "build index of") == ["Pending", "Running", "Failed"]


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (psycopg.OperationalError("server closed the connection"), True),
        (psycopg.errors.AdminShutdown("stopped"), True),
        (psycopg.errors.CrashShutdown("crashed"), True),
        (psycopg.errors.CannotConnectNow("starting up"), True),
        (psycopg.errors.DiskFull("no space left on device"), False),
        (psycopg.errors.QueryCanceled("canceling statement due to user request"), False),
        (psycopg.errors.DeadlockDetected("deadlock"), False),
        (psycopg.errors.UniqueViolation("twice"), False),
        (Unavailable("there is no ledger"), False),
        (BackfillHalted("too small"), False),
        (ValueError("ours"), False),
    ],
)
def test_an_answer_is_no_absence(error: Exception, away: bool) -> None:
    assert is_away(error) is away
    wrapped = Unavailable("wrapped")
    wrapped.__cause__ = error
    if isinstance(error, psycopg.Error):
        assert is_away(wrapped) is away
