"""Where a workload stands, read from the ledger and the router; no Prefect needed."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from qafila.core.phases import Phase, next_step
from qafila.errors import QafilaError
from qafila.sql import statement
from tasks.approvals import Approval, pending_approvals
from tasks.edges import router_of
from tasks.evidence import Evidence, latest_evidence
from tasks.leases import LeaseRow, read_lease
from tasks.ledger import Connection, Generation, newest_generation, read_workload
from tasks.preflight import latest_preflight


@dataclass(frozen=True)
class Status:
    """Everything that ``qafila status`` prints about one workload."""

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
    certificate_until: datetime | None
    latest: Evidence | None
    next_step: str | None


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
        key = {"workload": name, "generation": generation.number,
               "router": workload.service.router.block}  # fmt: skip
        with ledger.cursor(row_factory=dict_row) as cursor:
            certificate = cursor.execute(statement("ledger", "valid_certificate"), key).fetchone()
            look = cursor.execute(statement("status", "last_look"), key).fetchone()
        preflight = latest_preflight(ledger, name, generation.number)
        for kind in ("rollback", "rollout", "drill", "validation", "backfill", "decision", "audit"):
            row = latest_evidence(ledger, name, kind, generation=generation.number)
            if row is not None and (latest is None or row.number > latest.number):
                latest = row
    lease = read_lease(ledger, name)
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
        certificate_until=None if certificate is None else certificate["expires_at"],
        latest=latest,
        next_step=next_step(
            Phase(generation.phase) if generation else None, preflight_passed=passed
        ),
    )


def mark_watchdog(ledger: Connection, name: str | None = None) -> None:
    """Note that a watchdog has just looked; ``name`` tells several apart, else the machine's."""
    key = {"name": name or socket.gethostname()}
    ledger.execute(statement("status", "mark_watchdog"), key)


def watchdog_age(ledger: Connection) -> float | None:
    """Return how many seconds ago a watchdog looked, by the ledger's clock; None: never."""
    row = ledger.execute(statement("status", "watchdog_seen")).fetchone()
    return None if row is None or row[0] is None else float(row[0])
