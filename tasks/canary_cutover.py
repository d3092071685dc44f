"""Steps of canary-cutover: put on trial, compare, judge, shadow, cut over, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_image_artifact
from prefect.cache_policies import NO_CACHE

from qafila import rollout
from qafila.ledger.approvals import Approval, Question
from qafila.ledger.approvers import approvers_needed
from qafila.ledger.evidence import record_evidence
from qafila.ledger.evidence_head import keep_head
from qafila.ledger.ledger import Connection, newest_generation
from qafila.report.rollout_reader import artifacts_of, kept_calibration
from qafila.rollback.card import write_card
from qafila.rollback.rollback import RolledBack
from qafila.rollout import steps as canary
from qafila.rollout.decide import Decision
from qafila.rollout.order import in_order, override_request
from qafila.rollout.plan import Step
from qafila.rollout.preconditions import put_on_trial
from qafila.rollout.session import Aborted, Trial
from qafila.workload.model import Workload
from tasks.artifact_tables import show_markdown
from tasks.asking import ask_and_wait, ask_person
from tasks.runs import current_run_id, rename_run


def ask_whether_out_of_order(
    ledger: Connection, spec: Workload, override: str | None, requested_by: str | None
) -> None:
    """Ask two persons where the order of workloads forbids it and a reason was given.

    Nothing is on trial while it waits for them, as long as a rollout may take.
    """
    generation = newest_generation(ledger, spec.name)
    if override is None or generation is None or in_order(ledger, spec, generation):
        return
    question = override_request(ledger, spec, generation, override, requested_by)
    ask_and_wait(ledger, question, _tell())


@task(task_run_name="put g{trial.generation.number} on trial", cache_policy=NO_CACHE)
def prepare(trial: Trial) -> None:
    """Write the rollback card, point the candidate at the generation, wait until it is healthy."""
    card = write_card(
        trial.ledger,
        trial.spec,
        trial.generation,
        trial.router,
        trial.heart.epoch,
        current_run_id(),
    )
    _tell()(f"rollback card: {card}")
    put_on_trial(
        trial.ledger, trial.spec, trial.generation, trial.heart.epoch, meanwhile=trial.heart.mark
    )


@task(task_run_name="compare the baseline with itself", cache_policy=NO_CACHE)
def compare_baseline_with_itself(
    trial: Trial, step: Step, aa_seconds: float, look_seconds: float
) -> Decision | None:
    """Bake A/A, then show how many requests proof would take; return a decision to go back."""
    try:
        canary.bake_aa(
            trial,
            step,
            aa_seconds,
            look_seconds,
            _tell(),
            ask,
            last=not rollout.has_shadow(_steps_of(trial)),
        )
    except Aborted as aborted:
        return aborted.decision
    slowest_s = trial.router.abilities.slowest_s
    if slowest_s:
        _tell()(f"plan · going back takes at least {slowest_s:g} s on {trial.router.name}")
    for row in _plan(trial):
        hours = row["hours_to_prove"]
        _tell()(
            f"plan · {row['weight']} %: about {row['requests_to_prove'] or 'no number of'} "
            f"requests to prove by ratio, {row['requests_under_objectives'] or 'no number'} under "
            f"the objectives"
            + (
                f"; {rollout.hours(3600 * hours)} at this traffic"
                if isinstance(hours, float)
                else ""
            )
        )
    return None


def _plan(trial: Trial) -> list[dict[str, object]]:
    """Return what proof takes at each weight as the A/A bake found things; empty before it."""
    if trial.calibration is None:
        return []
    return rollout.describe_plan(
        rollout.plan_steps(trial.spec.rollout),
        calibration=trial.calibration,
        requests_per_s=trial.requests_per_s,
        limits=trial.limits,
    )


@task(task_run_name="judge {step.name}", cache_policy=NO_CACHE)
def judge(step: Step, trial: Trial, look_seconds: float) -> Decision | None:
    """Set the weight of one step and look until it passes; return a decision to go back."""
    name, generation = trial.spec.name, trial.generation.number
    rename_run(f"canary {name} g{generation} → {step.weight} %")
    try:
        canary.judge_step(trial, step, look_seconds, _tell(), ask)
    except Aborted as aborted:
        return aborted.decision
    return None


@task(task_run_name="send copies to the candidate", cache_policy=NO_CACHE)
def shadow(step: Step, trial: Trial, look_seconds: float) -> Decision | None:
    """Let the candidate work unseen before the first weight; return a decision to go back."""
    rename_run(f"canary {trial.spec.name} g{trial.generation.number} → copies")
    queries, why_not = canary.judged_queries(trial)
    try:
        canary.bake_shadow(
            trial, step, look_seconds, _tell(), ask, queries=queries, why_not=why_not
        )
    except Aborted as aborted:
        return aborted.decision
    return None


def _steps_of(trial: Trial) -> tuple[Step, ...]:
    return rollout.plan_steps(trial.spec.rollout, shadow=trial.router.abilities.mirror)


def go_on(stop: Decision | None) -> None:
    """Leave the steps when one decided to go back: a verdict is no failure of its task."""
    if stop is not None:
        raise Aborted(stop)


@task(task_run_name="move the pointer to g{trial.generation.number}", cache_policy=NO_CACHE)
def cut_over(trial: Trial) -> None:
    """Let the generation serve. Idempotent by workload and generation."""
    canary.cut_over(trial)


def ask(trial: Trial, step: Step, evidence: str) -> Approval:
    """Ask a person once whether to go above a weight; the canary goes on meanwhile."""
    spec, counts = trial.spec, trial.seen
    expires_s = trial.answer_seconds()
    question = Question(
        f"canary-{trial.name}-above-{step.weight}",
        spec.name,
        trial.generation.number,
        subject=f"{spec.name} above {step.weight} %",
        question=(
            f"**{spec.name}** g{trial.generation.number} is at {step.weight} %. Go above?\n\n"
            f"- {evidence}\n"
            f"- canary: {counts.candidate.bad} bad of {counts.candidate.requests}\n"
            f"- baseline: {counts.baseline.bad} bad of {counts.baseline.requests}\n"
            f"- rollback is drilled and certified; back in one word: `qafila rollback {spec.name}`"
            f"\n- without an answer all traffic goes back in {rollout.hours(expires_s)}"
        ),
        expires_s=expires_s,
        needed=approvers_needed(spec.criticality),
        requested_by=trial.requested_by,
    )
    approval = ask_person(trial.ledger, question)
    _tell()(f"asked for approval above {step.weight} %: qafila approve {approval.id} --by NAME")
    return approval


def _tell() -> Callable[[str], None]:
    log = get_run_logger()
    return lambda line: log.info("%s", line)


@task(task_run_name="write the verdict", cache_policy=NO_CACHE)
def report(trial: Trial, decision: Decision, back: RolledBack | None) -> dict[str, Any]:
    """Keep the rollout as evidence and show it: sentence, table, timeline, next command."""
    counts = trial.seen
    final_weight = trial.router.read().candidate_percent
    body: dict[str, Any] = {
        "rollout": trial.name,
        "requests": counts.requests,
        "failed_requests": trial.failed,
        "saved_by_retry": counts.baseline.errors + counts.candidate.errors - trial.failed,
        "weights": [s.weight for s in trial.steps if s.weight],
        "steps": [asdict(s) for s in trial.steps],
        "approvals": trial.approvals,
        "final_weight": final_weight,
        "seconds": round(trial.seconds, 1),
        "p95_ms": None if trial.calibration is None else trial.calibration.p95_ms,
        "seconds_to_zero": None if back is None else back.seconds_to_zero,
        "canary_requests_after": None if back is None else back.canary_requests_after,
        "last_canary_request_at": None if back is None else back.last_canary_request_at,
        "calibration": kept_calibration(trial.calibration),
        "plan": _plan(trial),
        "blind": [*trial.router.abilities.blind],
    }
    spec = trial.spec
    record_evidence(
        trial.ledger,
        "rollout",
        f"{spec.name} g{trial.generation.number}: {decision.sentence}",
        workload=spec.name,
        generation=trial.generation.number,
        verdict=decision.verdict,
        body=body,
        run_id=current_run_id(),
    )
    keep_head(trial.ledger)
    shown = artifacts_of(trial.ledger, spec.name, trial.name)
    show_markdown(key="verdict", markdown=shown.verdict)
    show_markdown(key="next-step", markdown=shown.next_step)
    if (timeline := shown.timeline) is not None:  # last: the words do not wait for the picture
        create_image_artifact(
            key="canary-timeline", image_url=timeline, description=shown.timeline_says
        )
    return {"verdict": decision.verdict.value, **body}
