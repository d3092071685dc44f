"""Search in a generation table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pgvector import Vector
from psycopg import sql

from qafila.sql import statement
from qafila.stores.indexed_search import IndexedSearch
from qafila.stores.pgvector.search import Held, condition, values_of
from qafila.stores.port import Hit, Vectors, Where

_READABLE = sql.SQL("acl && %(groups)s")


class TableSearch(IndexedSearch[Held]):
    """The part of the pgvector store that searches its table."""

    _table: sql.Identifier

    def matching(self, groups: Sequence[str], where: Where | None = None) -> int:
        query = sql.SQL(statement("index_state", "count_rows")).format(
            table=self._table, readable=_READABLE, where=_where(where)
        )
        row = self._connection.execute(
            query, {"groups": list(groups), **values_of(where)}
        ).fetchone()
        return int(row[0]) if row else 0

    def visible(self, source_keys: Sequence[str], groups: Sequence[str]) -> set[tuple[str, int]]:
        rows = self._connection.execute(
            sql.SQL(statement("pgvector", "visible")).format(table=self._table, readable=_READABLE),
            {"keys": list(source_keys), "groups": list(groups)},
        ).fetchall()
        return {(key, number) for key, number in rows}

    @contextmanager
    def _reading(self) -> Iterator[Held]:
        with self._connection.transaction():
            yield Held(self._connection, self._table, "embedding", sql.Identifier("metadata"))

    def _rows_of(self, at: Held) -> Held:
        return at

    def _question(
        self, at: Held, vector: Vectors, k: int, groups: Sequence[str], where: Where | None
    ) -> tuple[sql.Composed, dict[str, Any]]:
        query = sql.SQL(statement("pgvector", "nearest")).format(
            table=at.table,
            type=sql.Identifier(self._settings.vector_type),
            readable=_READABLE,
            where=_where(where),
        )
        values = {"vector": Vector(vector), "k": k, "groups": list(groups), **values_of(where)}
        return query, values

    def _hit(self, row: Sequence[Any]) -> Hit:
        key, number, score = row
        return Hit(key, number, float(score))


def _where(where: Where | None) -> sql.Composable:
    return condition(where, sql.Identifier("source_key"), sql.Identifier("metadata"))
