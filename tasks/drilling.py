"""Rehearse the way back on live traffic, timed at the client."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from psycopg.types.json import Jsonb

from qafila.core.verdict import Judgement, Verdict
from qafila.core.workload import Workload
from qafila.errors import Unavailable
from qafila.sql import statement
from tasks.evidence import record_evidence
from tasks.ledger import Connection, Generation
from tasks.routers.port import Request, Router

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
class Flip:
    """One way to the drill weight and back.

    ``seconds_to_zero`` is from the decision to the moment a client had the baseline's answer and
    never the candidate's again: an upper bound, as fine as the probes are dense. ``log_after``
    counts user requests on the candidate, by the router's log, that started after it had
    acknowledged weight 0.
    """

    seconds_to_zero: float
    acknowledged_s: float
    probes: int
    canary_before: int
    canary_after: int
    users: int
    failed: int
    log_after: int


def fly(router: Router, weight: int, *, epoch: int, path: str, rate: float, hold_s: float) -> Flip:
    """Go to the drill weight and back once, under load, and return what was measured.

    Probes use the keys of users that the weight sends to the candidate: the hardest case.

    Raises:
        StaleEpoch: the lease was lost.
        Unavailable: the router did not acknowledge, or sends nobody to the candidate.
    """
    _, cursor = router.observed(None)
    router.acknowledged(router.write(weight, epoch=epoch, why=f"drill at {weight} %"))
    keys = find_keys(router, path)
    prober = Prober(router.listen_url, path, keys, rate)
    prober.start()
    try:
        time.sleep(hold_s)
        decided_at = time.time()
        acknowledged_s = router.acknowledged(router.write(0, epoch=epoch, why="drill: back"))
        settled_at = time.time()
        time.sleep(hold_s)
    finally:
        prober.stop()
    time.sleep(_LOG_DELAY_S)
    logged, _ = router.observed(cursor)
    return _measure(prober.shots, logged, decided_at, settled_at, acknowledged_s)


def _measure(
    shots: Sequence[Shot],
    logged: Sequence[Request],
    decided_at: float,
    settled_at: float,
    acknowledged_s: float,
) -> Flip:
    canary = [s for s in shots if s.served == "candidate"]
    last = max((s.ended_at for s in canary), default=0.0)
    proofs = [s.ended_at for s in shots if not s.failed and s.ended_at > max(last, decided_at)]
    return Flip(
        seconds_to_zero=min(proofs, default=math.inf) - decided_at,
        acknowledged_s=acknowledged_s,
        probes=len(shots),
        canary_before=sum(s.ended_at <= decided_at for s in canary),
        canary_after=sum(s.started_at > settled_at for s in canary),
        users=len(logged),
        failed=sum(s.failed for s in shots) + sum(r.status >= 500 for r in logged),
        log_after=sum(r.arm == "candidate" and r.started_at > settled_at for r in logged),
    )


def find_keys(router: Router, path: str) -> list[str]:
    """Return sticky keys that the present weight sends to the candidate.

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
                    kept="the baseline.",
                    remedy="qafila doctor",
                ) from error
            if reply.headers.get("x-qafila-served") == "candidate":
                found.append(f"drill-{n}")
                if len(found) == _KEYS:
                    return found
    if not found:
        raise Unavailable(
            f"of {_MOST_TRIES} users none was sent to the candidate by router {router.name}.",
            kept="the baseline.",
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


def judge_flips(flips: Sequence[Flip], most_seconds: float) -> Judgement:
    """Say whether the way back is fast, complete and without a failed request."""
    seconds = max(f.seconds_to_zero for f in flips)
    failed = sum(f.failed for f in flips)
    after = sum(f.canary_after + f.log_after for f in flips)
    requests = sum(f.probes + f.users for f in flips)
    reached = min(f.canary_before for f in flips)
    numbers: dict[str, object] = {
        "seconds_to_zero": round(seconds, 4),
        "acknowledged_s": round(max(f.acknowledged_s for f in flips), 4),
        "requests": requests,
        "failed_requests": failed,
        "canary_requests_after": after,
        "flips": len(flips),
    }
    shown = (
        f"to the drill weight and back {len(flips)} times under load: {seconds * 1000:.0f} ms "
        f"until nobody met the canary, {failed} of {requests} failed"
    )
    if not reached:
        return Judgement(Verdict.INCONCLUSIVE, f"{shown}; no probe met the canary before.", numbers)
    if after:
        return Judgement(
            Verdict.FAIL, f"{shown}; {after} met the canary after weight 0 was taken.", numbers
        )
    if failed or seconds > most_seconds:
        return Judgement(Verdict.FAIL, f"{shown}; at most {most_seconds:g} s and 0.", numbers)
    return Judgement(Verdict.PASS, f"{shown}.", numbers)


def issue_certificate(
    ledger: Connection,
    generation: Generation,
    spec: Workload,
    judged: Judgement,
    versions: dict[str, Any],
    *,
    valid_hours: float,
    run_id: str | None,
) -> dict[str, Any]:
    """Keep the drill as evidence and, when it passed, as a certificate; return the body."""
    body: dict[str, Any] = {
        **judged.numbers,
        "weight": spec.rollout.drill_weight,
        "versions": versions,
        "valid_hours": valid_hours,
    }
    with ledger.transaction():
        number = record_evidence(
            ledger, "drill", judged.sentence, workload=spec.name, generation=generation.number,
            verdict=judged.verdict, body=body, run_id=run_id,
        )  # fmt: skip
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
