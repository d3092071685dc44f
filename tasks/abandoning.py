"""End a generation before any user met it."""

from __future__ import annotations

from qafila.connecting.settings import PostgresConnection
from qafila.core.corpus import PgvectorTarget
from qafila.core.phases import Event
from tasks.alias import return_alias
from tasks.connections import connection
from tasks.evidence import record_evidence
from tasks.leases import held_lease
from tasks.ledger import (
    Connection,
    Generation,
    ledger_identity,
    move_phase,
    read_workload,
    require_generation,
)


def abandon_generation(ledger: Connection, name: str, why: str) -> Generation:
    """End the newest generation where it stands and take it off trial; its rows are kept.

    Raises:
        Refused: there is none, or users have met it: then it is rolled back instead.
    """
    workload, _ = read_workload(ledger, name)
    generation = require_generation(ledger, name)
    with ledger.transaction():
        ended = move_phase(ledger, generation, Event.ABANDON)
        record_evidence(
            ledger, "abandon", f"generation {generation.number} abandoned: {why}", workload=name,
            generation=generation.number, body={"from": generation.phase, "why": why},
        )  # fmt: skip
    target = workload.corpus.target
    if isinstance(target, PgvectorTarget):
        with (
            held_lease(ledger, name, "qafila abandon", generation=generation.number) as heart,
            connection(ledger, target.block, PostgresConnection).connect() as database,
        ):
            return_alias(
                database, name, [generation.number], heart.epoch, ledger=ledger_identity(ledger)
            )
    return ended
