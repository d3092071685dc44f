"""The A/A bake: the baseline compared with itself, before anybody meets the candidate."""

from __future__ import annotations

import math

from qafila import rollout
from qafila.errors import Unavailable
from qafila.rollout import judge as analysis
from qafila.rollout.decide import MOST_ERRORS_IN_A_ROW, Action, Decision
from qafila.rollout.judge.evidence import State
from qafila.rollout.judge.guardrails import Counts
from qafila.rollout.plan import Step
from qafila.rollout.session import Aborted, Ask, StepDone, Tell, Trial
from qafila.rollout.steps.look import blind, check_router, observe, set_weights, store_look
from qafila.rollout.steps.weight import leave_the_ground
from qafila.routers.port import Request
from qafila.workload.verdict import Verdict

NO_TWIN = "the router has no second name for the baseline, so the split was not compared"


def bake_aa(
    trial: Trial,
    step: Step,
    seconds: float,
    look_seconds: float,
    tell: Tell,
    ask: Ask,
    *,
    last: bool = True,
) -> None:
    """Split the traffic between two names of the baseline; learn its p95 and the split's skew.

    Where the baseline has no second name its p95 is learned all the same, and the sentence says
    that nothing was compared. ``last``: the first weight comes next, so wait here for open hours
    and, where one is asked before it already, for a person.

    Raises:
        Aborted: the two names differ, or there is too little traffic, also for the whole plan.
        StaleEpoch: the lease was lost.
    """
    twin = trial.router.abilities.twin
    version = set_weights(trial, 0, why="A/A bake", twin_percent=50 if twin else 0)
    answers, lasted = _gather(trial, step, version, seconds, look_seconds, tell)
    limits = trial.limits
    trial.calibration = c = analysis.calibrate(answers, limits)
    trial.requests_per_s = len(answers) / lasted
    if twin:
        _require_even(trial, answers)
    _require_time(trial, step, tell)
    sentence = (
        f"baseline p95 {c.p95_ms:.0f} ms, slow is over {c.slow_ms:.0f} ms, "
        f"{c.bad_share:.2%} bad, skew {c.skew:.2f}, {trial.requests_per_s:.0f} requests/s"
        + ("." if twin else f"; {NO_TWIN}.")
    )
    trial.steps.append(StepDone(step.name, 0, Verdict.PASS.value, sentence, c.requests))
    tell(f"A/A · {sentence}")
    if last:
        leave_the_ground(trial, step, version, sentence, look_seconds, tell, ask)


def _gather(
    trial: Trial, step: Step, version: str, seconds: float, look_seconds: float, tell: Tell
) -> tuple[list[Request], float]:
    """Return enough answers of the baseline and in how many seconds they came."""
    needed = trial.spec.rollout.minimum_requests
    begun, longest = trial.clock(), max(3 * seconds, 60.0)
    answers: list[Request] = []
    while True:
        trial.pause(look_seconds)
        try:
            check_router(trial, version)
            answers.extend(observe(trial))
            trial.errors_in_a_row = 0
        except (Unavailable, OSError) as error:
            sentence = blind(trial, error).sentence
            decision = Decision(Action.HOLD, Verdict.ERROR, sentence)
            if trial.errors_in_a_row >= MOST_ERRORS_IN_A_ROW:
                raise Aborted(
                    Decision(
                        Action.ABORT,
                        Verdict.ERROR,
                        f"{trial.errors_in_a_row} looks in a row saw nothing: {sentence}",
                    )
                ) from error
        else:
            sentence = f"{len(answers)} requests on " + (
                "two names of the baseline" if trial.router.abilities.twin else "the baseline"
            )
            done = trial.clock() - begun >= seconds and len(answers) >= needed
            verdict = Verdict.PASS if done else Verdict.INCONCLUSIVE
            decision = Decision(Action.PASS if done else Action.HOLD, verdict, sentence)
        store_look(trial, step, Counts(), decision, share=0.0)
        tell(f"A/A · look {trial.looks} · {decision.sentence}")
        lasted = trial.clock() - begun
        if decision.action is Action.PASS:
            return answers, lasted
        if lasted >= longest:
            raise Aborted(_too_little(trial, len(answers), lasted))


def _too_little(trial: Trial, requests: int, lasted: float) -> Decision:
    """Say how many hours one step and all of them would take at this rate."""
    rules = trial.spec.rollout
    rate = requests / lasted
    each = rules.minimum_requests / rate if rate else math.inf
    whole = each * (len(rules.weights) + 1)
    return Decision(
        Action.ABORT,
        Verdict.INCONCLUSIVE,
        f"too little traffic: {requests} requests in {lasted:.0f} s, a step needs "
        f"{rules.minimum_requests}"
        + (
            f" ({rollout.hours(each)} at this rate, the whole rollout {rollout.hours(whole)})."
            if rate
            else "."
        ),
    )


def _require_even(trial: Trial, answers: list[Request]) -> None:
    c, limits = trial.calibration, trial.limits
    assert c is not None
    pair = analysis.count(answers, c.slow_ms, trial="twin", guardrails=limits.guardrails)
    even = analysis.judge(analysis.update(State(), pair, c, limits), c, limits)
    if even.verdict is Verdict.FAIL:
        raise Aborted(
            Decision(
                Action.ABORT, Verdict.FAIL, f"the baseline differs from itself: {even.sentence}"
            )
        )


def _require_time(trial: Trial, step: Step, tell: Tell) -> None:
    """Stop a plan that cannot be through by its deadline; warn of one that is unlikely to be."""
    assert trial.calibration is not None
    rules = trial.spec.rollout
    expected = rollout.forecast(
        rollout.plan_steps(rules, shadow=trial.router.abilities.mirror),
        rules,
        calibration=trial.calibration,
        requests_per_s=trial.requests_per_s,
        limits=trial.limits,
    )
    why = rollout.too_slow(expected, rules)
    if why is not None:
        raise Aborted(Decision(Action.ABORT, Verdict.INCONCLUSIVE, f"{why}."))
    if expected.likely > rules.deadline_minutes * 60:
        tell(
            f"{step.name} · at this traffic the steps take about {rollout.hours(expected.likely)}; "
            f"all goes back after {rules.deadline_minutes:g} min (rollout.deadline_minutes)."
        )
