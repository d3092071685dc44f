"""End a generation before any user met it."""

from __future__ import annotations

from qafila.connections.settings import PostgresConnection
from qafila.ledger.connections import connection
from qafila.ledger.evidence import record_evidence
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import (
    Connection,
    Generation,
    ledger_identity,
    move_phase,
    read_workload,
    require_generation,
)
from qafila.stores.pointer_row import return_alias
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.phases import Event


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
            ledger,
            "abandon",
            f"generation {generation.number} abandoned: {why}",
            workload=name,
            generation=generation.number,
            body={"from": generation.phase, "why": why},
        )
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
