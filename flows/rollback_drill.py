"""Rehearse the rollback before it is needed; a passed rehearsal is a certificate."""

from __future__ import annotations

from typing import Any

from prefect import flow
from pydantic import Field

from qafila.errors import Inconclusive, Refused
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import open_ledger
from qafila.rollback.agreement import require_agreement
from qafila.rollout import drill as drilling
from qafila.rollout.preconditions import (
    require_ready,
)
from qafila.routers.lookup import router_of
from qafila.workload.parameters import ForWorkload
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict
from tasks.rollback_drill import certify, find_way, give_back, prepare, there_and_back
from tasks.runs import about_generation, current_run_id, operator_told


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
                        there_and_back(
                            number,
                            router,
                            way,
                            heart,
                            path=request.path,
                            probes_per_second=request.probes_per_second,
                            hold_seconds=request.hold_seconds,
                            flips=request.flips,
                        )
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
            body = certify(
                ledger,
                router,
                generation,
                spec,
                revision,
                judged,
                flips,
                way,
                most_seconds=request.most_seconds,
                valid_hours=request.valid_hours,
            )
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
