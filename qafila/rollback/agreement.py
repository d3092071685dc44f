"""Do ledger, router file and router say the same about the weights? And what to do if not.

Asked before anything is written. Where they differ nobody guesses: a person takes the router's
state as the truth (``adopt``) or has what the ledger says written again (``restore``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.rows import dict_row

from qafila.errors import Disagreement, Refused, Unavailable
from qafila.ledger.evidence import latest_evidence, record_evidence
from qafila.ledger.leases import LeaseRow, read_lease, release_lease, take_lease
from qafila.ledger.ledger import Connection, newest_generation
from qafila.rollback.rollback import generations_on_the_road
from qafila.routers.highest_weight import read_highest_weight
from qafila.routers.port import Router, RouterState
from qafila.sql import statement
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict

ADOPTED, RESTORED = "router-adopted", "router-restored"
_SETTLES_S = 1.0


@dataclass(frozen=True)
class Agreement:
    """What each place says. ``expected`` is the ledger's weight in percent, ``because`` why.

    ``expected`` is None where the ledger has no opinion: after ``settle``, and while a living
    canary moves the weights. ``written`` is what the configuration holds, ``reported`` what
    it works with; None where it does not say. ``problems`` is empty when they agree.
    """

    workload: str
    router: str
    expected: int | None
    because: str
    lease: LeaseRow | None
    written: RouterState | None
    reported: RouterState | None
    problems: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        return not self.problems

    def said(self) -> Mapping[str, str]:
        """Return each place's sentence, for errors and screens."""
        weight = "no opinion" if self.expected is None else f"{self.expected} %"
        epoch = 0 if self.lease is None else self.lease.epoch
        holder = "nobody" if self.lease is None else self.lease.holder or "nobody"
        return {
            "ledger": f"{weight} on the candidate ({self.because}); lease at epoch {epoch}, held "
            f"by {holder}",
            "written": _told(self.written, "cannot be read"),
            "reported": _told(self.reported, "the router does not say"),
        }

    def body(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return {**asdict(self), "agrees": self.agrees, "problems": [*self.problems]}


def compare(ledger: Connection, spec: Workload, router: Router) -> Agreement:
    """Return what ledger, configuration and router say about the weights; changes nothing.

    A router that has not taken its newest configuration yet is given a second to do so.
    """
    lease = read_lease(ledger, spec.name)
    problems: list[str] = []
    written: RouterState | None = None
    reported: RouterState | None = None
    try:
        written, reported = _both(router)
    except Unavailable as error:
        problems.append(error.what)
    expected, because = _expected(ledger, spec.name, lease, written)
    if written is not None:
        if reported is not None and _weights(reported) != _weights(written):
            problems.append(
                f"the router works with {_told(reported)}, its configuration holds "
                f"{_told(written)}."
            )
        if expected is not None and written.candidate_percent != expected:
            problems.append(
                f"the ledger says {expected} % on the candidate ({because}), the router's "
                f"configuration {written.candidate_percent} %."
            )
        trial = written.twin_percent or written.mirror_percent
        if trial and (lease is None or lease.holder is None):
            problems.append(f"the router holds {_told(written)}, and nobody holds the lease.")
    return Agreement(
        spec.name, router.name, expected, because, lease, written, reported, tuple(problems)
    )


def require_agreement(ledger: Connection, spec: Workload, router: Router) -> Agreement:
    """Return what they agree on.

    Raises:
        Disagreement: they do not; shows each, and offers to adopt or to restore.
    """
    found = compare(ledger, spec, router)
    if not found.agrees:
        raise Disagreement(
            f"router {router.name} and the ledger disagree about {spec.name}: "
            + " ".join(found.problems),
            found.said(),
            kept="all weights, as each place has them.",
            remedy=f"look: qafila router show {spec.name}; then take the router's state as the "
            f'truth: qafila router adopt {spec.name} --why "…"; or write what the ledger says: '
            f"qafila router restore {spec.name}",
        )
    return found


def adopt(ledger: Connection, spec: Workload, router: Router, why: str) -> Agreement:
    """Take what the router works with as the truth, as evidence; write nothing to it.

    From then on the ledger expects exactly this version, and every epoch is above the router's.

    Raises:
        Refused: a rollout is alive, or the router does not agree with itself.
    """
    found = compare(ledger, spec, router)
    if found.written is None or (
        found.reported is not None and _weights(found.reported) != _weights(found.written)
    ):
        raise Refused(
            f"router {router.name} does not agree with itself: there is no one state to adopt.",
            kept="all weights.",
            remedy=f"qafila router restore {spec.name}",
        )
    epoch = take_lease(ledger, spec.name, "router adopt", above=found.written.epoch)
    try:
        record_evidence(
            ledger,
            ADOPTED,
            f"{spec.name}: the router's state is taken as the truth: {_told(found.written)}. "
            f"Why: {why}",
            workload=spec.name,
            verdict=Verdict.PASS,
            body={"said": dict(found.said()), **asdict(found.written), "why": why},
        )
    finally:
        release_lease(ledger, spec.name, epoch)
    return compare(ledger, spec, router)


def restore(ledger: Connection, spec: Workload, router: Router, why: str) -> Agreement:
    """Write the weight that the ledger says, wait for the router to take it, keep it as evidence.

    Only 0 and what was promoted: 100. In between nobody would judge; the way out is a rollback.

    Raises:
        Refused: a rollout is alive, or the ledger says neither 0 nor 100.
        Unavailable: the router did not take it.
    """
    found = compare(ledger, spec, router)
    weight, because = _by_phase(ledger, spec.name)
    if weight not in (0, 100):
        raise Refused(
            f"the ledger does not say 0 or 100 for {spec.name}: {because}.",
            kept="all weights.",
            remedy=f"qafila rollback {spec.name}",
        )
    before = read_highest_weight(router)
    epoch = take_lease(ledger, spec.name, "router restore", above=before.epoch)
    try:
        acknowledged_s = router.acknowledged(router.write(weight, epoch=epoch, why=why))
        record_evidence(
            ledger,
            RESTORED,
            f"{spec.name}: {weight} % on the candidate is written again ({because}), acknowledged "
            f"in {acknowledged_s * 1000:.0f} ms. Why: {why}",
            workload=spec.name,
            verdict=Verdict.PASS,
            body={
                "said": dict(found.said()),
                "weight": weight,
                "epoch": epoch,
                "why": why,
                "acknowledged_s": round(acknowledged_s, 4),
            },
        )
    finally:
        release_lease(ledger, spec.name, epoch)
    return compare(ledger, spec, router)


def _both(router: Router) -> tuple[RouterState, RouterState | None]:
    end = time.monotonic() + _SETTLES_S
    while True:
        written, reported = router.read(), router.reported()
        same = reported is None or _weights(reported) == _weights(written)
        if same or time.monotonic() > end:
            return written, reported
        time.sleep(0.02)


def _expected(
    ledger: Connection, workload: str, lease: LeaseRow | None, written: RouterState | None
) -> tuple[int | None, str]:
    adopted = latest_evidence(ledger, workload, ADOPTED)
    if adopted is not None and written is not None and adopted.body["version"] == written.version:
        return written.candidate_percent, f"adopted by evidence {adopted.number}"
    weight, because = _by_phase(ledger, workload)
    alive = lease is not None and lease.holder is not None and not lease.lapsed
    if alive and lease is not None and written is not None and written.epoch == lease.epoch:
        return None, f"{lease.holder} is moving the weights"
    return weight, because


def _by_phase(ledger: Connection, workload: str) -> tuple[int | None, str]:
    """Return the weight that the phases and looks stand for, and why."""
    road = generations_on_the_road(ledger, workload)
    if not road:
        newest = newest_generation(ledger, workload)
        if newest is not None and newest.phase in (Phase.SETTLED, Phase.CLEANED):
            return None, f"generation {newest.number} is {newest.phase}"
        phase = "there is none" if newest is None else f"g{newest.number} is {newest.phase}"
        return 0, f"no generation is in front of users: {phase}"
    number = road[0].number
    if road[0].phase == Phase.PROMOTED:
        return 100, f"g{number} is promoted"
    with ledger.cursor(row_factory=dict_row) as cursor:
        key = {"workload": workload, "generation": number}
        look = cursor.execute(statement("canary", "last_weight"), key).fetchone()
    if look is None:
        return None, f"g{number} is in canary and was never looked at"
    return int(look["weight"]), f"g{number} is in canary, look {look['number']}"


def _weights(state: RouterState) -> tuple[int, int, int]:
    return state.candidate_percent, state.twin_percent, state.mirror_percent


def _told(state: RouterState | None, otherwise: str = "nothing") -> str:
    if state is None:
        return otherwise
    more = "".join(
        f", {percent} % {what}"
        for percent, what in ((state.twin_percent, "twin"), (state.mirror_percent, "mirror"))
        if percent
    )
    return f"{state.candidate_percent} % on the candidate{more} (epoch {state.epoch})"
