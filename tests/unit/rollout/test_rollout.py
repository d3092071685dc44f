"""The step machine: up on proof, down on anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.rollout.decide import Action, Answered, Situation, decide
from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.guardrails import Limits
from qafila.rollout.plan import (
    Step,
    StepKind,
    describe_plan,
    forecast,
    limits_of,
    plan_steps,
    too_slow,
)
from qafila.workload.model import Objectives, Rollout
from qafila.workload.timetable import Closed
from qafila.workload.verdict import Judgement, Verdict

ROLLOUT = Rollout(
    weights=[1, 5, 25, 50, 100],
    approve_above=25,
    minimum_requests=200,
    bake_seconds=10,
    deadline_minutes=10,
)
STEPS = {step.weight: step for step in plan_steps(ROLLOUT)}
NIGHT = Closed("outside business hours", datetime(2026, 11, 30, 7, tzinfo=UTC))
ENOUGH = {
    "step_requests": 500,
    "step_canary_requests": 20,
    "step_seconds": 30.0,
    "rollout_seconds": 60.0,
}


def judged(verdict: Verdict) -> Judgement:
    return Judgement(verdict, "as measured.")


def test_the_plan_bakes_rises_and_asks_once() -> None:
    steps = plan_steps(ROLLOUT)
    assert [s.name for s in steps] == ["A/A", "1 %", "5 %", "25 %", "50 %", "bake at 100 %"]
    assert [s.must_prove for s in steps] == [False, False, False, True, True, True]
    assert [s.weight for s in steps if s.asks_before_next] == [25]


@pytest.mark.parametrize(
    ("weights", "above", "asks"),
    [
        ([1, 5, 25, 50, 100], [5, 50], [5, 50]),
        ([1, 5, 25, 50, 100], [0, 25], [0, 25]),
        ([1, 5, 100], [5, 50], [5]),  # both lie before 100: one question
        ([1, 100], [], []),
        ([100], 25, [0]),  # straight to 100: a person is asked after the A/A bake
        ([10, 100], 50, [10]),
        ([1, 100], 0, [0]),
        ([1, 50, 100], 100, []),  # nobody is asked
    ],
)
def test_who_is_asked_when(weights: list[int], above: int | list[int], asks: list[int]) -> None:
    rollout = Rollout(weights=weights, approve_above=above)
    assert [s.weight for s in plan_steps(rollout) if s.asks_before_next] == asks


@pytest.mark.parametrize(
    ("weight", "verdict", "situation", "action", "says"),
    [
        # a small weight passes on exposure, and says so
        (1, Verdict.INCONCLUSIVE, {}, Action.PASS, "proved nothing more"),
        (5, Verdict.INCONCLUSIVE, {"step_requests": 199}, Action.HOLD, "199 of at least 200"),
        # and not before somebody met the canary; where nobody ever does, it says that
        (1, Verdict.INCONCLUSIVE, {"step_canary_requests": 0}, Action.HOLD, "nobody met"),
        (
            1,
            Verdict.INCONCLUSIVE,
            {"step_canary_requests": 0, "step_requests": 1000},
            Action.PASS,
            "proved nothing.",
        ),
        # a larger one needs proof
        (50, Verdict.INCONCLUSIVE, {}, Action.HOLD, "as measured"),
        (50, Verdict.PASS, {}, Action.PASS, "as measured"),
        (50, Verdict.PASS, {"step_requests": 10}, Action.HOLD, "10 of at least 200"),
        # above 25 % a person: asked once, waited for, and a no is a no
        (25, Verdict.PASS, {}, Action.ASK, "waits for approval above 25 %"),
        (25, Verdict.INCONCLUSIVE, {}, Action.HOLD, "as measured"),
        (25, Verdict.PASS, {"answered": Answered.PENDING}, Action.HOLD, "waits for approval"),
        (25, Verdict.PASS, {"answered": Answered.APPROVED}, Action.PASS, "as measured"),
        (25, Verdict.PASS, {"answered": Answered.REJECTED}, Action.ABORT, "rejected"),
        (25, Verdict.PASS, {"answered": Answered.LAPSED}, Action.ABORT, "nobody answered"),
        # a burst of errors during the wait aborts
        (25, Verdict.FAIL, {"answered": Answered.PENDING}, Action.ABORT, "as measured"),
        # the bake takes its time
        (100, Verdict.PASS, {"step_seconds": 9.0}, Action.HOLD, "bakes 9 of 10 s"),
        (100, Verdict.PASS, {}, Action.PASS, "as measured"),
        (100, Verdict.INCONCLUSIVE, {}, Action.HOLD, "as measured"),
        # outside the hours it holds, whatever was proven; nobody is woken; at 100 % nothing rises
        (5, Verdict.PASS, {"closed": NIGHT}, Action.HOLD, "holds: outside business hours until"),
        (25, Verdict.PASS, {"closed": NIGHT}, Action.HOLD, "holds: outside business hours until"),
        (25, Verdict.PASS, {"closed": NIGHT, "answered": Answered.APPROVED}, Action.HOLD, "holds"),
        (50, Verdict.PASS, {"closed": NIGHT, "rollout_seconds": 600.0}, Action.HOLD, "holds"),
        (50, Verdict.FAIL, {"closed": NIGHT}, Action.ABORT, "as measured"),
        (25, Verdict.PASS, {"closed": NIGHT, "answered": Answered.REJECTED}, Action.ABORT, "rej"),
        (50, Verdict.INCONCLUSIVE, {"closed": NIGHT}, Action.HOLD, "as measured"),
        (100, Verdict.PASS, {"closed": NIGHT}, Action.PASS, "as measured"),
        # the deadline
        (50, Verdict.INCONCLUSIVE, {"rollout_seconds": 600.0}, Action.ABORT, "not through after"),
        # blindness: a few looks are borne, a run of five is not
        (1, Verdict.ERROR, {"errors_in_a_row": 4}, Action.HOLD, "as measured"),
        (1, Verdict.ERROR, {"errors_in_a_row": 5}, Action.ABORT, "5 looks in a row"),
    ],
)
def test_decisions(
    weight: int, verdict: Verdict, situation: dict[str, object], action: Action, says: str
) -> None:
    now = Situation(**{**ENOUGH, **situation})  # type: ignore[arg-type]
    decision = decide(STEPS[weight], now, judged(verdict), ROLLOUT)
    assert decision.action is action
    assert says in decision.sentence


situations = st.builds(
    Situation,
    st.integers(0, 10_000),
    st.floats(0, 1e4),
    st.floats(0, 1e5),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from(Answered),
    st.sampled_from([None, NIGHT]),
)
steps = st.sampled_from(list(STEPS.values()))


@given(steps, situations)
def test_harm_always_aborts(step: Step, situation: Situation) -> None:
    assert decide(step, situation, judged(Verdict.FAIL), ROLLOUT).action is Action.ABORT


@given(steps, situations, st.sampled_from(Verdict))
def test_nothing_ever_passes_without_traffic_or_past_a_no(
    step: Step, situation: Situation, verdict: Verdict
) -> None:
    decision = decide(step, situation, judged(verdict), ROLLOUT)
    if decision.action is Action.PASS:
        assert situation.step_requests >= ROLLOUT.minimum_requests
        assert situation.answered not in (Answered.REJECTED, Answered.LAPSED)
        assert verdict is Verdict.PASS or not step.must_prove
        assert not step.asks_before_next or situation.answered is Answered.APPROVED
        assert verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)
        assert situation.closed is None or step.weight == 100
        assert situation.step_canary_requests or situation.step_requests >= 1000 or not step.weight


@given(steps, situations, st.sampled_from(Verdict))
def test_the_deadline_stands_still_only_for_what_could_go_up(
    step: Step, situation: Situation, verdict: Verdict
) -> None:
    decision = decide(step, situation, judged(verdict), ROLLOUT)
    if decision.by_timetable:
        assert decision.action is Action.HOLD
        assert situation.closed is not None
        open_now = replace(situation, closed=None, rollout_seconds=0.0)
        assert decide(step, open_now, judged(verdict), ROLLOUT).action in (
            Action.PASS,
            Action.ASK,
            Action.HOLD,
        )


@given(steps, situations, st.sampled_from(Verdict))
def test_past_the_deadline_nothing_goes_on(
    step: Step, situation: Situation, verdict: Verdict
) -> None:
    late = Situation(
        situation.step_requests, situation.step_seconds, 600.0, 0, 5, situation.answered
    )
    assert decide(step, late, judged(verdict), ROLLOUT).action is Action.ABORT


def test_the_plan_says_what_proof_would_take() -> None:
    rows = describe_plan(
        plan_steps(ROLLOUT),
        calibration=Calibration(10, 20, 1.0, 0.05, 0.0, 5000),
        requests_per_s=80,
        limits=Limits(),
    )
    assert [r["weight"] for r in rows] == [1, 5, 25, 50]
    assert rows[3]["requests_to_prove"] == pytest.approx(51 / 0.05, rel=0.02)
    none = describe_plan(
        plan_steps(ROLLOUT),
        calibration=Calibration(10, 20, 1.0, 0.0, 0.0, 5000),
        requests_per_s=80,
        limits=Limits(),
    )
    assert {r["requests_to_prove"] for r in none} == {None}


def test_a_plan_that_cannot_be_through_in_time_says_the_hours() -> None:
    measured = Calibration(10, 20, 1.0, 0.02, 0.0, 5000)
    steps = plan_steps(ROLLOUT, shadow=True)
    assert [s.kind for s in steps][:2] == [StepKind.AA, StepKind.SHADOW]
    quick = forecast(steps, ROLLOUT, calibration=measured, requests_per_s=80, limits=Limits())
    # 5 s of copies, four weights of 200 requests at 80/s, then the bake's 10 s
    assert quick.least == pytest.approx(5 + 4 * 2.5 + 10)
    assert quick.likely >= quick.least
    assert too_slow(quick, ROLLOUT) is None
    slow = forecast(steps, ROLLOUT, calibration=measured, requests_per_s=0.1, limits=Limits())
    # 5 s, then five times 2 000 s: 2.8 hours, where ten minutes are allowed
    sentence = too_slow(slow, ROLLOUT)
    assert sentence is not None
    assert "at least 2.8 h" in sentence
    assert "allows 10 min" in sentence
    none = forecast(steps, ROLLOUT, calibration=measured, requests_per_s=0, limits=Limits())
    assert "for ever" in (too_slow(none, ROLLOUT) or "")
    hopeless = replace(measured, bad_share=0.9)
    assert (
        forecast(steps, ROLLOUT, calibration=hopeless, requests_per_s=80, limits=Limits()).likely
        >= quick.least
    )


def test_the_limits_are_those_of_the_workload() -> None:
    limits = limits_of(Objectives(), ROLLOUT)
    assert (limits.harm_ratio, limits.error_rate, limits.latency_ratio) == (2.0, 0.001, 1.25)
    assert limits.abort_at == pytest.approx(400)
    assert StepKind.AA.value == "A/A"
