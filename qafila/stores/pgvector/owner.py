"""Which ledger owns a generation in PostgreSQL: asked and written in the writer's transaction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from qafila.ledger.ownership import SCRATCH_FROM, Claimant, TargetRecord, why_foreign
from qafila.sql import apply_schema, statement
from qafila.stores.pgvector.marks import Marks
from qafila.stores.pointer_row import foreign_generation, lock_alias, owners_of
from qafila.stores.port import Place

Target = psycopg.Connection[Any]
_SPEAKING = ("generation_owner", "checkpoint", "sync_mark", "column_generation")


def take_ownership(target: Target, place: Place) -> None:
    """Own the generation in the name of the place's ledger, before anything of it is changed.

    Call it in the transaction that changes: the pointer row stays locked until that ends. A second
    time it changes nothing. Without a claimant there is no ledger to ask for.

    Raises:
        Refused: the generation, or one that the pointer row names, belongs to another ledger.
    """
    if place.claimant is None or place.generation >= SCRATCH_FROM:
        return
    apply_schema(target, "target")
    why = why_foreign(
        place.claimant, place.generation, place.fingerprint, _found(target, place, lock=True)
    )
    if why is not None:
        raise foreign_generation(place.workload, why)
    if place.generation > 0:
        put_owner(target, place, place.claimant)
        if owners_of(target, place.workload)[place.generation] != place.claimant.ledger:
            raise foreign_generation(place.workload, "another ledger has just begun it")


def put_owner(target: Target, place: Place, claimant: Claimant) -> None:
    """Write who owns the generation, where nobody does."""
    target.execute(
        statement("owner", "put_owner"),
        {
            "workload": place.workload,
            "generation": place.generation,
            "ledger": claimant.ledger,
            "fingerprint": place.fingerprint,
        },
    )


def ownership_problems(target: Target, place: Place) -> list[str]:
    """Return what ``take_ownership`` would refuse. Changes nothing."""
    if place.claimant is None or place.generation >= SCRATCH_FROM:
        return []
    if not all(_has_table(target, f"qafila.{name}") for name in ("alias", "column_generation")):
        return []
    found = _found(target, place, lock=False)
    why = why_foreign(place.claimant, place.generation, place.fingerprint, found)
    return [] if why is None else [str(foreign_generation(place.workload, why).what)]


def generations_in(target: Target, workload: str) -> list[int]:
    """Return every generation of a workload that the target has or names; scratch copies apart."""
    start = re.escape(Place(workload, 0, "", 0).name.removesuffix("0"))
    asked: list[tuple[sql.SQL | sql.Composed, dict[str, str]]] = [
        (sql.SQL(statement("owner", "generation_tables")), {"names": f"^{start}[0-9]{{1,9}}$"})
    ]
    key = {"workload": workload}
    for table in _SPEAKING:
        if _has_table(target, f"qafila.{table}"):
            one = sql.SQL(statement("owner", "generations_of"))
            asked.append((one.format(table=sql.Identifier("qafila", table)), key))
    if _has_table(target, "qafila.alias"):
        asked.append((sql.SQL(statement("owner", "pointed_at")), key))
    found = {n for query, values in asked for (n,) in target.execute(query, values).fetchall()}
    return sorted(n for n in found if n is not None and 0 < n < SCRATCH_FROM)


def begun_with(target: Target, place: Place) -> set[str]:
    """Return the fingerprints that a generation was begun with; none where nothing is there."""
    key = {"workload": place.workload, "generation": place.generation}
    found = {str(f) for (f,) in target.execute(statement("owner", "begun_with"), key).fetchall()}
    table = sql.Identifier("qafila", place.name)
    there = target.execute(
        statement("pgvector", "find_table"), {"name": table.as_string()}
    ).fetchone()
    if not found and there is not None:
        rows = sql.SQL(statement("owner", "rows_with")).format(table=table)
        found = {str(f) for (f,) in target.execute(rows).fetchall()}
    return found


def _has_table(target: Target, name: str) -> bool:
    return target.execute(statement("owner", "has_table"), {"table": name}).fetchone() == (True,)


def _found(target: Target, place: Place, *, lock: bool) -> TargetRecord:
    pointer = lock_alias(target, place.workload, lock=lock)
    return TargetRecord(
        owners_of(target, place.workload),
        pointer.roles() if pointer is not None else {},
        begun_with(target, place),
    )


class PostgresOwners:
    """Who owns the generations of one workload in PostgreSQL; the caller owns the connection."""

    def __init__(self, target: Target, workload: str) -> None:
        self._target = target
        self._workload = workload

    def generations(self) -> list[int]:
        return generations_in(self._target, self._workload)

    def owner(self, place: Place) -> str | None:
        return owners_of(self._target, self._workload).get(place.generation)

    def begun(self, place: Place) -> set[str]:
        return begun_with(self._target, place)

    def hand_over(self, places: Sequence[Place], ledger: str, epoch: int) -> None:
        """Write the new owner of all, in one transaction; a writer of before finds no mark."""
        apply_schema(self._target, "target")
        with self._target.transaction():
            lock_alias(self._target, self._workload)
            for place in places:
                values = {
                    "workload": self._workload,
                    "generation": place.generation,
                    "ledger": ledger,
                    "fingerprint": place.fingerprint,
                }
                self._target.execute(statement("owner", "take_over"), values)
                Marks(self._target, place).forget()
            fence = {"workload": self._workload, "epoch": epoch}
            self._target.execute(statement("owner", "fence_pointer"), fence)
