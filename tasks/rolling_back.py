"""Bring a workload back to its baseline: weights, pointer row, phase, proven by traffic.

Needs the ledger and the router's folder, never the Prefect server. Coming down is always
allowed: the lease is taken from whoever holds it, and the new epoch fences them off.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import psycopg
from psycopg.rows import class_row

from qafila.core.corpus import PgvectorTarget
from qafila.core.phases import Event, Phase
from qafila.core.verdict import Verdict
from qafila.core.workload import Workload
from qafila.errors import QafilaError, Refused, Unavailable
from qafila.sql import statement
from tasks.alias import read_alias, return_alias
from tasks.edges import router_of
from tasks.evidence import record_evidence
from tasks.leases import read_lease, release_lease, take_lease
from tasks.ledger import Connection, Generation, move_phase, read_workload
from tasks.routers.port import Request, Router

PROOF_SECONDS = 1.0
_LOG_DELAY_S = 0.35  # Envoy flushes its access log a few times a second
_PROBES = 20


@dataclass(frozen=True)
class RolledBack:
    """How a rollback ended.

    ``seconds_to_zero`` is from the decision to the router's acknowledgement or to the start of the
    last user request that reached the candidate by its log, whichever is later. ``acknowledged_s``
    is None when the router does not run: its file then holds the weights it will start with.
    """

    workload: str
    generations: tuple[int, ...]
    already: bool
    from_weight: int
    final_weight: int
    seconds_to_zero: float
    acknowledged_s: float | None
    requests_after: int
    canary_requests_after: int
    verdict: Verdict
    sentence: str
    why: str

    def body(self) -> dict[str, Any]:
        """Return the values as evidence keeps them."""
        return {**asdict(self), "verdict": self.verdict.value, "generations": [*self.generations]}


def roll_back(
    ledger: Connection,
    workload: str,
    why: str,
    *,
    holder: str = "rollback",
    run_id: str | None = None,
    event: Event = Event.ROLLBACK,
    proof_seconds: float = PROOF_SECONDS,
) -> RolledBack:
    """Give the baseline all traffic, prove it, and put pointer row and phase back. Idempotent.

    ``event`` is what moves a generation in phase ``canary``: an abort or an operator's rollback.
    The weights fall first; whatever fails after that is reported, and can be called again: a
    generation whose pointer row was not moved keeps its phase. Where generations are columns of
    the application's table, users meet them without the router: the names are swapped back at the
    same time, and also when the router's file cannot be read.

    Raises:
        Refused: there is no such workload or router.
        StaleEpoch: a rollback that started later was faster.
    """
    spec, _ = read_workload(ledger, workload)
    router = router_of(ledger, spec)
    try:
        return _roll_back(ledger, spec, router, why, holder, run_id, event, proof_seconds)
    finally:
        router.close()


def _roll_back(
    ledger: Connection,
    spec: Workload,
    router: Router,
    why: str,
    holder: str,
    run_id: str | None,
    event: Event,
    proof_seconds: float,
) -> RolledBack:
    lease = read_lease(ledger, spec.name)
    road = generations_on_the_road(ledger, spec.name)
    numbers = [g.number for g in road]
    target = spec.corpus.target
    by_name = isinstance(target, PgvectorTarget) and target.column is not None
    try:
        before = router.read()
    except Unavailable:
        if road and by_name:
            epoch = take_lease(ledger, spec.name, holder, run_id=run_id, force=True)
            try:
                _return_pointer(ledger, spec, numbers, epoch)
            finally:
                release_lease(ledger, spec.name, epoch)
        raise
    away = bool(before.candidate_percent or before.twin_percent or road)
    if not away and (lease is None or lease.holder is None):
        return RolledBack(
            spec.name, (), True, 0, 0, 0.0, None, 0, 0, Verdict.PASS,
            f"{spec.name} is on its baseline already; nothing was changed.", why,
        )  # fmt: skip

    epoch = take_lease(ledger, spec.name, holder, run_id=run_id, force=True)
    try:
        _, cursor = router.observed(None)
        decided_at = time.time()
        # A ledger that was set up anew counts from 1 again; the way down may not fail for that.
        version = router.write(0, epoch=max(epoch, before.epoch), why=why)
        with ThreadPoolExecutor(1) as beside:  # the table may be held for long, the router be down
            returning = (
                beside.submit(_return_pointer, ledger, spec, numbers, epoch) if by_name else None
            )
            acknowledged_s = _acknowledged(router, version)
            settled_at = time.time()
            if returning is None:  # a candidate that is still asked must find its table
                returning = beside.submit(_return_pointer, ledger, spec, numbers, epoch)
            strays = _probe(router) if acknowledged_s is not None else 0
            seen = _watch(router, cursor, settled_at + proof_seconds)
            problem = returning.result()
        after = [r for r in seen if r.started_at > settled_at]
        late = [r.started_at for r in seen if r.arm == "candidate" and r.started_at > decided_at]
        canary_after = sum(r.arm == "candidate" for r in after) + strays
        seconds_to_zero = max([acknowledged_s or 0.0, *(at - decided_at for at in late)])
        verdict, sentence = _verdict(
            spec.name, acknowledged_s, len(after), canary_after, problem, seconds_to_zero
        )
        outcome = RolledBack(
            workload=spec.name,
            generations=tuple(numbers),
            already=False,
            from_weight=before.candidate_percent,
            final_weight=router.read().candidate_percent,
            seconds_to_zero=round(seconds_to_zero, 4),
            acknowledged_s=None if acknowledged_s is None else round(acknowledged_s, 4),
            requests_after=len(after),
            canary_requests_after=canary_after,
            verdict=verdict,
            sentence=sentence,
            why=why,
        )
        record_evidence(
            ledger,
            "rollback",
            f"{sentence} Why: {why}",
            workload=spec.name,
            generation=numbers[0] if numbers else None,
            verdict=verdict,
            body=outcome.body(),
            run_id=run_id,
        )
        # Last, so that who sees the phase finds the evidence. While the pointer row still names the
        # generation it stays on the road, so that live sync feeds what serves, and the next call
        # finds something to take back.
        for generation in road if problem is None else ():
            onward = event if generation.phase == Phase.CANARY else Event.ROLLBACK
            move_phase(ledger, generation, onward)
        return outcome
    finally:
        release_lease(ledger, spec.name, epoch)


def generations_on_the_road(ledger: Connection, workload: str) -> list[Generation]:
    """Return the generation to take back, if there is one: the newest in canary or promoted.

    What is promoted below one that was rolled back is what that rollback returned to: it stays.
    """
    with ledger.cursor(row_factory=class_row(Generation)) as cursor:
        return cursor.execute(
            statement("canary", "generations_on_the_road"), {"workload": workload}
        ).fetchall()


def _acknowledged(router: Router, version: str) -> float | None:
    try:
        return router.acknowledged(version, timeout_s=3.0)
    except Unavailable:
        return None


def _probe(router: Router) -> int:
    """Ask as that many different users; return how many the candidate answered."""
    strays = 0
    with httpx.Client(base_url=router.listen_url, timeout=2.0, trust_env=False) as client:
        for n in range(_PROBES):
            try:
                reply = client.get("/health", headers={"x-tenant-id": f"rollback-probe-{n}"})
            except httpx.HTTPError:
                continue
            strays += reply.headers.get("x-qafila-served") == "candidate"
    return strays


def _watch(router: Router, cursor: int, until: float) -> Sequence[Request]:
    """Return what the router logged until then, and what it flushed a little later."""
    time.sleep(max(0.0, until + _LOG_DELAY_S - time.time()))
    return router.observed(cursor)[0]


def _return_pointer(
    ledger: Connection, spec: Workload, generations: Sequence[int], epoch: int
) -> str | None:
    """Put the pointer row back; return what went wrong, if anything: the weights stay down."""
    from blocks.postgres import PostgresDatabase  # late: loading Prefect's classes takes a second
    from tasks.connections import connection

    if not isinstance(spec.corpus.target, PgvectorTarget):
        return None
    try:
        block = connection(ledger, spec.corpus.target.block, PostgresDatabase)
        with block.connect() as target:
            now = read_alias(target, spec.name)
            if now is not None:
                return_alias(target, spec.name, generations, max(epoch, now.epoch))
    except QafilaError as error:
        return error.what
    except psycopg.Error as error:
        return f"the target says: {str(error).strip().splitlines()[0]}"
    return None


def _verdict(
    name: str,
    acknowledged_s: float | None,
    requests_after: int,
    canary_after: int,
    problem: str | None,
    seconds_to_zero: float,
) -> tuple[Verdict, str]:
    if canary_after:
        return Verdict.FAIL, (
            f"{name}: {canary_after} requests reached the candidate after weight 0 was taken."
        )
    if problem is not None:
        return Verdict.ERROR, (
            f"{name}: all traffic is on the baseline, but the pointer row was not moved: {problem}"
        )
    if acknowledged_s is None:
        return Verdict.INCONCLUSIVE, (
            f"{name}: weight 0 is written; the router does not answer, and starts with it."
        )
    seen = f"{requests_after} user requests since, none of them on the candidate"
    return Verdict.PASS, (
        f"{name} is on its baseline {seconds_to_zero * 1000:.0f} ms after the decision, "
        f"acknowledged in {acknowledged_s * 1000:.0f} ms; {seen}."
    )


def refuse_if_unproven(outcome: RolledBack) -> None:
    """Turn a rollback that is not proven into an error, after it was kept as evidence.

    Raises:
        Refused: the candidate still got requests.
        Unavailable: the router or the target did not answer.
    """
    again = f"qafila doctor, then again: qafila rollback {outcome.workload}"
    if outcome.verdict is Verdict.FAIL:
        raise Refused(outcome.sentence, kept="weight 0 in the router's file.", remedy=again)
    if outcome.verdict is not Verdict.PASS:
        raise Unavailable(outcome.sentence, kept="weight 0 in the router's file.", remedy=again)
