"""What must hold before a candidate gets its first weight, and before a drill."""

from __future__ import annotations

import time
from importlib.metadata import version as package_version
from typing import Any

import httpx
from psycopg.rows import dict_row

from blocks import PostgresDatabase
from qafila.core.corpus import PgvectorTarget
from qafila.core.phases import Phase
from qafila.core.workload import Workload
from qafila.errors import Refused, Unavailable
from qafila.sql import statement
from tasks.alias import set_trial
from tasks.connections import connection
from tasks.ledger import Connection, Generation, read_workload, require_generation
from tasks.routers.port import Router


def versions_of(router: Router, revision: int) -> dict[str, Any]:
    """Return what a certificate is bound to besides generation and router.

    Raises:
        Unavailable: the router does not answer.
    """
    software = router.software_version()
    if software is None:
        raise Unavailable(
            f"router {router.name} does not answer.", kept="all weights.", remedy="qafila doctor"
        )
    return {
        "envoy": software,
        "qafila": package_version("qafila"),
        "workload_revision": revision,
    }


def require_certificate(
    ledger: Connection, spec: Workload, generation: Generation, versions: dict[str, Any]
) -> dict[str, Any]:
    """Return the valid rollback certificate of this generation, router and versions.

    Raises:
        Refused: there is none; says what the last drill was for.
    """
    router = spec.service.router.block
    key = {"workload": spec.name, "generation": generation.number, "router": router}
    with ledger.cursor(row_factory=dict_row) as cursor:
        valid = cursor.execute(statement("ledger", "valid_certificate"), key).fetchone()
        if valid is not None and valid["versions"] == versions:
            return valid
        newest = cursor.execute(statement("ledger", "newest_certificate"), key).fetchone()
    if newest is None:
        because = "It was never drilled."
    elif valid is not None:
        changed = [k for k in versions if valid["versions"].get(k) != versions[k]]
        because = (
            f"The last drill ({valid['issued_at']:%d %b %H:%M}) was with other versions of: "
            f"{', '.join(changed)}."
        )
    elif newest["generation"] != generation.number:
        because = (
            f"The last drill ({newest['issued_at']:%d %b}) was for index generation "
            f"{newest['generation']}; generation {generation.number} would be promoted."
        )
    else:
        because = (
            f"The last drill was on {newest['router']} and holds until "
            f"{newest['expires_at']:%d %b %H:%M}."
        )
    raise Refused(
        f"no valid rollback certificate for {spec.name} on {router}.\n  {because}",
        kept="everything; all traffic is on the baseline.",
        remedy=f"qafila run rollback-drill {spec.name}",
    )


def require_ready(
    ledger: Connection, workload: str, *phases: Phase
) -> tuple[Generation, Workload, int]:
    """Return generation, workload and its revision when the generation is in one of ``phases``.

    Raises:
        Refused: it does not; a rollout under way is named with the way out of it.
    """
    spec, revision = read_workload(ledger, workload)
    generation = require_generation(ledger, workload)
    if generation.phase == Phase.CANARY and Phase.CANARY not in phases:
        raise Refused(
            f"generation {generation.number} of {workload} is in a canary already; a rollout is "
            "never taken over by a second run.",
            kept="all weights.",
            remedy=f"wait for its end, or take it back: qafila rollback {workload}",
        )
    return require_generation(ledger, workload, *phases), spec, revision


def require_weightless(router: Router, spec: Workload) -> None:
    """Refuse to put a generation on trial while users meet the candidate.

    Raises:
        Refused: the candidate has weight.
    """
    state = router.read()
    if state.candidate_percent:
        raise Refused(
            f"the candidate of {spec.name} has {state.candidate_percent} % of the traffic already.",
            kept="all weights and the pointer row.",
            remedy=f"qafila rollback {spec.name}",
        )


def put_on_trial(ledger: Connection, spec: Workload, generation: Generation, epoch: int) -> None:
    """Point the candidate service at the generation and wait until it is healthy with it.

    Raises:
        Refused: a newer generation serves.
        Unavailable: the candidate is not healthy within 15 s.
    """
    target = spec.corpus.target
    if isinstance(target, PgvectorTarget):
        with connection(ledger, target.block, PostgresDatabase).connect() as database:
            set_trial(database, spec.name, generation.number, epoch)
    url = spec.service.candidate.url.rstrip("/") + "/health"
    end, last = time.monotonic() + 15, "no answer"
    while time.monotonic() < end:
        try:
            reply = httpx.get(url, timeout=2.0, trust_env=False)
            if reply.status_code == 200:
                return
            last = f"status {reply.status_code}"
        except httpx.HTTPError as error:
            last = type(error).__name__
        time.sleep(0.1)
    raise Unavailable(
        f"the candidate of {spec.name} is not healthy: {last} from {url}.",
        kept="all weights: traffic is on the baseline.",
        remedy=f"start the candidate service, then: qafila run canary-cutover {spec.name}",
    )
