"""The steps of a canary: the A/A bake, looks, the cut-over, the way back.

One ``Trial`` is one rollout in this process. It is never resumed: whoever finds a rollout without
its process takes everything back, and the next one starts anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from blocks import PostgresDatabase
from qafila.core import analysis, rollout
from qafila.core.analysis import Calibration, Counts, State
from qafila.core.corpus import PgvectorTarget
from qafila.core.phases import Event, Phase
from qafila.core.rollout import Action, Answered, Decision, Situation, Step, StepKind
from qafila.core.verdict import Judgement, Verdict
from qafila.core.workload import Workload
from qafila.errors import Inconclusive, QafilaError, Refused, StaleEpoch, Unavailable
from qafila.sql import statement
from tasks.alias import move_alias
from tasks.approvals import Approval, read_approval
from tasks.connections import connection
from tasks.leases import Heart, read_lease
from tasks.ledger import Connection, Generation, move_phase
from tasks.rolling_back import RolledBack, roll_back
from tasks.routers.port import Request, Router

Tell = Callable[[str], None]
Ask = Callable[["Trial", Step, str], Approval]


@dataclass(frozen=True)
class StepDone:
    """One finished step, as the evidence keeps it."""

    step: str
    weight: int
    verdict: str
    sentence: str
    requests: int


@dataclass
class Trial:
    """One rollout in this process: what it holds, what it has seen."""

    ledger: Connection
    spec: Workload
    generation: Generation
    router: Router
    heart: Heart
    name: str
    state: State = field(default_factory=State)
    seen: Counts = field(default_factory=Counts)
    failed: int = 0  # requests whose user got an error, over all steps
    calibration: Calibration | None = None
    requests_per_s: float = 0.0
    cursor: int = 0
    looks: int = 0
    errors_in_a_row: int = 0
    approval_id: str | None = None
    answered: Answered = Answered.NOT_ASKED
    steps: list[StepDone] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    @property
    def limits(self) -> analysis.Limits:
        return rollout.limits_of(self.spec.objectives, self.spec.rollout)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class Aborted(Exception):
    """A step said no; carries the decision. Turned into one of our errors after the way back."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.sentence)
        self.decision = decision


# -- looks -------------------------------------------------------------------------------------


def bake_aa(
    trial: Trial, step: Step, seconds: float, look_seconds: float, tell: Tell, ask: Ask
) -> None:
    """Split the traffic between two names of the baseline; learn its p95 and the split's skew.

    Where a person is asked before the first weight already, wait here for the answer.

    Raises:
        Aborted: the two names differ, or there is too little traffic.
        StaleEpoch: the lease was lost.
    """
    _set_weights(trial, 0, why="A/A bake", twin_percent=50)
    rules = trial.spec.rollout
    begun, since = time.monotonic(), time.time()
    answers: list[Request] = []
    longest = max(3 * seconds, 60.0)
    while True:
        _pause(trial, look_seconds)
        answers.extend(_observe(trial, since))
        lasted = time.monotonic() - begun
        sentence = f"{len(answers)} requests on two names of the baseline"
        done = lasted >= seconds and len(answers) >= rules.minimum_requests
        verdict = Verdict.PASS if done else Verdict.INCONCLUSIVE
        _store_look(trial, step, Counts(), {}, 0.0, verdict, sentence)
        tell(f"A/A · look {trial.looks} · {sentence}")
        if done:
            break
        if lasted >= longest:
            rate = len(answers) / lasted
            hours = rules.minimum_requests / rate / 3600 if rate else float("inf")
            raise Aborted(
                Decision(
                    Action.ABORT,
                    Verdict.INCONCLUSIVE,
                    f"too little traffic: {len(answers)} requests in {lasted:.0f} s, a step needs "
                    f"{rules.minimum_requests}"
                    + (f" ({hours:.1f} h at this rate)." if rate else "."),
                )
            )
    trial.calibration = analysis.calibrate(answers, trial.limits)
    trial.requests_per_s = len(answers) / (time.monotonic() - begun)
    pair = analysis.count(
        answers, trial.calibration.slow_ms, trial="twin", guardrails=trial.limits.guardrails
    )
    even = analysis.judge(
        analysis.update(State(), pair, trial.calibration, trial.limits),
        trial.calibration,
        trial.limits,
    )
    if even.verdict is Verdict.FAIL:
        raise Aborted(
            Decision(
                Action.ABORT, Verdict.FAIL, f"the baseline differs from itself: {even.sentence}"
            )
        )
    c = trial.calibration
    sentence = (
        f"baseline p95 {c.p95_ms:.0f} ms, slow is over {c.slow_ms:.0f} ms, "
        f"{c.bad_share:.2%} bad, skew {c.skew:.2f}, {trial.requests_per_s:.0f} requests/s."
    )
    trial.steps.append(StepDone(step.name, 0, Verdict.PASS.value, sentence, c.requests))
    tell(f"A/A · {sentence}")
    if step.asks_before_next:
        _await_answer(trial, step, ask(trial, step, sentence), look_seconds)


def judge_step(trial: Trial, step: Step, look_seconds: float, tell: Tell, ask: Ask) -> StepDone:
    """Set the step's weight and look until it passes.

    Raises:
        Aborted: the judge, the clock or a person said no.
        StaleEpoch: the lease was lost, or somebody else wrote the weights.
    """
    assert trial.calibration is not None
    if trial.generation.phase == Phase.DRILLED:
        # Before the weight, so that whoever finds a weight also finds the phase.
        trial.generation = move_phase(trial.ledger, trial.generation, Event.FIRST_WEIGHT)
    version = _set_weights(trial, step.weight, why=f"{trial.name}: {step.name}")
    begun, since = time.monotonic(), time.time()
    alone = step.kind is StepKind.BAKE
    if alone:
        trial.state = State(blast=trial.state.blast)
    so_far = Counts()
    while True:
        _pause(trial, look_seconds)
        look, judged = _look(trial, version, since, alone)
        so_far += look
        trial.seen += look
        _read_answer(trial)
        decision = rollout.decide(
            step,
            Situation(
                step_requests=so_far.requests,
                step_seconds=time.monotonic() - begun,
                rollout_seconds=trial.seconds,
                step_canary_requests=so_far.candidate.requests,
                errors_in_a_row=trial.errors_in_a_row,
                answered=trial.answered,
            ),
            judged,
            trial.spec.rollout,
        )
        _store_look(
            trial, step, look, analysis.e_values(trial.state, trial.limits), so_far.share,
            decision.verdict, decision.sentence,
        )  # fmt: skip
        tell(_line(trial, step, look, decision))
        if decision.action is Action.ASK:
            approval = ask(trial, step, judged.sentence)
            trial.approval_id = approval.id
            trial.answered = Answered(approval.state)
        if decision.action is Action.ABORT:
            trial.steps.append(_done(step, decision, so_far))
            raise Aborted(decision)
        if decision.action is Action.PASS:
            trial.steps.append(_done(step, decision, so_far))
            if not alone:
                trial.generation = move_phase(trial.ledger, trial.generation, Event.STEP_PASS)
            return trial.steps[-1]


def cut_over(trial: Trial) -> None:
    """Move the pointer row, then the phase: the candidate serves the generation from now on.

    Raises:
        StaleEpoch: the lease was lost.
    """
    _pause(trial, 0.0)
    target = trial.spec.corpus.target
    if isinstance(target, PgvectorTarget):
        with connection(trial.ledger, target.block, PostgresDatabase).connect() as database:
            move_alias(database, trial.spec.name, trial.generation.number, trial.heart.epoch)
    trial.generation = move_phase(trial.ledger, trial.generation, Event.BAKE_PASS)


def go_back(trial: Trial, why: str, run_id: str | None) -> RolledBack | None:
    """Give the baseline all traffic; None when somebody with a newer epoch leads already.

    Raises:
        Unavailable: the ledger does not answer; the weights are at 0 all the same.
    """
    name = trial.spec.name
    try:
        lease = read_lease(trial.ledger, name)
        if lease is not None and lease.epoch > trial.heart.epoch:
            return None
        return roll_back(
            trial.ledger, name, why, holder="canary abort", run_id=run_id, event=Event.ABORT
        )
    except psycopg.Error as error:
        version = trial.router.write(0, epoch=trial.heart.epoch, why=why)
        trial.router.acknowledged(version)
        raise Unavailable(
            f"{name} is on its baseline, but the ledger does not answer: {error}",
            kept="weight 0, acknowledged by the router.",
            remedy=f"qafila doctor, then: qafila rollback {name}",
        ) from error


def reason_of(trial: Trial, error: BaseException) -> Decision:
    """Return what ended a rollout as a decision, whatever was raised."""
    if isinstance(error, Aborted):
        return error.decision
    if isinstance(error, StaleEpoch) or trial.heart.lost.is_set():
        return Decision(Action.ABORT, Verdict.FAIL, f"the lease was lost: {_first(error)}")
    if isinstance(error, Exception):
        return Decision(Action.ABORT, Verdict.ERROR, f"{type(error).__name__}: {_first(error)}")
    return Decision(Action.ABORT, Verdict.FAIL, "the run was cancelled.")


def error_of(decision: Decision, workload: str) -> QafilaError:
    """Return the error that ends the run after the way back."""
    kind: type[QafilaError] = {
        Verdict.FAIL: Refused,
        Verdict.INCONCLUSIVE: Inconclusive,
    }.get(decision.verdict, Unavailable)
    return kind(
        f"the canary of {workload} was aborted: {decision.sentence}",
        kept="all traffic is on the baseline; the generation and its evidence.",
        remedy=f"qafila status {workload}",
    )


def looks_of(ledger: Connection, name: str) -> list[dict[str, Any]]:
    """Return a rollout's looks in order."""
    with ledger.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement("canary", "looks_of"), {"rollout": name}).fetchall()


# -- inside ------------------------------------------------------------------------------------


def _set_weights(trial: Trial, percent: int, *, why: str, twin_percent: int = 0) -> str:
    _pause(trial, 0.0)
    version = trial.router.write(
        percent, epoch=trial.heart.epoch, why=why, twin_percent=twin_percent
    )
    trial.router.acknowledged(version)
    _, trial.cursor = trial.router.observed(None)
    return version


def _pause(trial: Trial, seconds: float) -> None:
    if trial.heart.lost.wait(seconds):
        raise StaleEpoch(
            f"the lease of {trial.spec.name} (epoch {trial.heart.epoch}) was lost.",
            kept="the baseline; whoever took the lease decides.",
            remedy=f"qafila status {trial.spec.name}",
        )


def _observe(trial: Trial, since: float) -> Sequence[Request]:
    """Return what finished since the last look and started under the present weights."""
    answers, trial.cursor = trial.router.observed(trial.cursor)
    return [a for a in answers if a.started_at >= since]


def _look(trial: Trial, version: str, since: float, alone: bool) -> tuple[Counts, Judgement]:
    """Read traffic and router once; a look that sees nothing is an ERROR, never a FAIL."""
    assert trial.calibration is not None
    try:
        now = trial.router.read()
        if now.epoch > trial.heart.epoch:
            raise StaleEpoch(
                f"somebody with epoch {now.epoch} set the weights of {trial.spec.name} to "
                f"{now.candidate_percent} %.",
                kept="their weights.",
                remedy=f"qafila status {trial.spec.name}",
            )
        trial.router.acknowledged(version, timeout_s=1.0)
        answers = _observe(trial, since)
        look = analysis.count(
            answers, trial.calibration.slow_ms, guardrails=trial.limits.guardrails
        )
    except (Unavailable, OSError) as error:
        trial.errors_in_a_row += 1
        return Counts(), Judgement(Verdict.ERROR, _first(error))
    trial.errors_in_a_row = 0
    trial.failed += sum(a.status >= 500 or a.status == 0 for a in answers)
    trial.state = analysis.update(trial.state, look, trial.calibration, trial.limits)
    if alone:
        return look, analysis.judge_alone(trial.state, trial.calibration, trial.limits)
    return look, analysis.judge(
        trial.state,
        trial.calibration,
        trial.limits,
        reasonable_requests=rollout.reasonable_requests(trial.spec.rollout),
    )


def _await_answer(trial: Trial, step: Step, approval: Approval, look_seconds: float) -> None:
    trial.approval_id, trial.answered = approval.id, Answered(approval.state)
    while trial.answered is not Answered.APPROVED:
        if trial.answered is not Answered.PENDING:
            raise Aborted(
                Decision(
                    Action.ABORT,
                    Verdict.FAIL if trial.answered is Answered.REJECTED else Verdict.INCONCLUSIVE,
                    f"{trial.answered.value} before the first weight.",
                )
            )
        _pause(trial, look_seconds)
        _read_answer(trial)


def _read_answer(trial: Trial) -> None:
    if trial.approval_id is not None and trial.answered is Answered.PENDING:
        trial.answered = Answered(read_approval(trial.ledger, trial.approval_id).state)


def _store_look(
    trial: Trial,
    step: Step,
    look: Counts,
    e_values: dict[str, float],
    share: float | None,
    verdict: Verdict,
    sentence: str,
) -> None:
    trial.looks += 1
    trial.ledger.execute(
        statement("canary", "put_look"),
        {
            "workload": trial.spec.name,
            "generation": trial.generation.number,
            "rollout": trial.name,
            "number": trial.looks,
            "step": step.name,
            "weight": step.weight,
            "acknowledged": step.weight if trial.errors_in_a_row == 0 else None,
            "observed": share,
            "counts": Jsonb(look.stored()),
            "e_values": Jsonb(e_values),
            "verdict": verdict.value,
            "sentence": sentence,
        },
    )


def _line(trial: Trial, step: Step, look: Counts, decision: Decision) -> str:
    canary, base = look.candidate, look.baseline
    return (
        f"{step.name} · look {trial.looks} · {look.requests} requests, {canary.requests} canary · "
        f"bad {canary.bad} canary / {base.bad} baseline · {decision.action.value}: "
        f"{decision.sentence}"
    )


def _done(step: Step, decision: Decision, counts: Counts) -> StepDone:
    return StepDone(
        step.name, step.weight, decision.verdict.value, decision.sentence, counts.requests
    )


def _first(error: BaseException) -> str:
    what = error.what if isinstance(error, QafilaError) else str(error)
    return (what.strip().splitlines() or [type(error).__name__])[0]
