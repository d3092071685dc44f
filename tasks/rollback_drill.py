"""Steps of rollback-drill: put on trial, go there and back, certify."""

from __future__ import annotations

import base64
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import (
    create_image_artifact,
)
from prefect.cache_policies import NO_CACHE

from qafila.errors import Refused
from qafila.ledger.leases import Heart
from qafila.ledger.ledger import Connection, Generation, move_phase
from qafila.report.drill_chart import drill_histogram
from qafila.rollback.card import write_card
from qafila.rollback.rollback import refuse_if_unproven, roll_back
from qafila.rollout import drill as drilling
from qafila.rollout.drill import Way
from qafila.rollout.judge_drill import Flip
from qafila.rollout.preconditions import (
    put_on_trial,
    require_weightless,
    versions_of,
)
from qafila.routers.port import Router
from qafila.text.foreign_text import markdown_text
from qafila.workload.model import Workload
from qafila.workload.phases import Event, Phase
from qafila.workload.verdict import Judgement, Verdict
from tasks.artifact_tables import show_markdown, show_table
from tasks.runs import current_run_id

_SHOWN = 20


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
    number: int,
    router: Router,
    way: Way,
    heart: Heart,
    *,
    path: str,
    probes_per_second: float,
    hold_seconds: float,
    flips: int,
) -> Flip:
    """Go to the drill weight and back once, under load."""
    flip = drilling.fly(
        router,
        way.away_percent,
        epoch=heart.epoch,
        path=path,
        rate=probes_per_second,
        hold_s=hold_seconds,
        way=way,
    )
    get_run_logger().info(
        "%d/%d · off the %s %.1f ms after the decision · acknowledged in %.1f ms · %d failed of %d",
        number,
        flips,
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
    way: Way,
    *,
    most_seconds: float,
    valid_hours: float,
) -> dict[str, Any]:
    """Write evidence and certificate, move the phase, show both."""
    versions = versions_of(router, revision)
    body = drilling.issue_certificate(
        ledger,
        generation,
        spec,
        judged,
        versions,
        valid_hours=valid_hours,
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
        most_ms=max(most_seconds, router.abilities.slowest_s) * 1000,
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
