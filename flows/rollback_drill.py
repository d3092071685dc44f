"""Rehearse the rollback before it is needed; a passed rehearsal is a certificate."""

from __future__ import annotations

import base64
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_image_artifact,
)
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from qafila.errors import Inconclusive, Refused
from qafila.ledger.leases import Heart, held_lease
from qafila.ledger.ledger import Connection, Generation, move_phase, open_ledger
from qafila.report.drill_chart import drill_histogram
from qafila.rollback.agreement import require_agreement
from qafila.rollback.card import write_card
from qafila.rollback.rollback import refuse_if_unproven, roll_back
from qafila.rollout import drill as drilling
from qafila.rollout.drill import Way
from qafila.rollout.judge_drill import Flip
from qafila.rollout.preconditions import (
    put_on_trial,
    require_ready,
    require_weightless,
    versions_of,
)
from qafila.routers.lookup import router_of
from qafila.routers.port import Router
from qafila.text.foreign_text import markdown_text
from qafila.workload.model import Workload
from qafila.workload.parameters import ForWorkload
from qafila.workload.phases import Event, Phase
from qafila.workload.verdict import Judgement, Verdict
from tasks.artifact_tables import show_markdown, show_table
from tasks.runs import about_generation, current_run_id, operator_told

_SHOWN = 20


class RollbackDrill(ForWorkload):
    """What to rehearse, and how hard."""

    flips: int = Field(
        3, ge=1, le=500, description="How often to go there and back; from 100 on, p99 is judged."
    )
    hold_seconds: float = Field(
        1.0, ge=0.2, le=60, description="Seconds under load on each side of a way back."
    )
    probes_per_second: float = Field(
        80,
        ge=5,
        le=2000,
        description="Requests of users whom the drill weight sends to the drilled side.",
    )
    path: str = Field(
        "/health", pattern=r"^/\S*$", description="Path that probes ask for on both arms."
    )
    most_seconds: float = Field(
        1.0,
        gt=0,
        le=300,
        description="Slower than this until nobody meets the drilled side: FAIL. Where a DNS "
        "record's time to live is longer, that counts.",
    )
    least_users: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Fewer user requests than this in all flips: INCONCLUSIVE. With 0, a drill "
        "without users says that probes alone were there.",
    )
    valid_hours: float = Field(168, gt=0, le=2160, description="Hours the certificate holds.")


@flow(name="rollback-drill", flow_run_name=about_generation("drill"))
def rollback_drill(request: RollbackDrill) -> dict[str, Any]:
    """Goes to the drill weight and back under live traffic, timed at the user's side.

    You see a task for each way there and back, then the verdict and the certificate that
    canary-cutover asks for. Outside, the router's weights move, for seconds and back; a few users
    meet the candidate or, where it was promoted already, the baseline that is kept in step until
    `qafila settle`. If anything breaks, all traffic goes back to the side that served, and no
    certificate is written. There is nothing to undo.
    """
    with operator_told(), open_ledger() as ledger:
        generation, spec, revision = require_ready(
            ledger, request.workload, Phase.VALIDATED, Phase.DRILLED, Phase.PROMOTED
        )
        router = router_of(ledger, spec)
        try:
            require_agreement(ledger, spec, router)
            way = find_way(router, spec, generation)
            with held_lease(
                ledger,
                spec.name,
                "rollback-drill",
                generation=generation.number,
                run_id=current_run_id(),
                above=router.read().epoch,
            ) as heart:
                try:
                    if not way.home_percent:
                        prepare(ledger, router, spec, generation, heart)
                    flips = [
                        there_and_back(number, router, way, heart, request)
                        for number in range(1, request.flips + 1)
                    ]
                except BaseException as error:
                    give_back(ledger, router, spec, way, heart, error)
                    raise
            judged = drilling.judge_flips(
                flips,
                request.most_seconds,
                least_users=request.least_users,
                slowest_s=router.abilities.slowest_s,
            )
            body = certify(ledger, router, generation, spec, revision, judged, flips, request, way)
        finally:
            router.close()
        if judged.verdict is not Verdict.PASS:
            kind = Inconclusive if judged.verdict is Verdict.INCONCLUSIVE else Refused
            raise kind(
                f"the rollback drill of {spec.name} did not pass: {judged.sentence}",
                kept=f"all traffic is on the {way.home}; no certificate was written.",
                remedy=f"qafila run rollback-drill {spec.name}",
            )
        return body


def find_way(router: Router, spec: Workload, generation: Generation) -> Way:
    """Return the way to drill; the weight must stand where the phase says.

    Raises:
        Refused: it stands anywhere else.
    """
    percent = router.read().candidate_percent
    if generation.phase != Phase.PROMOTED:
        require_weightless(router, spec)
    elif percent != 100:
        raise Refused(
            f"generation {generation.number} of {spec.name} is promoted, but the candidate has "
            f"{percent} % of the traffic.",
            kept="all weights.",
            remedy=f"qafila router show {spec.name}",
        )
    return drilling.way_of(percent, spec.rollout.drill_weight)


def give_back(
    ledger: Connection,
    router: Router,
    spec: Workload,
    way: Way,
    heart: Heart,
    error: BaseException,
) -> None:
    """Bring all traffic to where it was before the drill, and pointer row and phase with it.

    Raises:
        Refused: the candidate still got requests afterwards.
    """
    why = f"the drill broke: {error}"
    if way.home_percent:  # nothing was put on trial: only the weight has to go back
        router.acknowledged(router.write(way.home_percent, epoch=heart.epoch, why=why))
    else:
        outcome = roll_back(ledger, spec.name, why, holder="drill")
        if outcome.verdict is Verdict.FAIL:
            refuse_if_unproven(outcome)


@task(task_run_name="put g{generation.number} on trial", cache_policy=NO_CACHE)
def prepare(
    ledger: Connection, router: Router, spec: Workload, generation: Generation, heart: Heart
) -> None:
    """Write the rollback card, point the candidate at the generation, wait until it is healthy.

    A promoted generation has the card of its rollout, from before its first weight: that stays.
    """
    card = write_card(ledger, spec, generation, router, heart.epoch, current_run_id())
    get_run_logger().info("rollback card: %s", card)
    put_on_trial(ledger, spec, generation, heart.epoch)


@task(task_run_name="to {way.away_percent} % and back, {number}", cache_policy=NO_CACHE)
def there_and_back(
    number: int, router: Router, way: Way, heart: Heart, request: RollbackDrill
) -> Flip:
    """Go to the drill weight and back once, under load."""
    flip = drilling.fly(
        router,
        way.away_percent,
        epoch=heart.epoch,
        path=request.path,
        rate=request.probes_per_second,
        hold_s=request.hold_seconds,
        way=way,
    )
    get_run_logger().info(
        "%d/%d · off the %s %.1f ms after the decision · acknowledged in %.1f ms · %d failed of %d",
        number,
        request.flips,
        way.away,
        flip.seconds_to_zero * 1000,
        flip.acknowledged_s * 1000,
        flip.failed,
        flip.probes + flip.users,
    )
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
    way: Way,
) -> dict[str, Any]:
    """Write evidence and certificate, move the phase, show both."""
    versions = versions_of(router, revision)
    body = drilling.issue_certificate(
        ledger,
        generation,
        spec,
        judged,
        versions,
        valid_hours=request.valid_hours,
        run_id=current_run_id(),
        drilled=way.away,
    )
    if judged.verdict is Verdict.PASS and generation.phase == Phase.VALIDATED:
        move_phase(ledger, generation, Event.DRILL_PASS)
    rows = "\n".join(
        f"| {n} | {f.seconds_to_zero * 1000:.1f} | {f.acknowledged_s * 1000:.1f} "
        f"| {f.canary_before} | {f.canary_after + f.log_after} | {f.probes} | {f.users} "
        f"| {f.failed} |"
        for n, f in list(enumerate(flips, 1))[:_SHOWN]
    )
    more = f"\n\nThe first {_SHOWN} of {len(flips)} are shown." if len(flips) > _SHOWN else ""
    show_markdown(
        key="verdict",
        markdown=f"**{judged.verdict}** {spec.name} g{generation.number}: "
        f"{markdown_text(judged.sentence)}\n\n"
        f"| there and back | ms until nobody met the {way.away} | ms to acknowledge "
        f"| {way.away} before | {way.away} after | probes | user requests | failed |\n"
        f"|---|---|---|---|---|---|---|---|\n{rows}{more}",
    )
    svg = drill_histogram(
        flips,
        title=f"{spec.name} g{generation.number}: {judged.verdict}",
        most_ms=max(request.most_seconds, router.abilities.slowest_s) * 1000,
    )
    create_image_artifact(
        key="drill-times",
        image_url="data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode(),
        description="How long each way back took.",
    )
    if "certificate_id" in body:
        certificate = {
            "certificate": body["certificate_id"],
            "generation": generation.number,
            "router": spec.service.router.block,
            **versions,
            "seconds to zero": body["seconds_to_zero"],
            "p50, p99, max ms": f"{body['p50_ms']}, {body['p99_ms']}, {body['max_ms']}",
            "failed": body["failed_requests"],
            "user requests": body["user_requests"],
            "valid until": body["expires_at"],
        }
        show_table(key="certificate", rows=[certificate])
        following = "status" if way.home_percent else "run canary-cutover"
        show_markdown(key="next-step", markdown=f"```\nqafila {following} {spec.name}\n```")
    return {"verdict": judged.verdict.value, **body}
