"""What a watchdog concludes: of heartbeats when clocks jump, by cards while the ledger is gone."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from qafila.ledger.leases import TTL_SECONDS, beat_lease, read_lease, take_lease
from qafila.ledger.ledger import newest_generation
from qafila.rollback.card import card_path, write_card
from qafila.rollback.spool import spool_path, take_in_spool
from qafila.rollback.watchdog import LEDGER_DOWN_SECONDS, Watch, take_back_lapsed
from qafila.stores.pointer_row import move_alias, read_alias, set_trial
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from tests.support.edges import Edge

NAME = "aws-docs-search"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def epoch(
    edge: Edge,
    ledger: psycopg.Connection,
    workload: Workload,
    target_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> int:
    """A canary at 25 % with its card, its lease held by nobody who lives; return its epoch."""
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path / "home"))
    ledger.execute("UPDATE qafila.generation SET phase = %s", [Phase.CANARY.value])
    epoch = take_lease(ledger, NAME, "canary", generation=1, above=edge.router.read().epoch)
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    write_card(ledger, workload, generation, edge.router, epoch)
    with psycopg.connect(target_url, autocommit=True) as target:
        set_trial(target, NAME, 1, epoch)
    weigh(edge, 25, epoch)
    return epoch


def weigh(edge: Edge, percent: int, epoch: int) -> None:
    edge.router.acknowledged(edge.router.write(percent, epoch=epoch, why="test"))


def shift(ledger: psycopg.Connection, interval: str) -> None:
    """Move the heartbeat, as the database's clock jumping the other way would."""
    ledger.execute("UPDATE qafila.lease SET heartbeat = heartbeat + %s::interval", [interval])


def test_a_database_clock_that_jumps_back_hides_no_dead_holder(
    edge: Edge, ledger: psycopg.Connection, epoch: int
) -> None:
    clock = Clock()
    watching = Watch(lambda line: None, clock=clock)
    shift(ledger, "1 hour")  # by its clock the holder gave its sign of life in an hour
    assert watching.look(ledger) == []
    clock.now += TTL_SECONDS + 0.5
    (outcome,) = watching.look(ledger)
    assert outcome.final_weight == 0
    assert edge.router.read().candidate_percent == 0
    assert watching.look(ledger) == []


def test_a_database_clock_that_jumps_forward_ends_no_living_rollout(
    edge: Edge, ledger: psycopg.Connection, epoch: int
) -> None:
    clock = Clock()
    watching = Watch(lambda line: None, clock=clock)
    for _ in range(12):
        beat_lease(ledger, NAME, "canary", epoch)
        shift(ledger, "-1 hour")
        assert watching.look(ledger) == []
        clock.now += 1.0
    assert edge.router.read().candidate_percent == 25
    clock.now += 1.0  # no beat any more: two are missing, and the database says the same
    assert len(watching.look(ledger)) == 1


def test_without_a_ledger_a_canary_goes_back_by_its_card_after_a_while(
    edge: Edge, ledger: psycopg.Connection, epoch: int, target_url: str
) -> None:
    clock, lines = Clock(), list[str]()
    watching = Watch(lines.append, clock=clock)
    assert watching.look_without_ledger("connection refused") == []
    clock.now += LEDGER_DOWN_SECONDS - 0.1  # a living controller has gone back by itself by then
    assert watching.look_without_ledger("connection refused") == []
    assert edge.router.read().candidate_percent == 25
    clock.now += 0.2
    (outcome,) = watching.look_without_ledger("connection refused")
    assert (outcome.by, outcome.from_weight, outcome.final_weight) == ("card", 25, 0)
    assert "nobody can lead it" in outcome.why
    assert watching.look_without_ledger("connection refused") == []
    assert sum("does not answer" in line for line in lines) == 1
    with psycopg.connect(target_url, autocommit=True) as target:
        alias = read_alias(target, NAME)
    assert alias is not None
    assert alias.trial is None
    assert watching.look(ledger) == []  # it answers again: taken in, and the lease is nobody's
    assert spool_path().read_text() == ""
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    assert generation.phase == Phase.ROLLED_BACK


def test_what_was_promoted_stays_while_the_ledger_is_silent(
    edge: Edge, ledger: psycopg.Connection, epoch: int, target_url: str
) -> None:
    with psycopg.connect(target_url, autocommit=True) as target:
        move_alias(target, NAME, 1, epoch)
    weigh(edge, 100, epoch)
    clock, lines = Clock(), list[str]()
    watching = Watch(lines.append, clock=clock)
    for _ in range(3):
        assert watching.look_without_ledger("timeout") == []
        clock.now += 3600
    assert edge.router.read().candidate_percent == 100
    assert sum("promoted" in line for line in lines) == 1
    weigh(edge, 99, epoch)  # a drill of what is promoted died half-way
    assert watching.look_without_ledger("timeout") == []
    assert edge.router.read().candidate_percent == 100
    assert "has its weight again" in lines[-1]
    ledger.execute("UPDATE qafila.generation SET phase = %s", [Phase.PROMOTED.value])
    assert take_in_spool(ledger) == 1
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    assert generation.phase == Phase.PROMOTED


def test_a_bake_that_its_pointer_row_does_not_call_serving_goes_back(
    edge: Edge, ledger: psycopg.Connection, epoch: int
) -> None:
    weigh(edge, 100, epoch)
    clock = Clock()
    watching = Watch(lambda line: None, clock=clock)
    watching.look_without_ledger("timeout")
    clock.now += LEDGER_DOWN_SECONDS
    assert len(watching.look_without_ledger("timeout")) == 1
    assert take_in_spool(ledger) == 1


def test_a_broken_card_is_told_once_and_stops_no_other(
    edge: Edge, ledger: psycopg.Connection, epoch: int
) -> None:
    card_path("a-broken-one").write_text("{}")
    clock, lines = Clock(), list[str]()
    watching = Watch(lines.append, clock=clock)
    watching.look_without_ledger("timeout")
    clock.now += LEDGER_DOWN_SECONDS
    assert len(watching.look_without_ledger("timeout")) == 1
    assert watching.look_without_ledger("timeout") == []
    assert sum("not a rollback card" in line for line in lines) == 1


@pytest.mark.parametrize("weight", [100, 30])
def test_a_holder_that_dies_beside_a_promoted_generation_takes_nothing_from_users(
    edge: Edge, ledger: psycopg.Connection, epoch: int, weight: int
) -> None:
    """A drill or a clean-up died; what serves was proven, and gets back the weight it had."""
    ledger.execute("UPDATE qafila.generation SET phase = %s", [Phase.PROMOTED.value])
    weigh(edge, weight, epoch)
    shift(ledger, "-1 hour")
    lines: list[str] = []
    assert take_back_lapsed(ledger, lines.append) == []
    assert edge.router.read().candidate_percent == 100
    assert "what is promoted" in lines[-1]
    lease = read_lease(ledger, NAME)
    assert lease is not None
    assert lease.holder is None
    assert take_back_lapsed(ledger, lines.append) == []
