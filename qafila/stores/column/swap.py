"""The column layout's cut-over: two columns of the application's table change names.

The pointer row and the names move in one transaction, so who reads the pointer row while it holds
the table knows which model's vectors it meets under the name. Only catalog rows are written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from qafila.errors import Refused
from qafila.sql import statement
from qafila.stores.brief_lock import PATIENCE, Patience, change_briefly

ORIGINAL = 0  # the generation of what was in the column before us
NAME_BYTES = 63


class Pointing(Protocol):
    """A pointer row: which generation serves."""

    @property
    def generation(self) -> int | None: ...


Moved = TypeVar("Moved", bound=Pointing | None)


@dataclass(frozen=True)
class HeldColumn:
    """Where one generation is: ``serving_name`` while it serves, else its own name."""

    generation: int
    table_schema: str
    table_name: str
    serving_name: str
    held_as: str
    fingerprint: str | None
    required: bool

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.table_schema, self.table_name)

    @property
    def serves(self) -> bool:
        """Say whether the application finds it under the name that it uses."""
        return self.held_as == self.serving_name

    @property
    def own_name(self) -> str:
        """Return the name it has while it does not serve."""
        return own_name(self.serving_name, self.generation)


def own_name(column: str, generation: int) -> str:
    """Return the name of a generation's column while another one serves."""
    return f"{column}_g{generation}"


def list_columns(target: psycopg.Connection[Any], workload: str) -> list[HeldColumn]:
    """Return the generations of a workload that are columns; none in the other layout."""
    row = target.execute(statement("column", "has_layout")).fetchone()
    return _columns(target, "list_columns", workload) if row and row[0] else []


def column_of(target: psycopg.Connection[Any], workload: str, generation: int) -> HeldColumn | None:
    """Return where a generation is at present; hold the table's lock for the answer to last."""
    return next((c for c in list_columns(target, workload) if c.generation == generation), None)


def _columns(target: psycopg.Connection[Any], name: str, workload: str) -> list[HeldColumn]:
    with target.cursor(row_factory=class_row(HeldColumn)) as cursor:
        return cursor.execute(statement("column", name), {"workload": workload}).fetchall()


def move_with_column(
    target: psycopg.Connection[Any],
    workload: str,
    move: Callable[[], Moved],
    *,
    patience: Patience = PATIENCE,
) -> Moved:
    """Run ``move``, which moves the pointer row; the names of the columns follow in the same step.

    A workload without columns only runs ``move``. Idempotent, and the same both ways: afterwards
    the generation that the row points at has the name. A later generation that is no column leaves
    the names alone; an earlier one gives the original its name back.
    ``move`` is the fence: what it raises undoes all, and it is run again with every attempt.

    Raises:
        Refused: the columns are not as they were left; nothing is changed.
        Unavailable: the table was never free for a moment; nothing is changed.
    """
    held = list_columns(target, workload)
    if not held:
        return move()

    def both() -> Moved:
        moved = move()
        if moved is not None:
            _serve(target, workload, moved.generation or ORIGINAL)
        return moved

    return change_briefly(
        target,
        held[0].table,
        both,
        what=f"swapping {held[0].serving_name!r} of {workload}",
        patience=patience,
    )


def _serve(target: psycopg.Connection[Any], workload: str, generation: int) -> None:
    held = _columns(target, "lock_columns", workload)
    known = {c.generation: c for c in held}
    leaves = next((c for c in held if c.serves), None)
    if generation not in known and generation > max(known):
        return
    comes = known.get(generation) or known.get(ORIGINAL)
    if comes is None or leaves is None:
        raise Refused(
            f"{workload} has no column to serve generation {generation} from.",
            kept="the pointer row and all columns.",
            remedy="look at qafila.column_generation in the target.",
        )
    if comes == leaves:
        return
    required = {c.held_as: _required(target, c) for c in (comes, leaves)}
    gone = [c for c, there in required.items() if there is None]
    if gone:
        raise Refused(
            f"table {leaves.table_name} has no column {' and no '.join(gone)} any more.",
            kept="the pointer row and all columns.",
            remedy="somebody renamed or dropped it: give it its name back.",
        )
    if _required(target, replace(leaves, held_as=leaves.own_name)) is not None:
        raise Refused(
            f"table {leaves.table_name} has a column {leaves.own_name!r} already, and it is not "
            f"ours: {leaves.serving_name!r} cannot be kept under that name.",
            kept="the pointer row and all columns.",
            remedy=f"run ALTER TABLE {leaves.table.as_string()} RENAME COLUMN "
            f"{sql.Identifier(leaves.own_name).as_string()} TO …, then again.",
        )
    was_required = bool(required[leaves.held_as])
    for column, name, needed in (
        (leaves, leaves.own_name, was_required),
        (comes, comes.serving_name, False),
    ):
        target.execute(
            statement("column", "hold_as"),
            {
                "workload": workload,
                "generation": column.generation,
                "held_as": name,
                "required": needed,
            },
        )
    parts = {
        "table": leaves.table,
        "serving": sql.Identifier(leaves.serving_name),
        "leaves_as": sql.Identifier(leaves.own_name),
        "comes_from": sql.Identifier(comes.held_as),
        "column": sql.Identifier(leaves.own_name),
    }
    change = statement("column", "swap_names")
    if was_required:
        change += "\n" + statement("column", "allow_null")
    target.execute(sql.SQL(change).format(**parts))


def _required(target: psycopg.Connection[Any], column: HeldColumn) -> bool | None:
    """Say whether a column is NOT NULL; None when it is not there."""
    row = target.execute(
        statement("column", "is_required"),
        {"schema": column.table_schema, "name": column.table_name, "column": column.held_as},
    ).fetchone()
    return None if row is None else bool(row[0])
