"""Rehearse the rollback before it is needed; a passed rehearsal is a certificate."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from qafila.core.parameters import ForWorkload
from qafila.core.phases import Event, Phase
from qafila.core.verdict import Judgement, Verdict
from qafila.core.workload import Workload
from qafila.errors import Refused
from tasks import drilling
from tasks.drilling import Flip
from tasks.edges import router_of
from tasks.leases import Heart, held_lease
from tasks.ledger import Connection, Generation, move_phase, open_ledger
from tasks.preconditions import put_on_trial, require_ready, require_weightless, versions_of
from tasks.rolling_back import roll_back
from tasks.routers.port import Router
from tasks.runs import about_generation, current_run_id, operator_told


class RollbackDrill(ForWorkload):
    """What to rehearse, and how hard."""

    flips: int = Field(3, ge=1, le=50, description="How often to go there and back.")
    hold_seconds: float = Field(
        1.0, ge=0.2, le=60, description="Seconds under load on each side of a way back."
    )
    probes_per_second: float = Field(
        80,
        ge=5,
        le=2000,
        description="Requests of users whom the drill weight sends to the canary.",
    )
    path: str = Field(
        "/health", pattern=r"^/\S*$", description="Path that probes ask for on both arms."
    )
    most_seconds: float = Field(
        1.0, gt=0, le=300, description="Slower than this until nobody meets the canary: FAIL."
    )
    valid_hours: float = Field(168, gt=0, le=2160, description="Hours the certificate holds.")


@flow(name="rollback-drill", flow_run_name=about_generation("drill"))
def rollback_drill(request: RollbackDrill) -> dict[str, Any]:
    """Goes to the drill weight and back under live traffic, timed at the user's side.

    You see a task for each way there and back, then the verdict and the certificate that
    canary-cutover asks for. Outside, the router's weights move, for seconds and back; a few users
    meet the candidate. If anything breaks, all traffic goes back to the baseline and no
    certificate is written. There is nothing to undo.
    """
    with operator_told(), open_ledger() as ledger:
        generation, spec, revision = require_ready(
            ledger, request.workload, Phase.VALIDATED, Phase.DRILLED
        )
        router = router_of(ledger, spec)
        try:
            with held_lease(
                ledger, spec.name, "rollback-drill", generation=generation.number,
                run_id=current_run_id(),
            ) as heart:  # fmt: skip
                try:
                    prepare(ledger, router, spec, generation, heart)
                    flips = [
                        there_and_back(number, router, spec.rollout.drill_weight, heart, request)
                        for number in range(1, request.flips + 1)
                    ]
                except BaseException as error:
                    roll_back(ledger, spec.name, f"the drill broke: {error}", holder="drill")
                    raise
            judged = drilling.judge_flips(flips, request.most_seconds)
            body = certify(ledger, router, generation, spec, revision, judged, flips, request)
        finally:
            router.close()
        if judged.verdict is not Verdict.PASS:
            raise Refused(
                f"the rollback drill of {spec.name} did not pass: {judged.sentence}",
                kept="all traffic is on the baseline; no certificate was written.",
                remedy=f"qafila run rollback-drill {spec.name}",
            )
        return body


@task(task_run_name="put g{generation.number} on trial", cache_policy=NO_CACHE)
def prepare(
    ledger: Connection, router: Router, spec: Workload, generation: Generation, heart: Heart
) -> None:
    """Point the candidate at the generation and wait until it is healthy."""
    require_weightless(router, spec)
    put_on_trial(ledger, spec, generation, heart.epoch)


@task(task_run_name="to {weight} % and back, {number}", cache_policy=NO_CACHE)
def there_and_back(
    number: int, router: Router, weight: int, heart: Heart, request: RollbackDrill
) -> Flip:
    """Go to the drill weight and back once, under load."""
    flip = drilling.fly(
        router, weight, epoch=heart.epoch, path=request.path, rate=request.probes_per_second,
        hold_s=request.hold_seconds,
    )  # fmt: skip
    get_run_logger().info(
        "%d/%d · off the canary %.1f ms after the decision · acknowledged in %.1f ms · "
        "%d failed of %d",
        number, request.flips, flip.seconds_to_zero * 1000, flip.acknowledged_s * 1000,
        flip.failed, flip.probes + flip.users,
    )  # fmt: skip
    return flip


@task(task_run_name="certify {spec.name}", cache_policy=NO_CACHE)
def certify(
    ledger: Connection,
    router: Router,
    generation: Generation,
    spec: Workload,
    revision: int,
    judged: Judgement,
    flips: list[Flip],
    request: RollbackDrill,
) -> dict[str, Any]:
    """Write evidence and certificate, move the phase, show both."""
    versions = versions_of(router, revision)
    body = drilling.issue_certificate(
        ledger, generation, spec, judged, versions,
        valid_hours=request.valid_hours, run_id=current_run_id(),
    )  # fmt: skip
    if judged.verdict is Verdict.PASS and generation.phase == Phase.VALIDATED:
        move_phase(ledger, generation, Event.DRILL_PASS)
    rows = "\n".join(
        f"| {n} | {f.seconds_to_zero * 1000:.1f} | {f.acknowledged_s * 1000:.1f} "
        f"| {f.canary_before} | {f.canary_after + f.log_after} | {f.probes + f.users} "
        f"| {f.failed} |"
        for n, f in enumerate(flips, 1)
    )
    create_markdown_artifact(
        key="verdict",
        markdown=f"**{judged.verdict}** {spec.name} g{generation.number}: {judged.sentence}\n\n"
        "| there and back | ms until nobody met the canary | ms to acknowledge | canary before "
        f"| canary after | requests | failed |\n|---|---|---|---|---|---|---|\n{rows}",
    )
    if "certificate_id" in body:
        certificate = {
            "certificate": body["certificate_id"],
            "generation": generation.number,
            "router": spec.service.router.block,
            **versions,
            "seconds to zero": body["seconds_to_zero"],
            "failed": body["failed_requests"],
            "valid until": body["expires_at"],
        }
        create_table_artifact(key="certificate", table=[certificate])
        create_markdown_artifact(
            key="next-step", markdown=f"```\nqafila run canary-cutover {spec.name}\n```"
        )
    return {"verdict": judged.verdict.value, **body}
