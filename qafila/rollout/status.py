"""Where a workload stands, read from the ledger and the router; no Prefect needed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from qafila.errors import QafilaError
from qafila.ledger.approvals import Approval, pending_approvals
from qafila.ledger.certificates import valid_certificate
from qafila.ledger.evidence import Evidence, latest_evidence
from qafila.ledger.leases import LeaseRow, read_lease
from qafila.ledger.ledger import Connection, Generation, newest_generation, read_workload
from qafila.ledger.preflight_record import latest_preflight
from qafila.ledger.watchdog_mark import watchdog_age
from qafila.rollout.plan import limits_of, plan_steps
from qafila.rollout.standing import SoFar, Standing, standing
from qafila.routers.lookup import router_of
from qafila.sql import statement
from qafila.workload.model import Rollout, Workload
from qafila.workload.phases import Phase, next_step
from qafila.workload.timetable import Closed, closed


@dataclass(frozen=True)
class Status:
    """Everything that ``qafila status`` prints about one workload.

    ``canary`` is there while a generation is on trial and the judge has looked. ``held`` says why
    no weight may rise now. ``settle_from`` is when what was promoted may be settled; None: nothing
    is promoted. ``watchdog_age_s`` is since any watchdog looked; None: never.
    """

    workload: str
    owner: str
    criticality: str
    generation: Generation | None
    candidate_percent: int | None
    router_problem: str | None
    waits_for: tuple[Approval, ...]
    last_look: dict[str, Any] | None
    lease: LeaseRow | None
    drill_seconds: float | None
    drilled_at: datetime | None
    certificate_until: datetime | None
    watchdog_age_s: float | None
    canary: Standing | None
    latest: Evidence | None
    next_step: str | None
    held: str | None = None
    settle_from: datetime | None = None


def read_status(ledger: Connection, name: str) -> Status:
    """Return where a workload stands now.

    Raises:
        Refused: it was never applied.
    """
    workload, _ = read_workload(ledger, name)
    generation = newest_generation(ledger, name)
    percent, problem = None, None
    try:
        percent = router_of(ledger, workload).read().candidate_percent
    except QafilaError as error:
        problem = error.what
    certificate, look, preflight, latest = None, None, None, None
    if generation is not None:
        key: dict[str, Any] = {
            "workload": name,
            "generation": generation.number,
            "router": workload.service.router.block,
        }
        certificate = valid_certificate(ledger, **key)
        with ledger.cursor(row_factory=dict_row) as cursor:
            look = cursor.execute(statement("status", "last_look"), key).fetchone()
        preflight = latest_preflight(ledger, name, generation.number)
        for kind in ("rollback", "rollout", "drill", "validation", "backfill", "decision", "audit"):
            row = latest_evidence(ledger, name, kind, generation=generation.number)
            if row is not None and (latest is None or row.number > latest.number):
                latest = row
    lease = read_lease(ledger, name)
    shut = _closed(ledger, workload.rollout)
    canary = None
    if generation is not None and generation.phase == Phase.CANARY:
        led = lease is not None and lease.holder is not None and not lease.lapsed
        canary = _canary(ledger, workload, generation, led=led, held=shut is not None)
    passed = preflight is not None and preflight.allows
    return Status(
        workload=name,
        owner=workload.owner,
        criticality=workload.criticality,
        generation=generation,
        candidate_percent=percent,
        router_problem=problem,
        waits_for=tuple(pending_approvals(ledger, name)),
        last_look=look,
        lease=lease if lease is not None and lease.holder is not None else None,
        drill_seconds=None if certificate is None else certificate["seconds_to_zero"],
        drilled_at=None if certificate is None else certificate["issued_at"],
        certificate_until=None if certificate is None else certificate["expires_at"],
        watchdog_age_s=watchdog_age(ledger),
        canary=canary,
        latest=latest,
        next_step=next_step(
            Phase(generation.phase) if generation else None, preflight_passed=passed
        ),
        held=None if shut is None else shut.sentence,
        settle_from=generation.phase_since + timedelta(hours=workload.rollout.hold_hours)
        if generation is not None and generation.phase == Phase.PROMOTED
        else None,
    )


def _canary(
    ledger: Connection, workload: Workload, generation: Generation, *, led: bool, held: bool
) -> Standing | None:
    """Return how the rollout stands; None before its first look."""
    key = {"workload": workload.name, "generation": generation.number}
    with ledger.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(statement("status", "rollout_so_far"), key).fetchone()
    if row is None:
        return None
    return standing(
        SoFar(**row),
        led=led,
        held=held,
        steps=plan_steps(workload.rollout, shadow=True),
        rollout=workload.rollout,
        limits=limits_of(workload.objectives, workload.rollout),
    )


def _closed(ledger: Connection, rollout: Rollout) -> Closed | None:
    """Return why no weight may rise now, by the ledger's clock; None: it may."""
    if rollout.windows is None and not rollout.freezes:
        return None
    row = ledger.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return closed(row[0], rollout.windows, rollout.freezes)
