"""Take the generations of a target into this ledger, where the ledger that made them is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from psycopg.types.json import Jsonb

from qafila.backfill.generations import fingerprint_of
from qafila.connections.postgres import connect_postgres
from qafila.connections.qdrant import connect_qdrant
from qafila.endpoints import open_store, reach_of
from qafila.errors import Refused
from qafila.ledger.evidence import record_evidence
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import Connection, Generation, claimant_of, read_workload
from qafila.ledger.ownership import NOT_BEGUN
from qafila.sql import statement
from qafila.stores.pgvector.owner import PostgresOwners
from qafila.stores.pointer import open_pointer
from qafila.stores.pointer_row import Alias
from qafila.stores.port import Place
from qafila.stores.qdrant.owner import QdrantOwners
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload
from qafila.workload.phases import ENDED, Phase

_NAMED = {"it serves", "a rollback returns to it"}


class Owners(Protocol):
    """What a target says of who owns the generations of one workload."""

    def generations(self) -> list[int]:
        """Return every generation that is there or was there."""

    def owner(self, place: Place) -> str | None:
        """Return the ledger that owns a generation."""

    def begun(self, place: Place) -> set[str]:
        """Return the fingerprints that a generation was begun with."""

    def hand_over(self, places: list[Place], ledger: str, epoch: int) -> None:
        """Let a ledger own all of these, fence off who writes to them, and end the trial."""


@dataclass(frozen=True)
class FoundGeneration:
    """One generation in the target. ``known`` is the phase that this ledger has it in, if any;
    ``becomes`` the one that it gets. ``rows`` is None where nothing of it is left.
    """

    number: int
    owner: str | None
    fingerprint: str | None
    rows: int | None
    role: str | None
    known: str | None
    becomes: str | None


@dataclass(frozen=True)
class FoundTarget:
    """What a target holds of a workload, and what this ledger would make of it."""

    workload: str
    ledger: str
    pointer: Alias | None
    generations: tuple[FoundGeneration, ...]

    @property
    def ours(self) -> bool:
        """Say whether nothing is left to adopt."""
        return all(g.owner == self.ledger and g.becomes is None for g in self.generations)

    def body(self) -> dict[str, Any]:
        """Return the values as evidence keeps them."""
        return asdict(self)


def look_at_target(ledger: Connection, name: str) -> FoundTarget:
    """Return what the target holds of a workload. Changes nothing.

    Raises:
        Refused: there is no such workload.
        Unavailable: the target does not answer.
    """
    workload, _ = read_workload(ledger, name)
    claimant = claimant_of(ledger, name)
    with open_pointer(ledger, workload) as opened:
        pointer = opened.read()
    with _owners(ledger, workload) as owners:
        numbers = owners.generations()
        asked = [
            (n, owners.owner(_place(workload, n)), owners.begun(_place(workload, n)))
            for n in numbers
        ]
    found = []
    for number, owner, begun in asked:
        rows = _rows(ledger, workload, number)
        role = pointer.roles().get(number) if pointer is not None else None
        known = claimant.phases.get(number)
        becomes = None
        if rows is not None and not (known is not None and owner == claimant.ledger):
            becomes = (Phase.PROMOTED if role in _NAMED else Phase.ABANDONED).value
        fingerprint = begun.pop() if len(begun) == 1 else None
        found.append(FoundGeneration(number, owner, fingerprint, rows, role, known, becomes))
    return FoundTarget(name, claimant.ledger, pointer, tuple(found))


def adopt_target(ledger: Connection, name: str, by: str, shown: FoundTarget) -> FoundTarget:
    """Make this ledger the owner of all that ``shown`` lists; return what was found.

    What serves and what a rollback returns to are promoted from then on; a trial ends, since what
    it had passed went with its ledger, and is abandoned with the rest. Deletes no row. Whoever
    still writes by the former ledger is fenced off. Killed halfway, run it again.

    Raises:
        Refused: nobody is named, there is nothing to adopt, the target has changed since it was
            shown, a rollout holds the lease, or this ledger is at work on one of the numbers.
    """
    if len(by.strip()) < 2:
        raise Refused("adopting needs the name of who decides.", remedy="add --by NAME")
    workload, revision = read_workload(ledger, name)
    with held_lease(
        ledger, name, "qafila adopt-target", above=shown.pointer.epoch if shown.pointer else 0
    ) as heart:
        found = look_at_target(ledger, name)
        if found != shown:
            raise Refused(
                f"what the target holds of {name} has changed since it was shown.",
                kept="everything.",
                remedy=f"look again: qafila adopt-target {name}",
            )
        _require_adoptable(found)
        with _owners(ledger, workload) as owners:
            places = [_place(workload, g.number, g.fingerprint or "") for g in found.generations]
            owners.hand_over(places, found.ledger, heart.epoch)
        with ledger.transaction():
            for generation in found.generations:
                if generation.becomes is not None:
                    _put_generation(ledger, workload, revision, generation)
            numbers = ", ".join(str(g.number) for g in found.generations)
            said = f"generations {numbers} of {name} adopted from the target by {by.strip()}"
            body = {"by": by.strip(), **found.body()}
            record_evidence(ledger, "adopt-target", said, workload=name, body=body)
    return found


def _require_adoptable(found: FoundTarget) -> None:
    name = found.workload
    if not found.generations or found.ours:
        raise Refused(
            f"nothing to adopt: the target has no generation of {name} from another ledger.",
            kept="everything.",
            remedy=f"qafila status {name}",
        )
    for one in found.generations:
        if one.becomes is None:
            continue
        if one.fingerprint is None:
            raise Refused(
                f"generation {one.number} of {name} cannot be adopted: the target holds no "
                "fingerprint for it, or more than one.",
                kept="everything.",
                remedy="find out why its rows and qafila.checkpoint hold different fingerprints, "
                "or none; once they hold the same one: "
                f"qafila adopt-target {name}",
            )
        at_work = one.known is not None and Phase(one.known) not in ENDED | NOT_BEGUN
        if at_work and one.known != one.becomes:
            raise Refused(
                f"generation {one.number} of {name} is {one.known} in this ledger, and the target "
                "says that another ledger owns it.",
                kept="everything.",
                remedy=f"qafila abandon {name} --why TEXT, then: qafila adopt-target {name}",
            )


def _put_generation(
    ledger: Connection, workload: Workload, revision: int, found: FoundGeneration
) -> None:
    now = None if workload.corpus.bridge is not None else fingerprint_of(workload)
    same = now is not None and now.digest == found.fingerprint
    values = {
        "workload": workload.name,
        "number": found.number,
        "revision": revision,
        "fingerprint": found.fingerprint,
        "phase": found.becomes,
        "body": Jsonb(asdict(now) if same and now is not None else {}),
    }
    ledger.execute(statement("ledger", "adopt_generation"), values)


def _rows(ledger: Connection, workload: Workload, number: int) -> int | None:
    generation = Generation(workload.name, number, 0, "", Phase.CLEANED.value, datetime.now(UTC))
    with open_store(ledger, workload, generation) as store:
        return store.count() if store.removal() else None


def _place(workload: Workload, number: int, fingerprint: str = "") -> Place:
    return Place(workload.name, number, fingerprint, workload.corpus.embedder.dimensions)


@contextmanager
def _owners(ledger: Connection, workload: Workload) -> Iterator[Owners]:
    found: Mapping[str, Any] = reach_of(ledger, workload).target
    if isinstance(workload.corpus.target, PgvectorTarget):
        with connect_postgres(**found) as database:
            yield PostgresOwners(database, workload.name)
        return
    with closing(connect_qdrant(**found)) as client:
        yield QdrantOwners(client, workload.name)
