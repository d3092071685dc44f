"""Search in a store that is in PostgreSQL: by its index or past it, in either layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

import numpy as np
import psycopg
from psycopg import sql

from qafila.connections.local_settings import set_local
from qafila.search.table import EXACT
from qafila.stores.pgvector.search import Held, by_index, explained, goes_by, most_frequent
from qafila.stores.port import Effort, Hit, Holds, Place, Vectors, Where
from qafila.workload.corpus import PgvectorTarget

At = TypeVar("At")  # where a layout reads: its table, or a column as it is called now


class IndexedSearch(ABC, Generic[At]):
    """The part of both PostgreSQL stores that searches; a layout says what is asked, and where."""

    _connection: psycopg.Connection[Any]
    _place: Place
    _settings: PgvectorTarget

    @abstractmethod
    def _reading(self) -> AbstractContextManager[At]:
        """Open a transaction; what it yields stays where it is until the end."""

    @abstractmethod
    def _rows_of(self, at: At) -> Held: ...

    @abstractmethod
    def _question(
        self, at: At, vector: Vectors, k: int, groups: Sequence[str], where: Where | None
    ) -> tuple[sql.Composed, dict[str, Any]]:
        """Return the statement for the k nearest chunks, and its parameters."""

    @abstractmethod
    def _hit(self, row: Sequence[Any]) -> Hit: ...

    @abstractmethod
    def readers(self) -> Mapping[str, int]: ...

    @abstractmethod
    def count(self) -> int: ...

    def search(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None = None,
        effort: Effort | None = None,
    ) -> list[Hit]:
        return self._nearest(vector, k, groups, where, by_index(self._settings, effort))

    def search_exact(
        self, vector: Vectors, k: int, groups: Sequence[str], where: Where | None = None
    ) -> list[Hit]:
        return self._nearest(vector, k, groups, where, EXACT)

    def scans(self, groups: Sequence[str], where: Where | None = None) -> bool:
        with self._reading() as at:
            return not goes_by(self._plan(at, groups, where), self._rows_of(at).usable())

    def index_problems(self) -> list[str]:
        if self._settings.index == "none":
            return []
        groups = most_frequent(self.readers())
        with self._reading() as at:
            plan, rows = self._plan(at, groups, None), self._rows_of(at)
            rebuild = f"qafila run embedding-backfill {self._place.workload}"
            return list(rows.problems(rebuild, plan, not goes_by(plan, rows.usable())))

    def values(self) -> Mapping[Holds, int]:
        rows = self.count()
        with self._reading() as at:
            return self._rows_of(at).values(rows)

    def _nearest(
        self,
        vector: Vectors,
        k: int,
        groups: Sequence[str],
        where: Where | None,
        settings: Mapping[str, str],
    ) -> list[Hit]:
        with self._reading() as at:
            set_local(self._connection, settings)
            # planned anew each time: a prepared plan would outlive the settings of search_exact
            rows = self._connection.execute(
                *self._question(at, vector, k, groups, where), prepare=False
            ).fetchall()
        return [self._hit(row) for row in rows]

    def _plan(self, at: At, groups: Sequence[str], where: Where | None) -> list[Mapping[str, Any]]:
        some = np.full(self._place.dimensions, 0.5, np.float32)
        set_local(self._connection, by_index(self._settings, None))
        return explained(self._connection, *self._question(at, some, 10, groups, where))
