"""Bring a workload back to its baseline: weights, pointer row, phase, proven by traffic.

Needs the ledger and the router, never the Prefect server; without a ledger there is the rollback
card (``rollback_by_card``). Coming down is always allowed: the lease is taken from whoever
holds it, and the new epoch fences them off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from qafila.errors import Inconclusive, Refused, Unavailable
from qafila.ledger.connections import recorded_in
from qafila.ledger.evidence import record_evidence
from qafila.ledger.evidence_head import keep_head
from qafila.ledger.leases import read_lease, release_lease, take_lease
from qafila.ledger.ledger import Connection, Generation, identity_if_any, move_phase, read_workload
from qafila.rollback.old_side import require_in_step
from qafila.rollback.traffic import (
    PROOF_SECONDS,
    Descent,
    descend,
    put_pointer_back,
    reaches_candidate,
)
from qafila.routers.highest_weight import read_highest_weight
from qafila.routers.lookup import router_of
from qafila.routers.port import Router
from qafila.sql import statement
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload
from qafila.workload.phases import Event, Phase
from qafila.workload.verdict import Verdict

Tell = Callable[[str], None]


@dataclass(frozen=True)
class RolledBack:
    """How a rollback ended.

    ``seconds_to_zero`` is from the decision to the router's acknowledgement, to the start of the
    last user request that reached the candidate by its log, or to the end of the time for which
    clients may hold to the old weights (``holds_after_s``, a DNS record's time to live), whichever
    is latest. ``old_side`` says whether what was written since the promotion is also there.
    ``last_canary_request_at`` is when the last request that the candidate got after weight 0 was
    taken had started; there is none in a proven rollback.
    ``acknowledged_s`` is None when the router does not run: its file then holds the
    weights it will start with. ``not_shown`` is what the router cannot show, a sentence each.
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
    epoch: int = 0
    probes: int = 0
    holds_after_s: float = 0.0
    not_shown: tuple[str, ...] = ()
    by: str = "ledger"
    old_side: str = ""
    last_canary_request_at: str | None = None

    @classmethod
    def by_descent(
        cls,
        down: Descent,
        workload: str,
        generations: Sequence[int],
        *,
        from_weight: int,
        epoch: int,
        why: str,
        said: str = "",
        by: str = "ledger",
        old_side: str = "",
    ) -> RolledBack:
        """Return how a way down ended; ``said`` follows its own sentence."""
        return cls(
            workload=workload,
            generations=tuple(generations),
            already=False,
            from_weight=from_weight,
            final_weight=down.final_weight,
            seconds_to_zero=down.seconds_to_zero,
            acknowledged_s=down.acknowledged_s,
            requests_after=down.requests_after,
            canary_requests_after=down.canary_requests_after,
            verdict=down.verdict,
            sentence=f"{down.sentence}{said}",
            why=why,
            epoch=epoch,
            probes=down.probes,
            holds_after_s=down.holds_after_s,
            not_shown=down.not_shown,
            by=by,
            old_side=old_side,
            last_canary_request_at=down.last_canary_request_at,
        )

    def body(self) -> dict[str, Any]:
        """Return the values as evidence keeps them."""
        return {
            **asdict(self),
            "verdict": self.verdict.value,
            "generations": [*self.generations],
            "not_shown": [*self.not_shown],
        }


def roll_back(
    ledger: Connection,
    workload: str,
    why: str,
    *,
    holder: str = "rollback",
    run_id: str | None = None,
    event: Event = Event.ROLLBACK,
    proof_seconds: float = PROOF_SECONDS,
    wait_s: float | None = None,
    now: bool = False,
    tell: Tell = lambda line: None,
) -> RolledBack:
    """Give the baseline all traffic, prove it, and put pointer row and phase back. Idempotent.

    Where all is back already, traffic is looked at once more, and weight 0 written again if the
    candidate still gets a request.

    ``event`` is what moves a generation in phase ``canary``: an abort or an operator's rollback.
    The weights fall first; whatever fails after that is reported, and can be called again: a
    generation whose pointer row was not moved keeps its phase. Where generations are columns of
    the application's table, users meet them without the router: the names are swapped back at the
    same time, and also when the router's file cannot be read.

    With ``wait_s`` a *promoted* generation that live sync follows is taken back only when the one
    before has every write of before this call: waited for so long, or not at all with ``now``,
    which only says what is missing. A canary is never waited for.

    At the end the head of the evidence chain is signed and kept in the home folder.

    Raises:
        Refused: there is no such workload or router; or the old side is behind, and nothing was
            touched.
        StaleEpoch: a rollback that started later was faster.
    """
    spec, _ = read_workload(ledger, workload)
    router = router_of(ledger, spec)
    road = generations_on_the_road(ledger, workload)
    promoted = bool(road) and road[0].phase == Phase.PROMOTED and spec.corpus.live_sync
    try:
        old_side = ""
        if promoted and wait_s is not None:
            old_side = require_in_step(
                ledger, spec, road[0].number, wait_s=wait_s, now=now, tell=tell
            )
        outcome = _roll_back(
            ledger, spec, router, road, why, holder, run_id, event, proof_seconds, old_side
        )
    finally:
        router.close()
    with suppress(psycopg.Error):  # it is done: only the copy of the head is missing
        keep_head(ledger)
    return outcome


def _roll_back(
    ledger: Connection,
    spec: Workload,
    router: Router,
    road: Sequence[Generation],
    why: str,
    holder: str,
    run_id: str | None,
    event: Event,
    proof_seconds: float,
    old_side: str,
) -> RolledBack:
    lease = read_lease(ledger, spec.name)
    numbers = [g.number for g in road]
    target = spec.corpus.target
    by_name = isinstance(target, PgvectorTarget) and target.column is not None

    found, ours = recorded_in(ledger)(target.block), identity_if_any(ledger)

    def put_back(epoch: int) -> str | None:
        if not isinstance(target, PgvectorTarget):
            return None
        return put_pointer_back(found, target.block, spec.name, numbers, epoch, ledger=ours)

    try:
        before = read_highest_weight(router)
    except Unavailable:
        if road and by_name:
            epoch = take_lease(ledger, spec.name, holder, run_id=run_id, force=True)
            try:
                put_back(epoch)
            finally:
                release_lease(ledger, spec.name, epoch)
        raise
    away = bool(before.candidate_percent or before.twin_percent or before.mirror_percent or road)
    idle = not away and (lease is None or lease.holder is None)
    if idle and not reaches_candidate(router, proof_seconds):
        return RolledBack(
            spec.name,
            (),
            True,
            0,
            0,
            0.0,
            None,
            0,
            0,
            Verdict.PASS,
            _already(ledger, spec.name),
            why,
            epoch=before.epoch,
        )

    # Newer than whoever wrote the router last, also where the ledger was set up anew.
    epoch = take_lease(ledger, spec.name, holder, run_id=run_id, force=True, above=before.epoch)
    try:
        down = descend(
            router,
            spec.name,
            epoch=epoch,
            why=why,
            put_back=lambda: put_back(epoch),
            beside=by_name,
            proof_seconds=proof_seconds,
        )
        outcome = RolledBack.by_descent(
            down,
            spec.name,
            numbers,
            from_weight=before.candidate_percent,
            epoch=epoch,
            why=why,
            said=f" Live sync: {old_side}." if old_side else "",
            old_side=old_side,
        )
        record_evidence(
            ledger,
            "rollback",
            f"{outcome.sentence} Why: {why}",
            workload=spec.name,
            generation=numbers[0] if numbers else None,
            verdict=down.verdict,
            body=outcome.body(),
            run_id=run_id,
        )
        # Last, so that who sees the phase finds the evidence. While the pointer row still names the
        # generation it stays on the road, so that live sync feeds what serves, and the next call
        # finds something to take back.
        for generation in road if down.problem is None else ():
            onward = event if generation.phase == Phase.CANARY else Event.ROLLBACK
            move_phase(ledger, generation, onward)
        return outcome
    finally:
        release_lease(ledger, spec.name, epoch)


def _already(ledger: Connection, name: str) -> str:
    """Say that there is nothing to take back, and where somebody who wants more has to turn to."""
    said = f"{name} is on its baseline already; nothing was changed."
    row = ledger.execute(statement("canary", "returned_to"), {"workload": name}).fetchone()
    if row is None:
        return said
    stays, taken_back = row
    return (
        f"{said} Generation {taken_back} was taken back to generation {stays}, which stays: a "
        f"rollback goes back by one. If generation {stays} is bad as well, apply the file that "
        f"meant what served before it, then: qafila run migrate-workload {name}"
    )


def generations_on_the_road(ledger: Connection, workload: str) -> list[Generation]:
    """Return the generation to take back, if there is one: the newest in canary or promoted.

    What is promoted below one that was rolled back is what that rollback returned to: it stays.
    """
    with ledger.cursor(row_factory=class_row(Generation)) as cursor:
        return cursor.execute(
            statement("canary", "generations_on_the_road"), {"workload": workload}
        ).fetchall()


def was_left_by(ledger: Connection, workload: str, run_id: str) -> bool:
    """Say whether a run that ended left something to take back.

    It did when it holds the lease still, or when nobody does and a generation is in canary. Another
    rollout of the same workload is so left alone.
    """
    lease = read_lease(ledger, workload)
    if lease is not None and lease.holder is not None:
        return lease.holder_run == run_id
    return any(g.phase == Phase.CANARY for g in generations_on_the_road(ledger, workload))


def refuse_if_unproven(outcome: RolledBack) -> None:
    """Turn a rollback that is not proven into an error, after it was kept as evidence.

    Raises:
        Refused: the candidate still got requests.
        Inconclusive: the router took weight 0, and no traffic was seen to prove it.
        Unavailable: the router or the target did not answer.
    """
    again = f"qafila doctor, then again: qafila rollback {outcome.workload}"
    kept = "weight 0 in the router's file."
    if outcome.verdict is Verdict.FAIL:
        raise Refused(outcome.sentence, kept=kept, remedy=again)
    if outcome.verdict is Verdict.INCONCLUSIVE and outcome.acknowledged_s is not None:
        raise Inconclusive(outcome.sentence, kept=kept, remedy="look at the service's own traffic.")
    if outcome.verdict is not Verdict.PASS:
        raise Unavailable(outcome.sentence, kept=kept, remedy=again)
