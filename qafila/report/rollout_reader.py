"""Collect what the ledger knows about one rollout, for its page and for its run's artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from psycopg.rows import class_row, dict_row

from qafila.errors import Refused
from qafila.ledger.approvals import read_approval
from qafila.ledger.certificates import counted
from qafila.ledger.evidence import check_chain
from qafila.ledger.ledger import Connection, read_workload
from qafila.report.canary_chart import Span
from qafila.report.facts import ChainState, EvidenceRow
from qafila.report.rollout import Artifacts
from qafila.report.rollout_facts import Answer, Asked, RolloutFacts
from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.plan import limits_of
from qafila.sql import statement
from qafila.workload.model import Objectives, Rollout
from qafila.workload.timetable import closed

_FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
_BEFORE = timedelta(seconds=5)
_MOST_CHECKED = 500  # looks whose hours are computed: a hold is drawn as finely as that


def rollouts_of(ledger: Connection, workload: str) -> list[dict[str, Any]]:
    """Return rollout, generation and began_at of every rollout, oldest first."""
    return _rows(ledger, "rollouts_of", {"workload": workload})


def collect_rollout(ledger: Connection, workload: str, rollout: str | None = None) -> RolloutFacts:
    """Return what the ledger says about one rollout now, the newest by default.

    Raises:
        Refused: there is no such workload, or no such rollout.
    """
    read_workload(ledger, workload)  # refuses an unknown name, naming those that are known
    with ledger.transaction():
        check = check_chain(ledger)  # first: it holds the chain's head, so that rows below agree
        head = ledger.execute(statement("report", "evidence_head")).fetchone()
        assert head is not None
        chain = ChainState(check.rows, check.problems, head[0], head[1])
        known = rollouts_of(ledger, workload)
        return _collect(ledger, workload, known, _choose(workload, known, rollout), chain)


def newest_rollout(
    ledger: Connection, workload: str, generation: int, chain: ChainState
) -> RolloutFacts | None:
    """Return the newest rollout of one generation, the chain having been checked; None: none."""
    known = rollouts_of(ledger, workload)
    places = [n for n, one in enumerate(known) if one["generation"] == generation]
    return _collect(ledger, workload, known, places[-1], chain) if places else None


def artifacts_of(ledger: Connection, workload: str, rollout: str) -> Artifacts:
    """Return what a canary's run shows, from what it has just kept: see ``report.rollout``.

    Raises:
        Refused: the rollout left neither a look nor evidence.
    """
    return Artifacts(collect_rollout(ledger, workload, rollout))


def kept_calibration(calibration: Calibration | None) -> dict[str, Any] | None:
    """Return what evidence keeps of an A/A bake: of its tenants their number, not who they are."""
    if calibration is None:
        return None
    return {**asdict(calibration), "tenants": len(calibration.tenants)}


def _choose(workload: str, known: Sequence[Mapping[str, Any]], rollout: str | None) -> int:
    if not known:
        raise Refused(
            f"{workload} had no rollout yet.",
            kept="everything; nothing was written.",
            remedy=f"its evidence as lines: qafila evidence rows {workload}",
        )
    names = [k["rollout"] for k in known]
    if rollout is None:
        return len(names) - 1
    if rollout not in names:
        raise Refused(
            f"{workload} had no rollout {rollout}; it had: {', '.join(names)}.",
            kept="everything; nothing was written.",
            remedy=f"qafila evidence export {workload} --rollout {names[-1]}",
        )
    return names.index(rollout)


def _collect(
    ledger: Connection,
    workload: str,
    known: Sequence[Mapping[str, Any]],
    place: int,
    chain: ChainState,
) -> RolloutFacts:
    now = datetime.now(UTC)
    mine = known[place]
    later = [k["began_at"] for k in known[place + 1 :]]
    key: dict[str, Any] = {
        "workload": workload,
        "generation": mine["generation"],
        "rollout": mine["rollout"],
        "began_at": mine["began_at"],
        "next_at": later[0] if later else _FOR_EVER,
    }
    looks = canary_looks(ledger, mine["rollout"])
    with ledger.cursor(row_factory=class_row(EvidenceRow)) as cursor:
        ended = cursor.execute(statement("rollouts", "end_of"), key).fetchone()
    if not looks and ended is not None:  # it went back before it looked: its row came last
        lasted = float(ended.body.get("seconds") or 0.0)
        key["began_at"] = ended.recorded_at - timedelta(seconds=lasted) - _BEFORE
    key["ended_at"] = ended.recorded_at if ended is not None else key["next_at"]
    approvals = _approvals(ledger, key)
    key["approvals"] = [a.id for a in approvals]
    with ledger.cursor(row_factory=class_row(EvidenceRow)) as cursor:
        rows = cursor.execute(statement("rollouts", "rows_for"), key).fetchall()
    generation = _rows(ledger, "read_generation", {**key, "number": mine["generation"]}, "ledger")
    spec = _rows(ledger, "spec_at", {**key, "revision": generation[0]["revision"]}, "report")
    meant = spec[0]["spec"]
    # An older revision may lack what the file says today: the models fill in their defaults.
    rollout = Rollout.model_validate(meant.get("rollout", {}))
    certificate = counted(ledger, _rows(ledger, "certificate_at", key))
    return RolloutFacts(
        rollout=mine["rollout"],
        workload=workload,
        generation=mine["generation"],
        phase=generation[0]["phase"],
        owner=str(meant.get("owner") or "not named"),
        criticality=str(meant.get("criticality") or "unknown"),
        revision=generation[0]["revision"],
        limits=limits_of(Objectives.model_validate(meant.get("objectives", {})), rollout),
        looks=looks,
        ended=ended,
        rows=rows,
        approvals=approvals,
        certificate=certificate[0] if certificate else None,
        costs=_rows(ledger, "paid_meanwhile", key),
        holds=holds(looks, rollout),
        chain=chain,
        made_at=now,
        others=[k["rollout"] for k in known if k is not mine],
    )


def holds(looks: Sequence[Mapping[str, Any]], rollout: Rollout) -> list[Span]:
    """Return when hours and freezes let no weight rise, between the first look and the last."""
    if rollout.windows is None and not rollout.freezes:
        return []
    every = max(1, len(looks) // _MOST_CHECKED)
    times = [look["looked_at"] for look in looks[::every]]
    because = [(at, shut.because if (shut := _shut(at, rollout)) else None) for at in times]
    spans = []
    for why, group in groupby(because, key=lambda one: one[1]):
        inside = [at for at, _ in group]
        if why is not None:
            spans.append(Span(inside[0], inside[-1] + timedelta(seconds=1), why))
    return spans


def _shut(at: datetime, rollout: Rollout) -> Any:
    return closed(at, rollout.windows, rollout.freezes)


def canary_looks(ledger: Connection, rollout: str) -> list[dict[str, Any]]:
    """Return a rollout's looks in order, as stored."""
    return _rows(ledger, "looks_of", {"rollout": rollout}, "canary")


def _approvals(ledger: Connection, key: Mapping[str, Any]) -> list[Asked]:
    asked = _rows(ledger, "approvals_for", key)
    answers = _rows(ledger, "answers_for", {"approvals": [a["id"] for a in asked]})
    given: dict[str, list[Answer]] = {}
    for a in answers:
        given.setdefault(a.pop("approval"), []).append(Answer(**a))
    shown = []
    for a in asked:
        counts = read_approval(ledger, a["id"])  # as its evidence says, not only its row
        a |= {
            "state": counts.state,
            "decided_by": counts.decided_by,
            "notes": counts.notes,
            "decided_at": counts.decided_at,
        }
        kept = [
            one
            for one in given.get(a["id"], [])
            if one.decision == "reject" or one.name in counts.approved_by
        ]
        shown.append(Asked(**a, answers=kept))
    return shown


def _rows(
    ledger: Connection, name: str, key: Mapping[str, Any], file: str = "rollouts"
) -> list[dict[str, Any]]:
    with ledger.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement(file, name), key).fetchall()
