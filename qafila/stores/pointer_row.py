"""The pointer row in the target: which generation serves, and which one is on trial.

A candidate service answers from the generation on trial, else from the one that serves. So a
trial is set only while the router gives the candidate no traffic. Where the generations are columns
of the application's table, their names move with the row: qafila/stores/column/swap.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from qafila.errors import Refused, StaleEpoch
from qafila.sql import statement
from qafila.stores.column.swap import move_with_column

Target = psycopg.Connection[Any]


@dataclass(frozen=True)
class Alias:
    """The pointer row; None where nothing serves, is on trial, or came before."""

    workload: str
    generation: int | None
    trial: int | None
    previous: int | None
    epoch: int

    def role_of(self, generation: int) -> str | None:
        """Say what the row names a generation as; None when it does not name it."""
        return self.roles().get(generation)

    def roles(self) -> dict[int, str]:
        """Return every generation that the row names, and as what; the most important counts."""
        named = (
            (self.previous, "a rollback returns to it"),
            (self.trial, "it is on trial"),
            (self.generation, "it serves"),
        )
        return {number: role for number, role in named if number is not None}


def read_alias(target: Target, workload: str) -> Alias | None:
    """Return the pointer row, if the workload has one; a target that holds nothing yet has none."""
    with target.cursor(row_factory=class_row(Alias)) as cursor:
        try:
            cursor.execute(statement("alias", "read_alias"), {"workload": workload})
        except psycopg.errors.UndefinedTable:
            return None
        return cursor.fetchone()


def lock_alias(target: Target, workload: str, *, lock: bool = True) -> Alias | None:
    """Return the pointer row, locked until the caller's transaction ends; None without one."""
    name = "lock_alias" if lock else "read_alias"
    with target.cursor(row_factory=class_row(Alias)) as cursor:
        return cursor.execute(statement("alias", name), {"workload": workload}).fetchone()


def owners_of(target: Target, workload: str) -> dict[int, str]:
    """Return which ledger owns which generation; nobody in a target from before there were any."""
    if target.execute(statement("owner", "has_owners")).fetchone() != (True,):
        return {}
    rows = target.execute(statement("owner", "list_owners"), {"workload": workload}).fetchall()
    return {int(number): str(ledger) for number, ledger in rows}


def require_ours(target: Target, workload: str, ledger: str | None) -> None:
    """Refuse to move a pointer row that names another ledger's generation.

    Call it in the transaction that moves the row: it stays locked until that ends. ``ledger`` is
    the identity of the ledger that asks; None asks for nobody, as an older rollback card does.

    Raises:
        Refused: it names one; says whose.
    """
    row = lock_alias(target, workload)
    if ledger is None or row is None:
        return
    owners = owners_of(target, workload)
    for number, role in sorted(row.roles().items()):
        if owners.get(number, ledger) != ledger:
            raise foreign_generation(
                workload,
                f"generation {number} ({role}) belongs to ledger {owners[number]}, this is ledger "
                f"{ledger}",
            )


def foreign_generation(workload: str, why: str) -> Refused:
    """Return the error for changing what belongs to another ledger."""
    return Refused(
        f"the target holds a {workload} that another ledger owns: {why}.",
        kept="the target: all rows, indexes and the pointer.",
        remedy="work with the ledger that owns it (QAFILA_LEDGER_URL), or give this workload "
        "another name or another target; where that ledger is lost, look first: "
        f"qafila adopt-target {workload}",
    )


def set_trial(
    target: Target, workload: str, generation: int, epoch: int, *, ledger: str | None = None
) -> Alias:
    """Put a generation on trial; what serves stays. Idempotent by workload and generation.

    ``epoch`` is the workload's lease epoch, or 0 when no lease is held; the row's only rises.
    ``ledger`` is the identity of the ledger that asks.

    Raises:
        Refused: a newer generation serves or is on trial, or the row names another ledger's.
    """
    key = {"workload": workload, "generation": generation, "epoch": epoch}
    with target.transaction(), target.cursor(row_factory=class_row(Alias)) as cursor:
        require_ours(target, workload, ledger)
        row = cursor.execute(statement("alias", "set_trial"), key).fetchone()
    if row is None:
        now = read_alias(target, workload)
        raise Refused(
            f"generation {generation} of {workload} cannot go on trial: "
            f"generation {now.generation if now else None} serves and "
            f"{now.trial if now else None} is on trial.",
            kept="the pointer row.",
            remedy=f"qafila status {workload}",
        )
    return row


def move_alias(
    target: Target, workload: str, generation: int, epoch: int, *, ledger: str | None = None
) -> Alias:
    """Make a generation the one that serves and end its trial. Idempotent by generation.

    Raises:
        Refused: the row names another ledger's generation.
        StaleEpoch: a newer epoch has moved the row already.
        Unavailable: the generation is a column, and its table was never free for a moment.
    """
    key = {"workload": workload, "generation": generation, "epoch": epoch}

    def move() -> Alias:
        with target.transaction(), target.cursor(row_factory=class_row(Alias)) as cursor:
            require_ours(target, workload, ledger)
            row = cursor.execute(statement("alias", "move_alias"), key).fetchone()
        if row is None:
            raise StaleEpoch(
                f"the pointer row of {workload} was moved by a newer epoch than {epoch}.",
                kept="the pointer row.",
            )
        return row

    return move_with_column(target, workload, move)


def return_alias(
    target: Target,
    workload: str,
    generations: Collection[int],
    epoch: int,
    *,
    ledger: str | None = None,
) -> Alias | None:
    """Let what served before serve again, and end the trial; None when there is no row.

    Only a row that points at one of ``generations`` goes back; a second call changes nothing.

    Raises:
        Refused: the row names another ledger's generation.
        StaleEpoch: a newer epoch has moved the row already.
        Unavailable: the generation is a column, and its table was never free for a moment.
    """
    key = {"workload": workload, "generations": list(generations), "epoch": epoch}

    def move_back() -> Alias | None:
        with target.transaction(), target.cursor(row_factory=class_row(Alias)) as cursor:
            require_ours(target, workload, ledger)
            row = cursor.execute(statement("alias", "return_alias"), key).fetchone()
        if row is None and read_alias(target, workload) is not None:
            raise StaleEpoch(
                f"the pointer row of {workload} was moved by a newer epoch than {epoch}.",
                kept="the pointer row.",
            )
        return row

    return move_with_column(target, workload, move_back)


def end_trial(target: Target, workload: str, generation: int, *, ledger: str | None = None) -> None:
    """Take a generation off trial, before it is emptied; what serves stays. Idempotent.

    The caller holds the workload's lease, so that no rollout of it begins meanwhile.
    """
    key = {"workload": workload, "generation": generation}
    with target.transaction():
        require_ours(target, workload, ledger)
        target.execute(statement("alias", "end_trial"), key)


def forget_previous(
    target: Target, workload: str, generation: int, *, ledger: str | None = None
) -> None:
    """Give up the way back to a generation, before it is dropped. Idempotent.

    The caller holds the workload's lease, and has seen that what serves is settled.
    """
    key = {"workload": workload, "generation": generation}
    with target.transaction():
        require_ours(target, workload, ledger)
        target.execute(statement("alias", "forget_previous"), key)


def require_not_named(target: Target, workload: str, generation: int) -> None:
    """Refuse to go on when the pointer row names the generation, as whatever it names it.

    Call it in the transaction that drops or empties: the row stays locked until that ends, so the
    generation is not put on trial in between.

    Raises:
        Refused: it serves, is on trial, or is what a rollback returns to.
    """
    row = lock_alias(target, workload)
    role = row.role_of(generation) if row is not None else None
    if role is not None:
        raise named_generation(workload, generation, role)


def named_generation(workload: str, generation: int, role: str) -> Refused:
    """Return the error for dropping what the target's pointer names as ``role``."""
    return Refused(
        f"generation {generation} of {workload} is not dropped: {role}, as the target says.",
        kept="all of its rows and its index.",
        remedy=f"see what serves: qafila status {workload}; end a trial: qafila abandon {workload} "
        f"--why TEXT; give up a way back: qafila settle {workload} --by NAME",
    )
