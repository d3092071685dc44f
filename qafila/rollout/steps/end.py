"""How a rollout ends: the pointer moves, or everything goes back; and what it is called then."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import dict_row

from qafila.connections.settings import PostgresConnection
from qafila.errors import Inconclusive, QafilaError, Refused, StaleEpoch, Unavailable
from qafila.ledger.connections import connection
from qafila.ledger.leases import read_lease
from qafila.ledger.ledger import Connection, ledger_identity, move_phase
from qafila.rollback.rollback import RolledBack, roll_back
from qafila.rollout.decide import Action, Decision
from qafila.rollout.session import Aborted, Trial
from qafila.rollout.steps.look import first_line
from qafila.sql import statement
from qafila.stores.pointer_row import move_alias
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.phases import Event
from qafila.workload.verdict import Verdict


def cut_over(trial: Trial) -> None:
    """Move the pointer row, then the phase: the candidate serves the generation from now on.

    Raises:
        StaleEpoch: the lease was lost.
    """
    trial.pause(0.0)
    target = trial.spec.corpus.target
    if isinstance(target, PgvectorTarget):
        with connection(trial.ledger, target.block, PostgresConnection).connect() as database:
            move_alias(
                database,
                trial.spec.name,
                trial.generation.number,
                trial.heart.epoch,
                ledger=ledger_identity(trial.ledger),
            )
    trial.generation = move_phase(trial.ledger, trial.generation, Event.BAKE_PASS)


def go_back(trial: Trial, why: str, run_id: str | None) -> RolledBack | None:
    """Give the baseline all traffic; None when somebody with a newer epoch leads already.

    Raises:
        Unavailable: the ledger does not answer; the weights are at 0 all the same.
    """
    name = trial.spec.name
    try:
        lease = read_lease(trial.ledger, name)
        if lease is not None and lease.epoch > trial.heart.epoch:
            return None
        return roll_back(
            trial.ledger, name, why, holder="canary abort", run_id=run_id, event=Event.ABORT
        )
    except psycopg.Error as error:
        version = trial.router.write(0, epoch=trial.heart.epoch, why=why)
        trial.router.acknowledged(version)
        raise Unavailable(
            f"{name} is on its baseline, but the ledger does not answer: {error}",
            kept="weight 0, acknowledged by the router.",
            remedy=f"qafila doctor, then: qafila rollback {name}",
        ) from error


def reason_of(trial: Trial, error: BaseException) -> Decision:
    """Return what ended a rollout as a decision, whatever was raised."""
    if isinstance(error, Aborted):
        return error.decision
    if isinstance(error, StaleEpoch) or trial.heart.lost.is_set():
        return Decision(Action.ABORT, Verdict.FAIL, f"the lease was lost: {first_line(error)}")
    if isinstance(error, Exception):
        return Decision(Action.ABORT, Verdict.ERROR, f"{type(error).__name__}: {first_line(error)}")
    return Decision(Action.ABORT, Verdict.FAIL, "the run was cancelled.")


def judge_way_back(decision: Decision, back: RolledBack | None) -> Decision:
    """Return how the rollout ended: FAIL where the candidate got requests after the way back."""
    if back is None or back.verdict is not Verdict.FAIL:
        return decision
    return Decision(decision.action, Verdict.FAIL, f"{decision.sentence} {back.sentence}")


def error_of(decision: Decision, workload: str, back: RolledBack | None = None) -> QafilaError:
    """Return the error that ends the run after the way back."""
    kind: type[QafilaError] = {
        Verdict.FAIL: Refused,
        Verdict.INCONCLUSIVE: Inconclusive,
    }.get(decision.verdict, Unavailable)
    what = f"the canary of {workload} was aborted: {decision.sentence}"
    if back is not None and back.verdict is Verdict.FAIL:
        return kind(
            what,
            kept="weight 0 in the router's file; the generation and its evidence.",
            remedy=f"qafila doctor, then: qafila rollback {workload}",
        )
    return kind(
        what,
        kept="all traffic is on the baseline; the generation and its evidence.",
        remedy=f"qafila status {workload}",
    )


def looks_of(ledger: Connection, name: str) -> list[dict[str, Any]]:
    """Return a rollout's looks in order."""
    with ledger.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement("canary", "looks_of"), {"rollout": name}).fetchall()
