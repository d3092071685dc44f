"""The ledger is gone: back by the card in a fresh process, and nothing of it is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from benchmarks.setting import Setting, setting
from qafila.ledger.evidence import check_chain, evidence_of
from qafila.ledger.leases import read_lease, take_lease
from qafila.ledger.ledger import ledger_identity, newest_generation
from qafila.rollback.card import card_path, write_card
from qafila.rollback.spool import spool_path, take_in_spool
from qafila.sql import apply_schema, statement
from qafila.stack import postgres
from qafila.stores.pointer_row import read_alias, set_trial
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from tests.support.edges import Edge

NAME = "aws-docs-search"
ROOT = Path(__file__).parents[3]
# What the shell's command does, and then which of Prefect's modules are there.
COMMAND = """
import json, sys
from qafila.cli import app, main
from qafila.errors import QafilaError
code = 0
try:
    app(sys.argv[1:], standalone_mode=False)
except QafilaError as error:
    print(error.render(), file=sys.stderr)
    code = error.exit_code
print("prefect" in sys.modules)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def own() -> Iterator[Setting]:
    with setting() as own:
        yield own


@pytest.fixture
def ledger_url(own: Setting) -> str:
    """A fresh ledger on a server that these tests may kill; the target is on another."""
    url = postgres.ensure_database(own.server, f"ledger_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url) as connection:
        apply_schema(connection, "ledger")
    return url


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def kill(own: Setting) -> None:
    """Stop the ledger's server at once, as when the power goes."""
    server = psutil.Process(own.server.pid)
    os.kill(own.server.pid, signal.SIGQUIT)
    deadline = time.monotonic() + 20
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_a_weight(edge: Edge, ledger: psycopg.Connection, spec: Workload, target_url: str) -> int:
    """Leave what a canary at 25 % leaves: phase, lease, card, trial, weight; return its epoch."""
    ledger.execute("UPDATE qafila.generation SET phase = %s", [Phase.CANARY.value])
    epoch = take_lease(ledger, NAME, "canary", generation=1, above=edge.router.read().epoch)
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    write_card(ledger, spec, generation, edge.router, epoch)
    with psycopg.connect(target_url, autocommit=True) as target:
        set_trial(target, NAME, 1, epoch)
    edge.router.acknowledged(edge.router.write(25, epoch=epoch, why="test"))
    return epoch


def command(
    home: Path, ledger_url: str, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], bool]:
    """Run a command in a fresh process; return it, and whether it imported Prefect."""
    environment = {
        **os.environ,
        "QAFILA_LEDGER_URL": ledger_url,
        "QAFILA_HOME": str(home),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
    }
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    *lines, imported = done.stdout.splitlines() or [done.stderr]
    done.stdout = "\n".join(lines)
    return done, imported == "True"


@pytest.mark.usefixtures("traffic")
def test_back_by_the_card_and_the_ledger_catches_up(
    edge: Edge,
    ledger: psycopg.Connection,
    workload: Workload,
    ledger_url: str,
    target_url: str,
    own: Setting,
    home: Path,
) -> None:
    epoch = at_a_weight(edge, ledger, workload, target_url)
    kill(own)
    try:
        done, imported = command(home, ledger_url, "rollback", NAME, "--why", "users complain")
        assert done.returncode == 0, done.stderr
        assert "is on its baseline" in done.stdout
        assert "Done by the card" in done.stdout
        assert "the ledger does not answer" in done.stderr
        assert not imported
        now = edge.router.read()
        assert (now.candidate_percent, edge.router.reported()) == (0, now)
        assert now.epoch > epoch
        with psycopg.connect(target_url, autocommit=True) as target:
            alias = read_alias(target, NAME)
        assert alias is not None
        assert alias.trial is None
        again, _ = command(home, ledger_url, "rollback", NAME, "--json")
        assert json.loads(again.stdout)["already"]
        assert len(spool_path().read_text().splitlines()) == 1
    finally:
        own.restart()
    shown, _ = command(home, ledger_url, "evidence", "verify")
    assert shown.returncode == 0, shown.stderr
    assert "without a ledger is evidence" in shown.stderr
    assert spool_path().read_text() == ""
    with psycopg.connect(ledger_url, autocommit=True) as fresh:
        (kept,) = evidence_of(fresh, NAME, "rollback")
        assert (kept.body["by"], kept.body["why"]) == ("card", "users complain")
        assert kept.body["from_weight"] == 25
        assert check_chain(fresh).intact
        generation = newest_generation(fresh, NAME)
        assert generation is not None
        assert generation.phase == Phase.ROLLED_BACK
        lease = read_lease(fresh, NAME)
        assert lease is not None
        assert (lease.epoch, lease.holder) == (now.epoch, None)
        assert take_in_spool(fresh) == 0
    last, imported = command(home, ledger_url, "rollback", NAME)
    assert "on its baseline already; nothing was changed" in last.stdout
    assert not imported


@pytest.mark.usefixtures("traffic")
def test_on_another_machine_the_card_beside_the_routers_files_is_enough(
    edge: Edge,
    ledger: psycopg.Connection,
    workload: Workload,
    target_url: str,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_a_weight(edge, ledger, workload, target_url)
    empty, nowhere = tmp_path / "elsewhere", "postgresql://u@127.0.0.1:9/none"
    done, _ = command(empty, nowhere, "rollback", NAME)
    assert done.returncode == 4
    assert "--card FILE" in done.stderr
    assert edge.router.read().candidate_percent == 25
    beside = edge.folder / f"rollback-card-{NAME}.json"
    done, _ = command(empty, nowhere, "rollback", NAME, "--card", str(beside))
    assert done.returncode == 1
    assert "QAFILA_CARD_KEY" in done.stderr
    assert edge.router.read().candidate_percent == 25
    monkeypatch.setenv("QAFILA_CARD_KEY", (home / "keys" / "rollback-card").read_text().strip())
    done, imported = command(empty, nowhere, "rollback", NAME, "--card", str(beside))
    assert done.returncode == 0, done.stderr
    assert not imported
    assert edge.router.read().candidate_percent == 0
    wrong, _ = command(empty, nowhere, "rollback", "other", "--card", str(beside))
    assert wrong.returncode == 2


@pytest.mark.usefixtures("traffic")
def test_on_another_machine_the_ledger_alone_is_enough(
    edge: Edge,
    ledger: psycopg.Connection,
    workload: Workload,
    ledger_url: str,
    target_url: str,
    tmp_path: Path,
    home: Path,
) -> None:
    """An empty home, no card, a Prefect server that does not answer, and Prefect not imported."""
    at_a_weight(edge, ledger, workload, target_url)
    card_path(NAME).unlink()
    done, imported = command(tmp_path / "elsewhere", ledger_url, "rollback", NAME)
    assert done.returncode == 0, done.stderr
    assert not imported
    assert edge.router.read().candidate_percent == 0
    (kept,) = evidence_of(ledger, NAME, "rollback")
    assert kept.body["by"] == "ledger"


def test_a_ledger_that_was_led_on_meanwhile_keeps_its_newer_rollout(
    edge: Edge,
    ledger: psycopg.Connection,
    workload: Workload,
    ledger_url: str,
    target_url: str,
    home: Path,
) -> None:
    """The card's rollback is evidence all the same; what is newer than it is left alone."""
    at_a_weight(edge, ledger, workload, target_url)
    done, _ = command(home, "postgresql://u@127.0.0.1:9/none", "rollback", NAME)
    assert done.returncode == 0, done.stderr
    newer = take_lease(ledger, NAME, "canary", force=True, above=edge.router.read().epoch)
    assert take_in_spool(ledger) == 1
    lease = read_lease(ledger, NAME)
    assert lease is not None
    assert (lease.epoch, lease.holder) == (newer, "canary")
    assert len(evidence_of(ledger, NAME, "rollback")) == 1
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    assert generation.phase == Phase.CANARY


def test_with_controller_and_ledger_dead_the_watchdog_goes_back_by_the_card(
    edge: Edge,
    ledger: psycopg.Connection,
    workload: Workload,
    ledger_url: str,
    target_url: str,
    own: Setting,
    home: Path,
) -> None:
    at_a_weight(edge, ledger, workload, target_url)
    ledger.execute("UPDATE qafila.lease SET ttl_seconds = 3600")  # it cannot lapse meanwhile
    environment = {**os.environ, "QAFILA_LEDGER_URL": ledger_url}
    dog = subprocess.Popen(
        [sys.executable, "-m", "qafila.cli", "watchdog", "--ledger-down-seconds", "6"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert dog.stdout is not None
    try:
        assert "watching" in dog.stdout.readline()
        kill(own)
        try:
            begun = time.monotonic()
            while edge.router.read().candidate_percent:
                assert time.monotonic() - begun < 30
                time.sleep(0.05)
            assert time.monotonic() - begun >= 6
        finally:
            own.restart()
        while "ledger answers" not in dog.stdout.readline():
            assert dog.poll() is None
        with psycopg.connect(ledger_url, autocommit=True) as fresh:
            while not evidence_of(fresh, NAME, "rollback"):
                assert time.monotonic() - begun < 60
                time.sleep(0.05)
    finally:
        dog.terminate()
        dog.wait(10)
        dog.stdout.close()


def own_generation(target_url: str, ledger: str) -> None:
    with psycopg.connect(target_url, autocommit=True) as target:
        key = {"workload": NAME, "generation": 1, "ledger": ledger, "fingerprint": "f"}
        target.execute(statement("owner", "put_owner"), key)


@pytest.mark.usefixtures("traffic")
def test_a_card_of_another_ledger_lowers_the_weight_and_leaves_the_pointer(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, target_url: str, home: Path
) -> None:
    """As after ``qafila adopt-target``: the generation belongs to the new ledger."""
    at_a_weight(edge, ledger, workload, target_url)
    ours, theirs = ledger_identity(ledger), str(uuid.uuid4())
    own_generation(target_url, theirs)
    done, _ = command(home, "postgresql://u@127.0.0.1:9/none", "rollback", NAME)
    assert done.returncode != 0
    assert f"generation 1 (it is on trial) belongs to ledger {theirs}" in done.stderr
    assert f"The card is of ledger {ours}" in done.stderr
    assert f"qafila rollback {NAME}" in done.stderr
    assert edge.router.read().candidate_percent == 0
    with psycopg.connect(target_url, autocommit=True) as target:
        alias = read_alias(target, NAME)
    assert alias is not None
    assert alias.trial == 1


@pytest.mark.usefixtures("traffic")
def test_the_card_of_the_owner_moves_the_pointer(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, target_url: str, home: Path
) -> None:
    at_a_weight(edge, ledger, workload, target_url)
    own_generation(target_url, ledger_identity(ledger))
    done, _ = command(home, "postgresql://u@127.0.0.1:9/none", "rollback", NAME)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(target_url, autocommit=True) as target:
        alias = read_alias(target, NAME)
    assert alias is not None
    assert alias.trial is None
