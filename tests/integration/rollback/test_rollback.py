"""The way back on a real Envoy and a real ledger, without a Prefect server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from qafila.ledger.evidence import check_chain, latest_evidence
from qafila.ledger.evidence_head import seen_head
from qafila.ledger.leases import read_lease, take_lease
from qafila.ledger.ledger import newest_generation
from qafila.rollback.rollback import roll_back
from qafila.rollback.watchdog import take_back_lapsed
from qafila.sql import statement
from qafila.stores.pointer_row import Alias, move_alias, read_alias, set_trial
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict
from tests.support.edges import Edge

NAME = "aws-docs-search"
ROOT = Path(__file__).parents[3]


HOLDER_TTL_S = 2.0
HOLDER = f"""
import sys, time
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import open_ledger
with open_ledger() as ledger:
    ledger.execute("INSERT INTO qafila.lease (workload, epoch, ttl_seconds) VALUES (%s, %s, 5)"
                   " ON CONFLICT DO NOTHING", ["{NAME}", int(sys.argv[1])])
    with held_lease(ledger, "{NAME}", "canary", generation=1, ttl_seconds={HOLDER_TTL_S}) as heart:
        print(heart.epoch, flush=True)
        time.sleep(60)
"""


def stand(ledger: psycopg.Connection, phase: Phase) -> None:
    ledger.execute("UPDATE qafila.generation SET phase = %s", [phase.value])


def weigh(edge: Edge, percent: int, epoch: int) -> None:
    epoch = max(epoch, edge.router.read().epoch)
    edge.router.acknowledged(edge.router.write(percent, epoch=epoch, why="test"))


def phase_of(ledger: psycopg.Connection) -> str:
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    return generation.phase


def test_on_the_baseline_already_nothing_is_changed(
    edge: Edge, ledger: psycopg.Connection, workload: Workload
) -> None:
    before = edge.router.read()
    outcome = roll_back(ledger, NAME, "to be sure")
    assert outcome.already
    assert outcome.verdict is Verdict.PASS
    assert edge.router.read() == before
    assert latest_evidence(ledger, NAME, "rollback") is None


@pytest.mark.usefixtures("traffic")
def test_a_promoted_generation_goes_back_with_weights_and_pointer(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, target_url: str
) -> None:
    stand(ledger, Phase.PROMOTED)
    with psycopg.connect(target_url, autocommit=True) as target:
        move_alias(target, NAME, 1, 1)
    weigh(edge, 100, 1)
    time.sleep(0.3)
    outcome = roll_back(ledger, NAME, "quality fell")
    assert outcome.verdict is Verdict.PASS, outcome.sentence
    assert (outcome.from_weight, outcome.final_weight) == (100, 0)
    assert outcome.seconds_to_zero < 0.5
    assert outcome.requests_after > 10  # users alone
    assert outcome.probes >= 20
    assert outcome.canary_requests_after == 0
    assert phase_of(ledger) == Phase.ROLLED_BACK
    with psycopg.connect(target_url, autocommit=True) as target:
        alias = read_alias(target, NAME)
    assert alias is not None
    assert (alias.generation, alias.trial, alias.previous) == (None, None, None)
    kept = latest_evidence(ledger, NAME, "rollback")
    assert kept is not None
    assert kept.body["why"] == "quality fell"
    assert check_chain(ledger).intact
    seen = seen_head(ledger)
    assert seen is not None
    assert (seen.number, seen.problem) == (kept.number, None)
    lease = read_lease(ledger, NAME)
    assert lease is not None
    assert lease.holder is None
    assert roll_back(ledger, NAME, "again").already


@pytest.mark.usefixtures("traffic")
def test_after_two_promotions_the_second_rollback_says_how_to_go_further(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, target_url: str
) -> None:
    """It goes back by one, and being asked again (the answer got lost) must change nothing."""
    stand(ledger, Phase.PROMOTED)
    ledger.execute(
        "INSERT INTO qafila.generation (workload, number, revision, fingerprint, fingerprint_body,"
        " phase) SELECT workload, 2, revision, fingerprint, fingerprint_body, 'promoted'"
        " FROM qafila.generation"
    )
    with psycopg.connect(target_url, autocommit=True) as target:
        move_alias(target, NAME, 1, 1)
        move_alias(target, NAME, 2, 2)
        weigh(edge, 100, 2)
        first = roll_back(ledger, NAME, "quality fell")
        assert (first.verdict, first.generations) == (Verdict.PASS, (2,))
        again = roll_back(ledger, NAME, "still bad")
        assert (again.already, again.verdict) == (True, Verdict.PASS)
        assert again.sentence == (
            f"{NAME} is on its baseline already; nothing was changed. Generation 2 was taken back "
            "to generation 1, which stays: a rollback goes back by one. If generation 1 is bad as "
            "well, apply the file that meant what served before it, then: "
            f"qafila run migrate-workload {NAME}"
        )
        alias = read_alias(target, NAME)
    assert alias is not None
    assert (alias.generation, alias.previous) == (1, None)
    phases = ledger.execute("SELECT number, phase FROM qafila.generation ORDER BY 1").fetchall()
    assert phases == [(1, "promoted"), (2, "rolled_back")]


@pytest.mark.usefixtures("traffic")
def test_the_lease_is_taken_from_a_living_canary(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, target_url: str
) -> None:
    stand(ledger, Phase.CANARY)
    epoch = take_lease(ledger, NAME, "canary", generation=1)
    with psycopg.connect(target_url, autocommit=True) as target:
        set_trial(target, NAME, 1, epoch)
    weigh(edge, 50, epoch)
    outcome = roll_back(ledger, NAME, "an operator at three in the morning")
    assert outcome.verdict is Verdict.PASS, outcome.sentence
    lease = read_lease(ledger, NAME)
    assert lease is not None
    assert lease.epoch == edge.router.read().epoch > epoch  # newer than any writer before
    with psycopg.connect(target_url, autocommit=True) as target:
        assert read_alias(target, NAME) == Alias(NAME, None, None, None, edge.router.read().epoch)


def test_with_the_router_down_its_file_holds_the_baseline(
    edge: Edge, ledger: psycopg.Connection, workload: Workload
) -> None:
    stand(ledger, Phase.CANARY)
    weigh(edge, 25, 1)
    edge.process.kill()
    edge.process.wait()
    outcome = roll_back(ledger, NAME, "the edge died", proof_seconds=0.1)
    assert outcome.verdict is Verdict.INCONCLUSIVE
    edge.restart()
    assert edge.router.reported_version() == edge.router.read().version
    assert edge.router.read().candidate_percent == 0


def test_with_the_target_down_the_weights_fall_all_the_same(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, target_url: str
) -> None:
    def reach(url: str) -> None:
        ledger.execute(
            statement("ledger", "put_connection"),
            {
                "name": workload.corpus.target.block,
                "kind": "qafila-postgres",
                "settings": Jsonb({"url": url}),
                "has_secret": False,
            },
        )

    with psycopg.connect(target_url, autocommit=True) as target:
        set_trial(target, NAME, 1, 1)
    reach("postgresql://u@127.0.0.1:9/none")
    stand(ledger, Phase.CANARY)
    weigh(edge, 25, 1)
    outcome = roll_back(ledger, NAME, "all at once", proof_seconds=0.1)
    assert outcome.verdict is Verdict.ERROR
    assert "the pointer row was not moved" in outcome.sentence
    assert outcome.sentence.endswith(".")  # another sentence may follow
    assert edge.router.read().candidate_percent == 0
    assert phase_of(ledger) == Phase.CANARY  # the same command again has something to take back
    reach(target_url)
    assert roll_back(ledger, NAME, "it is back", proof_seconds=0.1).generations == (1,)
    assert phase_of(ledger) == Phase.ROLLED_BACK
    with psycopg.connect(target_url, autocommit=True) as target:
        alias = read_alias(target, NAME)
    assert alias is not None
    assert alias.trial is None


@pytest.mark.usefixtures("traffic")
def test_the_watchdog_takes_back_what_a_dead_holder_left(
    edge: Edge, ledger: psycopg.Connection, workload: Workload
) -> None:
    stand(ledger, Phase.CANARY)
    epoch = take_lease(ledger, NAME, "canary", generation=1, ttl_seconds=0.5)
    weigh(edge, 25, epoch)
    assert take_back_lapsed(ledger, lambda line: None) == []
    time.sleep(0.6)
    lines: list[str] = []
    (outcome,) = take_back_lapsed(ledger, lines.append)
    assert outcome.verdict is Verdict.PASS, outcome.sentence
    assert "lease lapsed: canary" in lines[0]
    assert phase_of(ledger) == Phase.ROLLED_BACK
    assert take_back_lapsed(ledger, lambda line: None) == []


def test_a_lapsed_lease_without_weight_is_only_released(
    edge: Edge, ledger: psycopg.Connection, workload: Workload
) -> None:
    take_lease(ledger, NAME, "drill", generation=1, ttl_seconds=0.1)
    time.sleep(0.2)
    assert len(take_back_lapsed(ledger, lambda line: None)) == 1
    assert take_back_lapsed(ledger, lambda line: None) == []
    assert edge.router.read().candidate_percent == 0


@pytest.mark.timing
def test_the_command_and_the_watchdog_work_in_fresh_processes(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, ledger_url: str, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "QAFILA_LEDGER_URL": ledger_url,
        "QAFILA_HOME": str(tmp_path),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
    }
    dog = subprocess.Popen(
        [sys.executable, "-m", "qafila.cli", "watchdog"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert dog.stdout is not None
        assert "watching" in dog.stdout.readline()
        stand(ledger, Phase.CANARY)
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(edge.router.read().epoch)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        weigh(edge, 25, int(holder.stdout.readline()))
        time.sleep(3)  # longer than the lease: its heart beats
        assert edge.router.read().candidate_percent == 25
        holder.kill()
        holder.wait()
        holder.stdout.close()
        started = time.monotonic()
        while edge.router.read().candidate_percent and time.monotonic() - started < 10:
            time.sleep(0.02)
        assert time.monotonic() - started < HOLDER_TTL_S + 2.0
        assert "lease lapsed" in dog.stdout.readline()
    finally:
        dog.send_signal(signal.SIGTERM)
        dog.wait(10)
        assert dog.stdout is not None
        dog.stdout.close()
    stand(ledger, Phase.CANARY)
    weigh(edge, 25, 1)
    done = subprocess.run(
        [sys.executable, "-m", "qafila.cli", "rollback", NAME, "--why", "drill of the page"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "is on its baseline" in done.stdout
    assert edge.router.read().candidate_percent == 0
