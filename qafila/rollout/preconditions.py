"""What must hold before a candidate gets its first weight, and before a drill."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version as package_version
from typing import Any

import httpx

from qafila.connections.settings import PostgresConnection
from qafila.errors import NotReady, QafilaError, Refused, Unavailable
from qafila.ledger.certificates import newest_certificate, valid_certificate
from qafila.ledger.connections import connection
from qafila.ledger.leases import read_lease
from qafila.ledger.ledger import (
    Connection,
    Generation,
    ledger_identity,
    read_workload,
    require_generation,
)
from qafila.rollback.agreement import require_agreement
from qafila.rollout.order import require_order
from qafila.routers.port import Router
from qafila.routers.sight import require_sight
from qafila.sql import statement
from qafila.stores.pointer_row import set_trial
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from qafila.workload.timetable import closed


def require_canary(
    ledger: Connection, spec: Workload, revision: int, router: Router, *, requested_by: str | None
) -> Generation:
    """Return the generation that may get its first weight now; names everything that is missing.

    Changes nothing. The rollback card and the lease come after it, in this order: lease, card,
    weight.

    Raises:
        Refused: one thing is missing.
        NotReady: several are, each with its next step.
    """
    # a rollout under way is the only thing to say
    require_ready(ledger, spec.name, *(p for p in Phase if p is not Phase.CANARY))
    generation = require_generation(ledger, spec.name)

    def certificate() -> None:
        require_certificate(ledger, spec, generation, versions_of(router, revision))

    def agreement() -> None:
        require_agreement(ledger, spec, router)
        require_weightless(router, spec)

    checks: tuple[Callable[[], object], ...] = (
        lambda: require_ready(ledger, spec.name, Phase.DRILLED),
        certificate,
        agreement,
        lambda: require_sight(router),
        lambda: require_open(ledger, spec),
        lambda: require_order(ledger, spec, generation),
        lambda: require_requester(spec, requested_by),
        lambda: require_free(ledger, spec.name),
    )
    problems: dict[str, QafilaError] = {}
    for check in checks:
        try:
            check()
        except QafilaError as error:
            problems.setdefault(error.what, error)
    if len(problems) == 1:
        raise next(iter(problems.values()))
    if problems:
        raise NotReady(
            f"{len(problems)} things stand between {spec.name} and its first weight:",
            list(problems.values()),
            kept="everything; all traffic is where it was.",
            remedy=f"see to each of them, then: qafila run canary-cutover {spec.name}",
        )
    return generation


def require_open(ledger: Connection, spec: Workload) -> None:
    """Refuse to start while no weight may rise, by the ledger's clock.

    Raises:
        Refused: it is outside the hours, or in a freeze.
    """
    row = ledger.execute(statement("canary", "time_of_day")).fetchone()
    assert row is not None
    now: datetime = row[0]
    shut = closed(now, spec.rollout.windows, spec.rollout.freezes)
    if shut is not None:
        raise Refused(
            f"no weight of {spec.name} may rise now: {shut.sentence}.",
            kept="all weights; going back is allowed at any time.",
            remedy="start it then, or change rollout.windows and rollout.freezes and apply.",
        )


def require_requester(spec: Workload, requested_by: str | None) -> None:
    """Refuse a rollout of high criticality that nobody has asked for by name.

    Raises:
        Refused: no name, so nobody could tell whether its two approvers are others.
    """
    if spec.criticality == "high" and requested_by is None:
        raise Refused(
            f"{spec.name} is of high criticality: who asks for the rollout has to be named, since "
            "two others approve it.",
            kept="everything.",
            remedy=f"qafila run canary-cutover {spec.name} --by NAME",
        )


def require_free(ledger: Connection, workload: str) -> None:
    """Refuse while somebody alive holds the lease.

    Raises:
        Refused: says who.
    """
    lease = read_lease(ledger, workload)
    if lease is not None and lease.holder is not None and not lease.lapsed:
        raise Refused(
            f"{lease.holder} holds the lease of {workload}.",
            kept="all weights.",
            remedy=f"wait for its end, or take everything back: qafila rollback {workload}",
        )


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
        "router": software,
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
    valid = valid_certificate(ledger, spec.name, generation.number, router)
    if valid is not None and valid["versions"] == versions:
        return valid
    newest = newest_certificate(ledger, spec.name)
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


def put_on_trial(
    ledger: Connection,
    spec: Workload,
    generation: Generation,
    epoch: int,
    *,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Point the candidate service at the generation and wait until it is healthy with it.

    Healthy is a 200 from ``/health``. A provider behind an alias need not have that page: any
    answer of its own (a 404, a 401 without the users' key) shows that it is there.

    ``meanwhile`` is called while it is waited for, so that a heart sees that the work goes on.

    Raises:
        Refused: a newer generation serves.
        Unavailable: the candidate is not healthy within 15 s.
    """
    target = spec.corpus.target
    if isinstance(target, PgvectorTarget):
        with connection(ledger, target.block, PostgresConnection).connect() as database:
            ours = ledger_identity(ledger)
            set_trial(database, spec.name, generation.number, epoch, ledger=ours)
    url = spec.service.candidate.url.rstrip("/") + "/health"
    end, last = time.monotonic() + 15, "no answer"
    while time.monotonic() < end:
        meanwhile()
        try:
            reply = httpx.get(url, timeout=2.0, trust_env=False)
            if reply.status_code == 200 or (spec.service.alias and reply.status_code < 500):
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
