"""Up by one weight: set it, look until it passes, ask a person where one is to be asked."""

from __future__ import annotations

from qafila import rollout
from qafila.errors import Unavailable
from qafila.ledger.ledger import move_phase
from qafila.rollout import judge as analysis
from qafila.rollout.decide import Action, Decision
from qafila.rollout.judge.evidence import State
from qafila.rollout.judge.guardrails import Counts
from qafila.rollout.plan import Step, StepKind
from qafila.rollout.session import Aborted, Ask, StepDone, Tell, Trial
from qafila.rollout.steps.look import blind, check_router, look, observe, set_weights, store_look
from qafila.workload.phases import Event, Phase
from qafila.workload.verdict import Judgement, Verdict


def judge_step(trial: Trial, step: Step, look_seconds: float, tell: Tell, ask: Ask) -> StepDone:
    """Set the step's weight and look until it passes.

    Outside the hours it holds at its weight and goes on judging. A question is asked once, and
    what users get meanwhile is judged all the same.

    Raises:
        Aborted: the judge, the clock or a person said no.
        StaleEpoch: the lease was lost, or somebody else wrote the weights.
    """
    assert trial.calibration is not None
    if trial.generation.phase == Phase.DRILLED:
        # Before the weight, so that whoever finds a weight also finds the phase.
        trial.generation = move_phase(trial.ledger, trial.generation, Event.FIRST_WEIGHT)
    version = set_weights(trial, step.weight, why=f"{trial.name}: {step.name}")
    begun = trial.clock()
    trial.forget_question()
    alone = step.kind is StepKind.BAKE
    if alone:
        trial.state = State(blast=trial.state.blast)
    so_far = Counts()
    while True:
        trial.pause(look_seconds)
        found, judged = look(trial, version, alone=alone)
        so_far += found
        trial.seen += found
        trial.read_answer()
        decision = rollout.decide(
            step,
            trial.situation(so_far, trial.clock() - begun),
            judged,
            trial.spec.rollout,
        )
        trial.note(decision)
        e_values = analysis.e_values(trial.state, trial.limits)
        store_look(trial, step, found, decision, e_values=e_values, share=so_far.share)
        tell(_line(trial, step, found, decision))
        if decision.action is Action.ASK:
            trial.keep(ask(trial, step, judged.sentence))
        if decision.action is Action.ABORT:
            trial.steps.append(_done(step, decision, so_far))
            raise Aborted(decision)
        if decision.action is Action.PASS:
            trial.steps.append(_done(step, decision, so_far))
            if not alone:
                trial.generation = move_phase(trial.ledger, trial.generation, Event.STEP_PASS)
            return trial.steps[-1]


def leave_the_ground(
    trial: Trial,
    step: Step,
    version: str,
    evidence: str,
    look_seconds: float,
    tell: Tell,
    ask: Ask,
) -> None:
    """Wait, while nobody meets the candidate, for open hours and a person's yes where one is due.

    Raises:
        Aborted: a person said no, nobody answered in time, or the router cannot be read.
        StaleEpoch: the lease was lost.
    """
    trial.forget_question()
    enough = trial.spec.rollout.minimum_requests
    judged = Judgement(Verdict.PASS, evidence)
    while True:
        decision = rollout.decide(
            step,
            rollout.Situation(
                step_requests=enough,
                step_seconds=0.0,
                rollout_seconds=trial.counted_seconds,
                errors_in_a_row=trial.errors_in_a_row,
                answered=trial.answered,
                closed=trial.closed(),
            ),
            judged,
            trial.spec.rollout,
        )
        trial.note(decision)
        if decision.action is Action.PASS:
            return
        store_look(trial, step, Counts(), decision, share=0.0)
        tell(f"{step.name} · look {trial.looks} · {decision.sentence}")
        if decision.action is Action.ABORT:
            raise Aborted(decision)
        if decision.action is Action.ASK:
            trial.keep(ask(trial, step, evidence))
            continue
        trial.pause(look_seconds)
        judged = _still(trial, version, evidence)
        trial.read_answer()


def _still(trial: Trial, version: str, evidence: str) -> Judgement:
    """Look at the router while nothing is on trial, so that its log does not pile up."""
    try:
        check_router(trial, version)
        observe(trial)
    except (Unavailable, OSError) as error:
        return blind(trial, error)
    trial.errors_in_a_row = 0
    return Judgement(Verdict.PASS, evidence)


def _line(trial: Trial, step: Step, found: Counts, decision: Decision) -> str:
    canary, base = found.candidate, found.baseline
    return (
        f"{step.name} · look {trial.looks} · {found.requests} requests, {canary.requests} canary · "
        f"bad {canary.bad} canary / {base.bad} baseline · {decision.action.value}: "
        f"{decision.sentence}"
    )


def _done(step: Step, decision: Decision, counts: Counts) -> StepDone:
    return StepDone(
        step.name, step.weight, decision.verdict.value, decision.sentence, counts.requests
    )
