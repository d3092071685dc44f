"""PostgreSQL stops at once in each step of a backfill but the load; the run goes on by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

import qafila.backfill.verify as verifying
import tasks.embedding_backfill as steps
from blocks import QdrantServer
from qafila.backfill import patience
from qafila.backfill.patience import MOST_OUTAGES, is_away, outlast
from qafila.errors import BackfillHalted, Unavailable
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import open_ledger
from qafila.session_name import working_on
from qafila.stores.pgvector import index as pgvector_index
from tasks import backfill, lasting
from tests.integration.backfill.restarting import ROWS, World, load, until
from tests.support.corpus import demo_workload, ready_generation

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


@pytest.fixture
def told(monkeypatch: Patch) -> list[str]:
    """What the run says in its status line of servers that are away."""
    heard: list[str] = []

    class Log:
        def __getattr__(self, _: str) -> Callable[..., None]:
            return lambda text, *_: heard.append(text) if "server is" in text else None

    monkeypatch.setattr(lasting, "get_run_logger", Log)
    return heard


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("room", "name"),
    [
        (backfill, "shard_rows"),  # planning: source and target are open
        (backfill, "sample_apart"),  # planning: a process of its own finds nobody
        (steps, "record_evidence"),  # the first attempt is noted
        (verifying, "compare_whole"),  # comparing: source and target are open
    ],
    ids=["planning", "sampling", "beginning", "comparing"],
)
def test_a_step_outlives_its_postgresql(
    world: World, monkeypatch: Patch, told: list[str], room: Any, name: str
) -> None:
    once_before(monkeypatch, room, name, world.blink)
    body = load(world, rows_per_shard=None, batch_rows=None)
    assert (body["verdict"], body["rows_target"], body["attempts"]) == ("PASS", ROWS, 1)
    assert len(world.returning) == 1
    assert [line.split(",")[0].split(" after")[0] for line in told] == [
        "a server is away",
        "the server is back",
    ]
    world.assert_each_row_is_there_once()
    with world.here.ledger() as ledger:
        assert ledger.execute("SELECT phase FROM qafila.generation").fetchone() == ("backfilled",)


@pytest.mark.usefixtures("prefect_server")
def test_an_index_build_outlives_its_postgresql(
    world: World, monkeypatch: Patch, told: list[str]
) -> None:
    def later() -> None:
        threading.Thread(target=blink_while_the_graph_grows, args=[world]).start()

    once_before(monkeypatch, pgvector_index, "plan_building", later)
    body = load(world, batch_rows=None)
    assert (body["verdict"], body["attempts"]) == ("PASS", 1)
    assert len(world.returning) == 1
    assert len(told) == 2
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


@pytest.fixture
def hurried(monkeypatch: Patch) -> Iterator[None]:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.001)
    return


@pytest.mark.usefixtures("hurried")
def test_what_has_never_answered_is_not_waited_for() -> None:
    gone = Unavailable("the database does not answer")
    gone.__cause__ = psycopg.OperationalError("no route")
    calls: list[int] = []

    def doing(_: Callable[[], None]) -> None:
        calls.append(1)
        raise gone

    with pytest.raises(Unavailable) as raised:
        outlast("docs", "plan", doing, known=False)
    assert raised.value is gone
    assert len(calls) == 1


@pytest.mark.usefixtures("hurried", "ledger_named")
def test_a_qdrant_that_is_silent_is_one_outage_however_often_it_is_asked(
    ledger: psycopg.Connection,
    source_url: str,
    target_url: str,
    told: list[str],
    monkeypatch: Patch,
) -> None:
    """A connection to it is none until it is asked: opening one proves nothing."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.2)
    workload = demo_workload(target={"kind": "qdrant", "block": "points"})
    record_connection(ledger, "points", QdrantServer(url="http://127.0.0.1:9"))
    generation = ready_generation(ledger, workload, source_url, target_url)
    with pytest.raises(Unavailable, match="a server was away for"):
        backfill.build_index.fn(generation)
    assert len(told) == 1
    told.clear()
    with pytest.raises(Unavailable, match="Qdrant gave no answer"):
        backfill.plan_load.fn(generation.workload, generation, None, 1)
    assert told == []


@pytest.mark.usefixtures("hurried")
def test_a_server_that_goes_away_again_and_again_ends_the_step() -> None:
    """As when the step itself is what it dies of: out of memory, for instance."""
    heard: list[str] = []

    def doing(answered: Callable[[], None]) -> None:
        answered()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with pytest.raises(BackfillHalted, match="went away 4 times during: index") as halted:
        outlast("docs", "index", doing, heard.append)
    assert halted.value.remedy.endswith("qafila run embedding-backfill docs")
    assert len(heard) == 2 * MOST_OUTAGES


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
