"""Settle a promotion, then delete what nobody can go back to any more.

Until a person settles, the generation before (or the application's own column) is kept and fed, and
a rollback returns to it. What is deleted here is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from qafila.connections.settings import PostgresConnection
from qafila.endpoints import open_store
from qafila.errors import Refused
from qafila.ledger.connections import connection
from qafila.ledger.evidence import record_evidence
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import Connection, Generation, generation_of, move_phase, read_workload
from qafila.live_sync.feeds import list_owed
from qafila.live_sync.outbox import Life
from qafila.sql import statement
from qafila.stores.column.swap import ORIGINAL, list_columns
from qafila.stores.pointer import open_pointer
from qafila.stores.pointer_row import Alias
from qafila.stores.port import VectorStore
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload
from qafila.workload.phases import Event, Phase

_STAYS = frozenset({Phase.SETTLED, Phase.CLEANED})
_MET = _STAYS | {Phase.CANARY, Phase.PROMOTED}  # by users, and not taken back


@dataclass(frozen=True)
class Leftover:
    """A generation that nobody needs, and what deletes it; 0 is the column from before us."""

    generation: int
    statements: tuple[str, ...]


@dataclass(frozen=True)
class CleanUp:
    """What a clean-up deletes, and why the rest is kept."""

    workload: str
    leftovers: tuple[Leftover, ...]
    kept: tuple[str, ...]

    def body(self) -> dict[str, Any]:
        """Return the values as evidence keeps them."""
        return asdict(self)


def settle(
    ledger: Connection, name: str, by: str, now: datetime | None = None, *, early: str | None = None
) -> Generation:
    """Stay with what was promoted: what served before is no longer fed, and may be deleted.

    ``early`` is a person's reason to settle before ``rollout.hold_hours`` are over; it is kept.

    Raises:
        Refused: nothing is promoted, the hold has not elapsed, or nobody is named.
    """
    if len(by.strip()) < 2:
        raise Refused("settling needs the name of who decides.", remedy="add --by NAME")
    workload, _ = read_workload(ledger, name)
    numbers = sorted((owed.number for owed in list_owed(ledger, name)), reverse=True)
    met = (generation_of(ledger, name, number) for number in numbers)
    generation = next((g for g in met if g.phase in _MET), None)
    if generation is None or generation.phase != Phase.PROMOTED:
        raise Refused(
            f"{name} has no promoted generation to settle.",
            kept="everything.",
            remedy=f"qafila status {name}",
        )
    until = generation.phase_since + timedelta(hours=workload.rollout.hold_hours)
    before = (now or datetime.now(UTC)) < until
    if before and not (early or "").strip():
        raise Refused(
            f"generation {generation.number} of {name} was promoted at "
            f"{generation.phase_since:%d %b %H:%M} UTC and is held until {until:%d %b %H:%M} UTC.",
            kept="the way back, and what served before.",
            remedy=f"settle it then; or give a reason: qafila settle {name} --by NAME --early "
            '"REASON"',
        )
    with ledger.transaction():
        settled = move_phase(ledger, generation, Event.SETTLE)
        record_evidence(
            ledger,
            "settle",
            f"generation {generation.number} settled by {by.strip()}"
            + (f", before its time: {early}" if before else ""),
            workload=name,
            generation=generation.number,
            body={"by": by.strip(), "early": early if before else None},
        )
    return settled


def plan_clean_up(ledger: Connection, name: str) -> CleanUp:
    """Return what of a workload's ended generations is still there. Changes nothing.

    Kept are what serves, what is on trial, what a rollback would return to, and every generation
    that is on its way or that live sync still feeds.
    """
    workload, _ = read_workload(ledger, name)
    leftovers, kept = [], []
    with open_pointer(ledger, workload) as pointer:
        alias = pointer.read()
    life = {owed.number: owed.life for owed in list_owed(ledger, name)}
    phases = {number: Phase(generation_of(ledger, name, number).phase) for number in life}
    for number in sorted(life.keys() | _columns(ledger, workload)):
        with _stores(ledger, workload, number) as stores:
            statements = [_shown(text) for store in stores for text in store.removal()]
        if not statements:
            continue
        why = reason_to_keep(name, number, alias, phases, life.get(number))
        if why is None:
            leftovers.append(Leftover(number, tuple(statements)))
        else:
            kept.append(f"generation {number}: {why}")
    return CleanUp(name, tuple(leftovers), tuple(kept))


def clean_up(ledger: Connection, name: str, wanted: CleanUp) -> CleanUp:
    """Delete what ``wanted`` lists, one generation after the other. Cannot be undone.

    Raises:
        Refused: somebody else holds the lease, or other statements would be run than were shown.
        Unavailable: a table was never free for a moment; run it again.
    """
    workload, _ = read_workload(ledger, name)
    with held_lease(ledger, name, "qafila clean-up"):
        now = plan_clean_up(ledger, name)
        if now.leftovers != wanted.leftovers:
            raise Refused(
                f"what can be deleted of {name} has changed since it was shown.",
                kept="everything.",
                remedy=f"look again: qafila clean-up {name}",
            )
        for leftover in now.leftovers:
            with open_pointer(ledger, workload) as pointer:
                pointer.forget_previous(leftover.generation)
            with _stores(ledger, workload, leftover.generation) as stores:
                for store in stores:
                    if store.removal():
                        store.drop()
            record_evidence(
                ledger,
                "clean-up",
                f"generation {leftover.generation} deleted",
                workload=name,
                generation=leftover.generation or None,
                body=asdict(leftover),
            )
        for owed in list_owed(ledger, name):
            generation = generation_of(ledger, name, owed.number)
            if generation.phase == Phase.SETTLED:
                move_phase(ledger, generation, Event.CLEAN_UP)
    return now


def reason_to_keep(
    name: str, number: int, alias: Alias | None, phases: Mapping[int, Phase], life: Life | None
) -> str | None:
    """Say why a generation may not be deleted; None when nobody needs it. Pure.

    ``life`` is None for the application's own column, which is no generation of the ledger's.
    """
    serves = alias.generation if alias else None
    if number == (serves or ORIGINAL):
        return "it serves"
    if alias is not None and number == alias.trial:
        return "it is on trial"
    before = (alias.previous if alias else None) or ORIGINAL
    settled = serves is not None and phases.get(serves) in _STAYS
    if number in (before, ORIGINAL) and not settled:
        return f"a rollback returns to it, until: qafila settle {name} --by NAME"
    if life is not None and life is not Life.FORGOTTEN:
        return f"it is {phases[number]}, and may still be needed"
    return None


def _columns(ledger: Connection, workload: Workload) -> set[int]:
    """Return the generations that are columns; the application's own is 0, and in no ledger."""
    target = workload.corpus.target
    if not isinstance(target, PgvectorTarget) or target.column is None:
        return set()
    with connection(ledger, target.block, PostgresConnection).connect() as database:
        return {column.generation for column in list_columns(database, workload.name)}


@contextmanager
def _stores(ledger: Connection, workload: Workload, number: int) -> Iterator[list[VectorStore]]:
    """Open a generation where the workload keeps generations now, and where it did then."""
    meant = [workload]
    generation = Generation(workload.name, number, 0, "", Phase.CLEANED.value, datetime.now(UTC))
    if number != ORIGINAL:
        generation = generation_of(ledger, workload.name, number)
        row = ledger.execute(
            statement("outbox", "workload_at"),
            {"workload": workload.name, "revision": generation.revision},
        ).fetchone()
        assert row is not None
        then = Workload.model_validate(row[0])
        if _where(then) != _where(workload):
            meant.append(then)
    with ExitStack() as opened:
        yield [opened.enter_context(open_store(ledger, spec, generation)) for spec in meant]


def _where(workload: Workload) -> tuple[object, ...]:
    target = workload.corpus.target
    return target.kind, target.block, getattr(target, "column", None)


def _shown(text: str) -> str:
    """Return a statement in one line, without the comment that our files begin it with."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith("--")]
    return " ".join(lines).rstrip(";")
