"""Move users to the candidate step by step, judged all the way; back at the first proof of harm."""

from __future__ import annotations

from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from pydantic import Field

from qafila import rollout
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import open_ledger, read_workload
from qafila.rollback.rollback import roll_back, was_left_by
from qafila.rollout import steps as canary
from qafila.rollout.decide import Decision
from qafila.rollout.preconditions import require_canary
from qafila.rollout.session import Aborted, Trial
from qafila.routers.lookup import router_of
from qafila.workload.parameters import ForWorkload
from qafila.workload.phases import Event
from qafila.workload.verdict import Verdict
from tasks.canary_cutover import (
    ask_whether_out_of_order,
    compare_baseline_with_itself,
    cut_over,
    go_on,
    judge,
    prepare,
    report,
    shadow,
)
from tasks.runs import about_generation, current_run_id, operator_told


class CanaryCutover(ForWorkload):
    """Which workload goes up, and how often the judge looks."""

    look_seconds: float = Field(1.0, ge=0.2, le=3600, description="Seconds between two looks.")
    aa_seconds: float = Field(
        8.0, ge=2, le=86_400, description="Seconds the baseline is compared with itself first."
    )
    requested_by: str | None = Field(
        None,
        min_length=2,
        max_length=200,
        description="Who asks for this rollout, and so does not approve it; needed where "
        "criticality is high.",
    )
    override: str | None = Field(
        None,
        min_length=3,
        max_length=2000,
        description="Why a workload of high criticality goes before any lower one has settled; "
        "two persons are asked.",
    )


def take_back_if_ours(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Roll back what a cancelled or crashed run left; the watchdog does it where this cannot.

    Another rollout of the same workload is left alone: only this run's lease counts, or a
    generation in canary that nobody holds a lease for.
    """
    name = flow_run.parameters["request"]["workload"]
    with open_ledger() as ledger:
        if was_left_by(ledger, name, str(flow_run.id)):
            why = f"the canary run ended {state.name}"
            roll_back(ledger, name, why, holder="hook", run_id=str(flow_run.id), event=Event.ABORT)


@flow(
    name="canary-cutover",
    flow_run_name=about_generation("canary"),
    on_cancellation=[take_back_if_ours],
    on_crashed=[take_back_if_ours],
)
def canary_cutover(request: CanaryCutover) -> dict[str, Any]:
    """Compares the baseline with itself, then gives the candidate weight by weight, and bakes.

    You see a task a step and a line a look; above the workload's approval weight an ``approval``
    run asks a person while this one goes on judging. Outside, the router's weights move and, at
    the end, the pointer row. On proof of harm, at the deadline, on a lost lease, an error or a
    cancel, all traffic goes back to the baseline by itself. To undo a promotion: ``rollback``.
    """
    with operator_told(), open_ledger() as ledger:
        spec, revision = read_workload(ledger, request.workload)
        router = router_of(ledger, spec)
        try:
            ask_whether_out_of_order(ledger, spec, request.override, request.requested_by)
            generation = require_canary(
                ledger, spec, revision, router, requested_by=request.requested_by
            )
            with held_lease(
                ledger,
                spec.name,
                "canary-cutover",
                generation=generation.number,
                run_id=current_run_id(),
                above=router.read().epoch,
                must_mark=True,
            ) as heart:
                name = f"{spec.name}-g{generation.number}-e{heart.epoch}"
                trial = Trial(ledger, spec, generation, router, heart, name, request.requested_by)
                try:
                    prepare(trial)
                    first, *steps = rollout.plan_steps(spec.rollout, shadow=router.abilities.mirror)
                    go_on(
                        compare_baseline_with_itself(
                            trial, first, request.aa_seconds, request.look_seconds
                        )
                    )
                    for step in steps:
                        go = shadow if step.kind is rollout.StepKind.SHADOW else judge
                        go_on(go(step, trial, request.look_seconds))
                    cut_over(trial)
                except BaseException as error:
                    decision = canary.reason_of(trial, error)
                    back = canary.go_back(trial, decision.sentence, current_run_id())
                    if not isinstance(error, Exception):
                        raise  # cancelled: Prefect is not to be spoken to any more
                    decision = canary.judge_way_back(decision, back)
                    report(trial, decision, back)
                    raise canary.error_of(decision, spec.name, back) from (
                        None if isinstance(error, Aborted) else error
                    )
            done = Decision(
                rollout.Action.PASS, Verdict.PASS, f"promoted; {trial.steps[-1].sentence}"
            )
            return report(trial, done, None)
        finally:
            router.close()
