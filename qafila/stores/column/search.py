"""Search in a column of the application's own table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from qafila.sql import statement
from qafila.stores.column.held import ColumnHeld
from qafila.stores.column.swap import HeldColumn
from qafila.stores.indexed_search import IndexedSearch
from qafila.stores.pgvector.search import Held, condition, values_of
from qafila.stores.port import Hit, Vectors, Where
from qafila.workload.fingerprint import key_text


class ColumnSearch(ColumnHeld, IndexedSearch[HeldColumn]):
    """The part of the column store that searches; rows without a vector are not found."""

    def matching(self, groups: Sequence[str], where: Where | None = None) -> int:
        with self._reading() as held:
            query = sql.SQL(statement("index_state", "count_rows")).format(
                table=held.table,
                readable=self._app.readable_sql,
                where=sql.SQL("{} AND {} IS NOT NULL").format(
                    self._where(where), sql.Identifier("t", held.held_as)
                ),
            )
            row = self._connection.execute(query, self._asked_by(groups, where)).fetchone()
        return int(row[0]) if row else 0

    def visible(self, source_keys: Sequence[str], groups: Sequence[str]) -> set[tuple[str, int]]:
        named = {f"k{n}": part for n, part in enumerate(self._words.arrays(source_keys))}
        with self._reading() as held:
            rows = self._connection.execute(
                self._statement("visible", held), {**self._asked_by(groups, None), **named}
            ).fetchall()
        return {(key_text(key), 0) for (key,) in rows}

    def _rows_of(self, at: HeldColumn) -> Held:
        return Held(self._connection, at.table, at.held_as, self._app.metadata_sql)

    def _question(
        self, at: HeldColumn, vector: Vectors, k: int, groups: Sequence[str], where: Where | None
    ) -> tuple[sql.Composed, dict[str, Any]]:
        query = self._statement("nearest", at, where=self._where(where))
        return query, {**self._asked_by(groups, where), "vector": self._as_value(vector), "k": k}

    def _hit(self, row: Sequence[Any]) -> Hit:
        key, score = row
        return Hit(key_text(key), 0, float(score))

    def _where(self, where: Where | None) -> sql.Composable:
        key = sql.SQL("{}::text").format(self._words.described.key_parts()["key"])
        return condition(where, key, self._app.metadata_sql)

    @staticmethod
    def _asked_by(groups: Sequence[str], where: Where | None) -> dict[str, Any]:
        return {"groups": list(groups), **values_of(where)}
