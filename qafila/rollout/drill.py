"""Rehearse the way back on live traffic, timed at the client."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import httpx
from psycopg.types.json import Jsonb

from qafila.errors import Unavailable
from qafila.ledger.evidence import record_evidence
from qafila.ledger.ledger import Connection, Generation
from qafila.rollback.traffic import log_since
from qafila.rollout.judge_drill import Flip as Flip
from qafila.rollout.judge_drill import judge_flips as judge_flips
from qafila.routers.envoy.access_log import tenant_digest
from qafila.routers.port import Request, Router
from qafila.sql import statement
from qafila.workload.model import Workload
from qafila.workload.verdict import Judgement, Verdict

_KEYS = 4
_MOST_TRIES = 4000
_LOG_DELAY_S = 0.35


@dataclass(frozen=True)
class Shot:
    """One probe as its client saw it; ``status`` 0 is no answer. Unix times in seconds."""

    started_at: float
    ended_at: float
    status: int
    served: str | None

    @property
    def failed(self) -> bool:
        return self.status == 0 or self.status >= 500


@dataclass(frozen=True)
class Way:
    """Where the weight stands, where the drill goes, and which side serves there.

    Before a promotion all traffic is on the baseline and a few users go to the candidate; after it
    the candidate serves, and a few go to the baseline that is kept warm.
    """

    home_percent: int
    away_percent: int
    home: str
    away: str


def way_of(percent: int, drill_weight: int) -> Way:
    """Return the way to drill where the candidate has 0 or 100 per cent."""
    if percent:
        return Way(100, 100 - drill_weight, "candidate", "baseline")
    return Way(0, drill_weight, "baseline", "candidate")


def fly(
    router: Router,
    weight: int,
    *,
    epoch: int,
    path: str,
    rate: float,
    hold_s: float,
    way: Way | None = None,
    keys: Sequence[str] = (),
) -> Flip:
    """Go to the drill weight and back once, under load, and return what was measured.

    ``way`` is from the baseline to ``weight`` per cent on the candidate unless another is given.
    Probes use the keys of users that the weight sends to the drilled side: the hardest case.
    ``keys`` are such users, where they are known already.

    Raises:
        StaleEpoch: the lease was lost.
        Unavailable: the router did not acknowledge, or sends nobody to the drilled side.
    """
    way = way or way_of(0, weight)
    _, cursor = router.observed(None)
    slowest_s = router.abilities.slowest_s
    there = f"drill: {way.away_percent} % on the candidate"
    router.acknowledged(router.write(way.away_percent, epoch=epoch, why=there))
    known = list(keys) or find_keys(router, path, way.away)
    prober = Prober(router.listen_url, path, known, rate)
    prober.start()
    try:
        time.sleep(hold_s + slowest_s)
        decided_at = time.time()
        version = router.write(way.home_percent, epoch=epoch, why="drill: back")
        acknowledged_s = router.acknowledged(version)
        settled_at = time.time() + slowest_s  # before that, nobody promised anything
        time.sleep(hold_s + slowest_s)
    finally:
        prober.stop()
    time.sleep(_LOG_DELAY_S)
    logged = [request for part in log_since(router, cursor) for request in part]
    return measure(prober.shots, logged, decided_at, settled_at, acknowledged_s, away=way.away)


def measure(
    shots: Sequence[Shot],
    logged: Sequence[Request],
    decided_at: float,
    settled_at: float,
    acknowledged_s: float,
    *,
    away: str = "candidate",
) -> Flip:
    """Return one flip's figures from what clients saw and what the router logged; Unix times."""
    drilled = [s for s in shots if s.served == away]
    own = _probes()
    users = [r for r in logged if r.tenant not in own]
    met = [r for r in logged if r.arm == away and r.started_at > settled_at]
    by_users = [r.started_at for r in met if r.tenant not in own]
    by_probes = max(
        [s.started_at for s in drilled if s.started_at > settled_at],
        [r.started_at for r in met if r.tenant in own],
        key=len,
    )
    after = by_users + by_probes
    last = max((s.ended_at for s in drilled), default=0.0)
    proofs = [s.ended_at for s in shots if not s.failed and s.ended_at > max(last, decided_at)]
    return Flip(
        seconds_to_zero=min(proofs, default=math.inf) - decided_at,
        acknowledged_s=acknowledged_s,
        probes=len(shots),
        canary_before=sum(s.ended_at <= decided_at for s in drilled),
        canary_after=len(by_probes),
        users=len(users),
        failed=sum(s.failed for s in shots) + sum(r.status >= 500 for r in users),
        log_after=len(by_users),
        settled_at=settled_at,
        last_after_at=max(after) if after else None,
    )


def _probes() -> frozenset[str | None]:
    """Return what stands in a router's log for the drill's own keys."""
    return frozenset(tenant_digest(f"drill-{n}") for n in range(_MOST_TRIES))


def find_keys(router: Router, path: str, away: str = "candidate") -> list[str]:
    """Return sticky keys that the present weight sends to the drilled side.

    Raises:
        Unavailable: of that many users not one landed there.
    """
    found: list[str] = []
    with httpx.Client(base_url=router.listen_url, timeout=5.0, trust_env=False) as client:
        for n in range(_MOST_TRIES):
            try:
                reply = client.get(path, headers={"x-tenant-id": f"drill-{n}"})
            except httpx.HTTPError as error:
                raise Unavailable(
                    f"{router.listen_url} does not answer: {type(error).__name__}.",
                    kept="the weights go back to where they were.",
                    remedy="qafila doctor",
                ) from error
            served = reply.headers.get("x-qafila-served")
            if served is None and n == 0:
                raise Unavailable(
                    f"router {router.name} does not say which side answers: there is no "
                    "x-qafila-served in its replies, so that a drill would prove nothing.",
                    kept="nobody met the drilled side for longer than a second.",
                    remedy="let both services answer with the header x-qafila-served: baseline or "
                    "candidate, then drill again",
                )
            if served == away:
                found.append(f"drill-{n}")
                if len(found) == _KEYS:
                    return found
    if not found:
        raise Unavailable(
            f"of {_MOST_TRIES} users none was sent to the {away} by router {router.name}.",
            kept="the weights go back to where they were.",
            remedy="qafila doctor",
        )
    return found


class Prober:
    """Asks as given users at a bounded rate from two threads, and notes who answered when."""

    def __init__(self, url: str, path: str, keys: Sequence[str], rate: float) -> None:
        self.shots: list[Shot] = []
        self._url, self._path, self._keys = url, path, keys
        self._every_s = 2 / rate
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(2)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop and wait for the last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, offset: int) -> None:
        with httpx.Client(base_url=self._url, timeout=5.0, trust_env=False) as client:
            due, n = time.monotonic(), offset
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                self.shots.append(self._shoot(client, self._keys[n % len(self._keys)]))
                due, n = due + self._every_s, n + 1

    def _shoot(self, client: httpx.Client, key: str) -> Shot:
        started = time.time()
        try:
            reply = client.get(self._path, headers={"x-tenant-id": key})
        except httpx.HTTPError:
            return Shot(started, time.time(), 0, None)
        served = reply.headers.get("x-qafila-served")
        return Shot(started, time.time(), reply.status_code, served)


def issue_certificate(
    ledger: Connection,
    generation: Generation,
    spec: Workload,
    judged: Judgement,
    versions: dict[str, Any],
    *,
    valid_hours: float,
    run_id: str | None,
    drilled: str = "candidate",
) -> dict[str, Any]:
    """Keep the drill as evidence and, when it passed, as a certificate; return the body.

    ``drilled`` is the side that users were sent to.
    """
    body: dict[str, Any] = {
        **judged.numbers,
        "weight": spec.rollout.drill_weight,
        "drilled": drilled,
        "versions": versions,
        "valid_hours": valid_hours,
        "router": spec.service.router.block,
    }
    with ledger.transaction():
        began = ledger.execute(statement("ledger", "transaction_began_at")).fetchone()
        assert began is not None
        body["issued_at"] = began[0].astimezone(UTC).isoformat()  # what the certificate gets, too
        number = record_evidence(
            ledger,
            "drill",
            judged.sentence,
            workload=spec.name,
            generation=generation.number,
            verdict=judged.verdict,
            body=body,
            run_id=run_id,
        )
        if judged.verdict is not Verdict.PASS:
            return body
        row = ledger.execute(
            statement("ledger", "issue_certificate"),
            {
                "workload": spec.name,
                "generation": generation.number,
                "router": spec.service.router.block,
                "versions": Jsonb(versions),
                "seconds_to_zero": judged.numbers["seconds_to_zero"],
                "failed_requests": judged.numbers["failed_requests"],
                "evidence_number": number,
                "valid_hours": valid_hours,
            },
        ).fetchone()
    assert row is not None
    return {**body, "certificate_id": row[0], "expires_at": row[1].isoformat()}
