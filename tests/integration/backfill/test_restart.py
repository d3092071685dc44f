"""PostgreSQL stops at once in the middle of a load and comes back: the run goes on by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import psycopg
import pytest
from typer.testing import CliRunner

from qafila.backfill import patience
from qafila.backfill.patience import Outage, PatientLedger
from qafila.backfill.pulse import Stopped
from qafila.cli import app
from qafila.errors import StaleEpoch, Unavailable
from tests.integration.backfill.restarting import ROWS, World, load

LAPSED_SECONDS = 11.0  # longer than a right to coordinate holds without a sign of life


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("engine", ["processes", "threads"])
def test_a_load_outlives_its_postgresql(
    world: World, meanwhile: Callable[[Callable[[], None]], Future[None]], engine: str
) -> None:
    def restart() -> None:
        world.wait_for_rows()
        world.stop()
        time.sleep(1.0)
        world.here.restart()

    done = meanwhile(restart)
    body = load(world, engine=engine)
    assert done.done()
    assert (body["verdict"], body["rows_target"], body["attempts"]) == ("PASS", ROWS, 1)
    assert body["rows_loaded_by_this_run"] == ROWS
    world.assert_each_row_is_there_once()
    with world.here.ledger() as ledger:
        assert ledger.execute("SELECT holder FROM qafila.load").fetchone() == (None,)


@pytest.mark.usefixtures("prefect_server")
def test_a_pause_asked_while_the_ledger_is_away_holds_once_it_is_back(
    world: World, meanwhile: Callable[[Callable[[], None]], Future[None]]
) -> None:
    """It is away for so long that nobody seems to coordinate: workers must not believe that."""
    held: list[int] = []

    def restart() -> None:
        world.wait_for_rows()
        world.stop()
        asked = ask(world, "pause")
        time.sleep(LAPSED_SECONDS)
        world.here.restart()
        asked.join(20)
        time.sleep(1.5)
        held.append(world.rows_loaded())
        time.sleep(1.0)
        held.append(world.rows_loaded())
        ask(world, "resume").join(20)

    meanwhile(restart)
    body = load(world)
    assert held[0] == held[1] < ROWS
    assert (body["verdict"], body["rows_loaded_by_this_run"]) == ("PASS", ROWS)
    world.assert_each_row_is_there_once()


@pytest.mark.usefixtures("prefect_server")
def test_a_cancel_asked_while_the_ledger_is_away_stops_the_load_once_it_is_back(
    world: World, meanwhile: Callable[[Callable[[], None]], Future[None]]
) -> None:
    def restart() -> None:
        world.wait_for_rows()
        world.stop()
        asked = ask(world, "cancel")
        time.sleep(1.0)
        world.here.restart()
        asked.join(20)

    meanwhile(restart)
    with pytest.raises(Stopped, match="the power went") as stopped:
        load(world)
    assert stopped.value.remedy == "qafila run embedding-backfill aws-docs-search"
    assert 0 < world.rows_loaded() < ROWS
    assert load(world)["verdict"] == "PASS"
    world.assert_each_row_is_there_once()


@pytest.mark.usefixtures("prefect_server")
def test_a_load_that_was_taken_over_meanwhile_ends_and_leaves_it_to_the_other(
    world: World, meanwhile: Callable[[Callable[[], None]], Future[None]]
) -> None:
    def restart() -> None:
        world.wait_for_rows()
        world.stop()
        world.here.restart()
        with world.here.ledger() as ledger:  # as another machine's run does after ten seconds
            ledger.execute(
                "UPDATE qafila.load SET holder = 'elsewhere', holder_pid = 1, holder_run = 'other',"
                " epoch = epoch + 1, heartbeat = clock_timestamp()"
            )

    meanwhile(restart)
    with pytest.raises(StaleEpoch, match="taken over by another run") as stale:
        load(world)
    assert "qafila load show" in stale.value.remedy
    assert 0 < world.rows_loaded() < ROWS
    with world.here.ledger() as ledger:
        assert ledger.execute("SELECT holder FROM qafila.load").fetchone() == ("elsewhere",)
        left = ledger.execute(
            "SELECT count(*) FROM qafila.shard WHERE state = 'claimed'"
        ).fetchone()
    assert left == (0,)


def test_patience_has_an_end_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setenv("QAFILA_LEDGER_URL", "postgresql://127.0.0.1:9/nowhere")
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)
    with PatientLedger("docs", heard.append) as ledger, pytest.raises(Unavailable) as gone:
        ledger.ask(lambda connection: connection.execute("SELECT 1"), patience_seconds=0.1)
    assert "the ledger does not answer" in gone.value.what
    assert gone.value.remedy == "qafila doctor; then: qafila run embedding-backfill docs"
    assert len(heard) == 1


def test_an_outage_that_ended_does_not_count_for_the_next() -> None:
    outage = Outage("docs", patience_seconds=0.05)
    for _ in range(3):
        outage.bear(psycopg.OperationalError("away"))
        time.sleep(0.03)
        outage.over()
    outage.bear(psycopg.OperationalError("away"))
    time.sleep(0.06)
    with pytest.raises(Unavailable):
        outage.bear(psycopg.OperationalError("away"))


def ask(world: World, what: str) -> threading.Thread:
    """Begin the operator's command; it waits for the ledger as the load does."""
    words = ["load", what, world.generation.workload, "--by", "operator", "--why", "the power went"]

    def run() -> None:
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code == 0, ran.output

    thread = threading.Thread(target=run)
    thread.start()
    return thread
