"""One transaction, declared READ ONLY, with limits on every statement and lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from qafila.errors import Unavailable
from qafila.sql import statement

COUNT_TIMEOUT_MS = 5_000  # past this the planner's estimate is good enough

Rows = list[dict[str, Any]]


class ReadOnly:
    """Reads through a connection that the caller owns; its refusals come out as our errors."""

    def __init__(self, connection: psycopg.Connection[Any], *, timeout_seconds: int) -> None:
        self._connection = connection
        self._timeout_ms = timeout_seconds * 1000

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Keep one snapshot open to read from; ``name`` is what errors say was looked at.

        Raises:
            Unavailable: it may not be read, is locked, or does not answer in time.
        """
        with self._translated(name), self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._limit(self._timeout_ms)
            self._connection.execute("SELECT set_config('lock_timeout', '2s', true)")
            yield

    def rows(self, name: str, values: Mapping[str, Any] | None = None) -> Rows:
        """Return the rows of a statement of ``inspect``, by the names of their columns."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement("inspect", name), values).fetchall()

    def attempt(self, query: sql.Composed, *, binary: bool = False) -> Rows | None:
        """Run what may take long or be forbidden; None when it did not work out."""
        try:
            with self._connection.transaction():  # a savepoint: the look goes on after a refusal
                self._limit(min(COUNT_TIMEOUT_MS, self._timeout_ms))
                with self._connection.cursor(row_factory=dict_row) as cursor:
                    rows = cursor.execute(query, binary=binary).fetchall()
                self._limit(self._timeout_ms)
                return rows
        except (psycopg.errors.QueryCanceled, psycopg.errors.UndefinedTable):
            return None

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        """Turn the database's errors into ours."""
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            raise Unavailable(
                f"{name} did not answer within {self._timeout_ms // 1000} s.",
                kept="everything; it was only read.",
                remedy="give it longer (--timeout-seconds), or look at fewer rows (--sample)",
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise Unavailable(
                f"{name} may not be read: {error.diag.message_primary}.",
                kept="everything; nothing was touched.",
                remedy=f"GRANT SELECT ON {name} TO the role in the address",
            ) from error
        except psycopg.errors.LockNotAvailable as error:
            raise Unavailable(
                f"{name} is locked by somebody who changes it, and no lock is waited for longer "
                "than 2 s.",
                kept="everything; nothing was touched.",
                remedy="look again when that is done; pg_stat_activity says who it is",
            ) from error
        except psycopg.OperationalError as error:
            raise Unavailable(
                f"the database went away while {name} was looked at: {str(error).strip()}.",
                kept="everything; it was only read.",
                remedy="look again when it answers",
            ) from error

    def _limit(self, milliseconds: int) -> None:
        self._connection.execute(
            "SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)]
        )
