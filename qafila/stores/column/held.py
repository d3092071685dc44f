"""The column of a generation: under the table's lock, since its name may change without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from qafila.errors import Refused
from qafila.stores.column.swap import HeldColumn, column_of
from qafila.stores.column.table import AppTable, describe
from qafila.stores.column.words import Words
from qafila.stores.port import Place
from qafila.workload.corpus import ColumnLayout, PgvectorTarget


class ColumnHeld:
    """The part of the column store that knows what its column is called now."""

    _connection: psycopg.Connection[Any]
    _place: Place
    _settings: PgvectorTarget
    _layout: ColumnLayout
    _app: AppTable
    _as_value: Callable[[Any], Any]  # a vector as the column's type

    @cached_property
    def _words(self) -> Words:
        found = describe(self._connection, self._layout)
        if found is None:
            raise Refused(f"there is no table {self._layout.table} in the target.")
        return Words(self._place, self._settings, self._app, found)

    @contextmanager
    def _reading(self) -> Iterator[HeldColumn]:
        with self._connection.transaction(), self._column("ACCESS SHARE") as held:
            yield held

    @contextmanager
    def _column(self, lock: str) -> Iterator[HeldColumn]:
        """Take the table's lock, then ask for the column's name: it stays until the end."""
        self._connection.execute(
            sql.SQL("LOCK TABLE {} IN " + lock + " MODE").format(self._words.described.table)
        )
        yield self._held_column()

    def _held_column(self) -> HeldColumn:
        held = column_of(self._connection, self._place.workload, self._place.generation)
        if held is None:
            raise Refused(
                f"generation {self._place.generation} of {self._place.workload} has no column in "
                f"{self._layout.table}.",
                kept="the table.",
                remedy="it was dropped, or never prepared: run the backfill again.",
            )
        return held

    def _statement(self, name: str, held: HeldColumn, **parts: sql.Composable) -> sql.Composed:
        return self._words.statement(name, held, **parts)
