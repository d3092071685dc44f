"""What a canary goes by: proof, open hours and a clock that never jumps; never the time of day."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from qafila.ledger import approvals
from qafila.ledger.ledger import apply_workload, newest_generation, open_generation
from qafila.rollout import steps as canary
from qafila.rollout.decide import Answered
from qafila.rollout.plan import plan_steps
from qafila.rollout.session import Trial
from qafila.rollout.steps.look import observe, set_weights
from qafila.workload.phases import Phase
from qafila.workload.timetable import closed
from qafila.workload.verdict import Verdict
from qafila.workload_file import read_file
from tests.support.rollouts import World, go_up, rules, trial_in
from tests.support.routed_workload import FILE, FINGERPRINT


@pytest.fixture
def world() -> World:
    return World()


def begin(ledger: psycopg.Connection[Any], world: World, **changes: object) -> Trial:
    spec = read_file(FILE).model_copy(update={"rollout": rules(**changes)})
    apply_workload(ledger, spec)
    open_generation(ledger, spec, FINGERPRINT)
    ledger.execute("UPDATE qafila.generation SET phase = 'drilled'")
    generation = newest_generation(ledger, spec.name)
    assert generation is not None
    return trial_in(world, ledger, spec, generation)


def stopped(trial: Trial, world: World) -> canary.Aborted:
    with pytest.raises(canary.Aborted) as aborted:
        go_up(trial, world)
    return aborted.value


def test_a_rollout_goes_up_and_keeps_every_look(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(ledger, world)
    go_up(trial, world)
    assert [s.step for s in trial.steps] == ["A/A", "5 %", "25 %", "50 %", "bake at 100 %"]
    assert trial.generation.phase == Phase.CANARY
    looks = canary.looks_of(ledger, trial.name)
    assert [look["number"] for look in looks] == list(range(1, trial.looks + 1))
    assert {look["acknowledged"] == look["weight"] for look in looks} == {True}
    assert {g for look in looks if look["weight"] for g in look["e_values"]} >= {
        "errors",
        "latency",
        "empty",
        "fine",
        "under",
    }
    assert trial.approvals == 1
    assert trial.heart.marks >= trial.looks  # type: ignore[attr-defined]


def test_a_look_says_what_the_router_reported_not_what_was_asked(
    ledger: psycopg.Connection[Any], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = begin(ledger, world)

    def another_hand() -> None:  # with our own epoch, so that nobody is fenced off
        world.router.write(40, epoch=1, why="by hand")

    world.at["5 % · look"] = another_hand
    aborted = stopped(trial, world)
    assert aborted.decision.verdict is Verdict.ERROR
    assert "5 looks in a row saw nothing" in aborted.decision.sentence
    last = canary.looks_of(ledger, trial.name)[-1]
    assert (last["weight"], last["acknowledged"], last["verdict"]) == (5, None, "ERROR")


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
@pytest.mark.parametrize("where", ["A/A", "5 %", "50 %", "bake"])
def test_a_jump_of_the_wall_clock_changes_nothing(
    ledger: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    jump: float,
    where: str,
) -> None:
    """Every look, count and sentence is the same as without the jump: none is earlier."""
    told = []
    for shift in (0.0, jump):
        world, wall = World(), [1_800_000_000.0]
        monkeypatch.setattr(time, "time", lambda wall=wall, world=world: wall[0] + world.seconds)
        ledger.execute("TRUNCATE qafila.look, qafila.approval CASCADE")
        ledger.execute("UPDATE qafila.generation SET phase = 'drilled'")
        trial = begin(ledger, world)

        def leap(wall: list[float] = wall, shift: float = shift) -> None:
            wall[0] += shift

        world.at[f"{where}"] = leap
        go_up(trial, world)
        told.append((world.lines, trial.seconds, trial.seen))
    assert told[0] == told[1]


def test_answers_that_started_under_the_former_weight_do_not_count(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(ledger, world)
    canary.bake_aa(trial, _first(trial), 8.0, 1.0, world.tell, world.ask)
    set_weights(trial, 5, why="test")
    world.router.send("u1", latency_ms=100)  # finished in the first second
    world.seconds += 1.0
    assert observe(trial) == []  # it may have started before the weight was acknowledged
    world.router.send("u2", latency_ms=100)  # logged in the second one: it started after it
    world.router.send("u3", latency_ms=900)  # this one may have started before
    world.seconds += 1.0
    assert [r.latency_ms for r in observe(trial)] == [100]


def test_outside_the_hours_it_holds_and_the_deadline_stands_still(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    # 09:00 UTC is 10:00 in Casablanca; closing at 10:01 leaves one minute, opening is tomorrow
    world.rate = 10.0
    trial = begin(
        ledger,
        world,
        minimum_requests=50,
        deadline_minutes=10,
        windows={
            "timezone": "Africa/Casablanca",
            "days": ["wed", "thu"],
            "from": "08:00",
            "to": "10:01",
        },
    )
    go_up_hourly(trial, world)
    held = [line for line in world.lines if "holds: outside business hours until Thu" in line]
    assert held
    assert "Thu 26 Nov 08:00" in held[0]
    assert trial.held_s > 20 * 3600
    assert trial.counted_seconds < 600 < trial.seconds
    windows, before = trial.spec.rollout.windows, 0
    for at, percent in world.written:
        assert percent <= before or closed(at, windows, []) is None
        before = percent
    assert before == 100


def test_a_freeze_holds_at_its_weight_and_harm_still_brings_it_down(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(
        ledger,
        world,
        freezes=[
            {
                "from": "2026-11-25T09:00:11+00:00",
                "to": "2026-11-25T12:00:00+00:00",
                "why": "the sale",
            }
        ],
    )

    def go_bad() -> None:
        world.router.candidate_fails = True

    world.at["holds: frozen (the sale)"] = go_bad
    aborted = stopped(trial, world)
    assert aborted.decision.verdict is Verdict.FAIL
    assert world.time_of_day() < datetime(2026, 11, 25, 9, 5, tzinfo=UTC)


def test_before_the_first_weight_the_hours_count_too(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(
        ledger,
        world,
        freezes=[
            {
                "from": "2026-11-25T09:00:02+00:00",
                "to": "2026-11-25T09:01:00+00:00",
                "why": "month end",
            }
        ],
    )
    canary.bake_aa(trial, _first(trial), 8.0, 1.0, world.tell, world.ask)
    assert world.time_of_day() >= datetime(2026, 11, 25, 9, 1, tzinfo=UTC)
    assert world.router.read().candidate_percent == 0
    assert any("holds: frozen (month end) until Wed 25 Nov 09:01" in line for line in world.lines)


def test_a_question_lives_as_long_as_the_deadline_in_open_hours(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(
        ledger,
        world,
        deadline_minutes=10,
        freezes=[
            {"from": "2026-11-25T09:05:00+00:00", "to": "2026-11-25T11:05:00+00:00", "why": "lunch"}
        ],
    )
    assert trial.answer_seconds() == pytest.approx(7200 + 600)
    world.seconds += 4 * 60
    assert trial.answer_seconds() == pytest.approx(7200 + 6 * 60)


def test_the_deadline_brings_it_down(ledger: psycopg.Connection[Any], world: World) -> None:
    world.answer = None
    aborted = stopped(begin(ledger, world, deadline_minutes=2), world)
    assert aborted.decision.verdict is Verdict.INCONCLUSIVE
    assert "not through after 2 min, at 25 %" in aborted.decision.sentence


def test_a_burst_of_errors_during_the_wait_aborts_at_the_look_that_sees_it(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    world.answer = None
    trial = begin(ledger, world)
    planted: list[int] = []

    def burst() -> None:
        planted.append(trial.looks)
        world.router.candidate_fails = True

    world.at["waits for approval above 25 %; "] = burst
    aborted = stopped(trial, world)
    assert aborted.decision.verdict is Verdict.FAIL
    assert "errors" in aborted.decision.sentence
    assert trial.answered is Answered.PENDING
    seeing = [
        look
        for look in canary.looks_of(ledger, trial.name)
        if look["number"] > planted[0] and look["counts"]["candidate"]["errors"]
    ]
    assert len(seeing) == 1  # the first look with an error of the burst is the last look
    assert seeing[0]["number"] == trial.looks


def test_without_traffic_nothing_goes_up_and_the_hours_are_named(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    world.rate = 0.5
    aborted = stopped(begin(ledger, world, deadline_minutes=600), world)
    assert aborted.decision.verdict is Verdict.INCONCLUSIVE
    assert "too little traffic" in aborted.decision.sentence
    # 200 requests at about half a request a second, and that for four weights and the bake
    assert "7 min at this rate, the whole rollout 33 min" in aborted.decision.sentence
    assert world.router.read().candidate_percent == 0


def test_a_plan_that_cannot_be_through_in_time_is_stopped_before_the_first_weight(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    world.rate = 5.0
    aborted = stopped(begin(ledger, world, minimum_requests=100, deadline_minutes=1), world)
    assert aborted.decision.verdict is Verdict.INCONCLUSIVE
    assert "too little traffic for the deadline" in aborted.decision.sentence
    assert world.router.read().candidate_percent == 0


def test_each_weight_that_needs_a_person_asks_anew(
    ledger: psycopg.Connection[Any], world: World
) -> None:
    trial = begin(ledger, world, approve_above=[0, 5, 25])
    go_up(trial, world)
    assert trial.approvals == 3
    asked = [approvals.read_approval(ledger, f"r1-{w}").state for w in (0, 5, 25)]
    assert asked == ["approved"] * 3


def _first(trial: Trial) -> Any:
    return plan_steps(trial.spec.rollout)[0]


def go_up_hourly(trial: Trial, world: World) -> None:
    """Look every five seconds in open hours, hourly while nothing may rise."""
    tell = world.tell

    def skip(line: str) -> None:
        tell(line)
        if "holds:" in line:
            world.seconds += 1800

    world.tell = skip  # type: ignore[method-assign]
    go_up(trial, world, look_seconds=5.0)
