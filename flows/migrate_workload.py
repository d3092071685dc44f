"""Take one workload through all phases, each a run below one parent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from pydantic import Field

from flows.benchmark_validation import BenchmarkValidation, benchmark_validation
from flows.inventory_audit import AuditRequest, inventory_audit
from flows.preflight import Preflight, preflight
from flows.rollback_drill import RollbackDrill, rollback_drill
from flows.target_architecture import Architecture, target_architecture
from qafila.errors import Refused
from qafila.ledger.ledger import Generation, newest_generation, open_ledger
from qafila.ledger.preflight_record import latest_preflight
from qafila.workload.parameters import ForWorkload
from qafila.workload.phases import Phase, next_step
from tasks.migrate_workload import open_generation, summarise
from tasks.runs import operator_told

# Phases that only read, or that last seconds. The load and the canary run alone: each may be
# killed, cancelled or resumed without the others.
INSIDE: dict[str, tuple[Callable[..., Any], type[ForWorkload]]] = {
    "inventory-audit": (inventory_audit, AuditRequest),
    "target-architecture": (target_architecture, Architecture),
    "preflight": (preflight, Preflight),
    "benchmark-validation": (benchmark_validation, BenchmarkValidation),
    "rollback-drill": (rollback_drill, RollbackDrill),
}


class MigrateWorkload(ForWorkload):
    """Which workload, and how stubborn to be."""

    resumes: int = Field(
        2, ge=0, le=10, description="How often a crashed backfill is started again by itself."
    )
    requested_by: str | None = Field(
        None,
        min_length=2,
        max_length=200,
        description="Who asks for the canary, and so does not approve it; needed where "
        "criticality is high.",
    )


@flow(name="migrate-workload", flow_run_name="migrate {request.workload}")
def migrate_workload(request: MigrateWorkload) -> dict[str, Any]:
    """Runs audit, architecture, preflight, backfill, validation, drill and canary in order.

    Each phase is a run below this one. Where the migration stands is read from the
    ledger, so a run that was stopped anywhere is simply started again and goes on there. Changes
    outside are those of the phases; undo them with `rollback`.
    """
    with operator_told():
        generation = open_generation(request.workload)
        done: list[str] = []
        while step := find_step(generation):
            if done.count(step) > 0:
                raise Refused(
                    f"{step} ended without moving {generation.workload} on.",
                    kept="everything that the phases before it did.",
                    remedy=f"qafila status {generation.workload}",
                )
            run_step(step, request)
            done.append(step)
        return summarise(generation, done)


def find_step(generation: Generation) -> str | None:
    """Return which phase comes next, from the ledger alone."""
    with open_ledger() as ledger:
        now = newest_generation(ledger, generation.workload)
        preflight = latest_preflight(ledger, generation.workload, generation.number)
    passed = preflight is not None and preflight.allows
    return next_step(Phase(now.phase) if now else None, preflight_passed=passed)


def run_step(step: str, request: MigrateWorkload) -> None:
    """Run one phase below this run: light ones in this process, the others on the work pool.

    Raises:
        QafilaError: the phase said no; its own words.
        Refused: a phase on the work pool ended in anything but success.
    """
    if step in INSIDE:
        phase, parameters = INSIDE[step]
        phase(parameters(workload=request.workload))
    else:
        run_on_pool(step, request)
    get_run_logger().info("%s: done", step)


def run_on_pool(step: str, request: MigrateWorkload) -> None:
    """Run a phase as a process of its own; a backfill that crashed is started again.

    Raises:
        Refused: it ended in anything but success.
    """
    log = get_run_logger()
    parameters: dict[str, Any] = {"workload": request.workload}
    if step == "canary-cutover":
        parameters["requested_by"] = request.requested_by
    tries = 1 + (request.resumes if step == "embedding-backfill" else 0)
    for attempt in range(1, tries + 1):
        run = run_deployment(
            f"{step}/{step}",
            parameters={"request": parameters},
            poll_interval=0.5,
        )
        assert isinstance(run, FlowRun)
        state = run.state
        if state is not None and state.is_completed():
            return
        if state is not None and state.is_crashed() and attempt < tries:
            log.warning("%s died; it goes on at its checkpoints (%d/%d)", step, attempt, tries - 1)
            continue
        kind = state.name if state else "without a state"
        message = (state.message or "").strip() if state else ""
        raise Refused(
            f"the migration of {request.workload} stopped: {step} ended {kind}. {message}",
            kept="everything that the phases before it did; traffic is where the router has it.",
            remedy=f"qafila status {request.workload}",
        )
