"""The pointer row in the target: which generation serves, and which one is on trial.

A candidate service answers from the generation on trial, else from the one that serves. So a
trial is set only while the router gives the candidate no traffic. Where the generations are columns
of the application's table, their names move with the row: tasks/column_swap.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from qafila.errors import Refused, StaleEpoch
from qafila.sql import statement
from tasks.column_swap import move_with_column

Target = psycopg.Connection[Any]


@dataclass(frozen=True)
class Alias:
    """The pointer row; None where nothing serves, is on trial, or came before."""

    workload: str
    generation: int | None
    trial: int | None
    previous: int | None
    epoch: int


def read_alias(target: Target, workload: str) -> Alias | None:
    """Return the pointer row, if the workload has one; a target that holds nothing yet has none."""
    with target.cursor(row_factory=class_row(Alias)) as cursor:
        try:
            cursor.execute(statement("alias", "read_alias"), {"workload": workload})
        except psycopg.errors.UndefinedTable:
            return None
        return cursor.fetchone()


def set_trial(target: Target, workload: str, generation: int, epoch: int) -> Alias:
    """Put a generation on trial; what serves stays. Idempotent by workload and generation.

    ``epoch`` is the workload's lease epoch, or 0 when no lease is held; the row's only rises.

    Raises:
        Refused: a newer generation serves or is on trial.
    """
    key = {"workload": workload, "generation": generation, "epoch": epoch}
    with target.cursor(row_factory=class_row(Alias)) as cursor:
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


def move_alias(target: Target, workload: str, generation: int, epoch: int) -> Alias:
    """Make a generation the one that serves and end its trial. Idempotent by generation.

    Raises:
        StaleEpoch: a newer epoch has moved the row already.
        Unavailable: the generation is a column, and its table was never free for a moment.
    """
    key = {"workload": workload, "generation": generation, "epoch": epoch}

    def move() -> Alias:
        with target.cursor(row_factory=class_row(Alias)) as cursor:
            row = cursor.execute(statement("alias", "move_alias"), key).fetchone()
        if row is None:
            raise StaleEpoch(
                f"the pointer row of {workload} was moved by a newer epoch than {epoch}.",
                kept="the pointer row.",
            )
        return row

    return move_with_column(target, workload, move)


def return_alias(
    target: Target, workload: str, generations: Collection[int], epoch: int
) -> Alias | None:
    """Let what served before serve again, and end the trial; None when there is no row.

    Only a row that points at one of ``generations`` goes back; a second call changes nothing.

    Raises:
        StaleEpoch: a newer epoch has moved the row already.
        Unavailable: the generation is a column, and its table was never free for a moment.
    """
    key = {"workload": workload, "generations": list(generations), "epoch": epoch}

    def move_back() -> Alias | None:
        with target.cursor(row_factory=class_row(Alias)) as cursor:
            row = cursor.execute(statement("alias", "return_alias"), key).fetchone()
        if row is None and read_alias(target, workload) is not None:
            raise StaleEpoch(
                f"the pointer row of {workload} was moved by a newer epoch than {epoch}.",
                kept="the pointer row.",
            )
        return row

    return move_with_column(target, workload, move_back)
