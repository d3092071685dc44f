"""One PostgreSQL server, read only: every statement in a bounded transaction of its own.

A database that we may not connect to, or a table that we may not read, is named. Nothing is
scanned: sizes come from the file system, rows and widths from the planner's statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from qafila.audit.collectors.port import Look
from qafila.audit.estate import Outcome
from qafila.connections.postgres import connect_postgres
from qafila.errors import Unavailable
from qafila.sql import statement

Row = dict[str, Any]
APPLICATION = "qafila inventory-audit"  # from the first moment: none of ours is taken for a client
# Where a vendor keeps its own; no customer's role may enter, and nothing of the customer is in it.
VENDORS = frozenset({"rdsadmin", "cloudsqladmin", "alloydbadmin", "azure_maintenance", "azure_sys"})
_BUSY = frozenset({"55P03", "53300", "57P03", "40001"})


@dataclass(frozen=True)
class ServerLimits:
    """How far a look goes: databases, the largest tables of each, rows sampled of a column.

    ``sample_rows`` 0: no text is read, and of what language it is is not known.
    """

    databases: int = 100
    tables: int = 200
    columns: int = 100
    clients: int = 1000
    sample_rows: int = 200
    sample_characters: int = 2000
    statement_s: float = 15.0
    lock_s: float = 2.0


class _Closed(Exception):
    """The server or the database does not take our connection."""

    def __init__(self, denied: bool) -> None:
        super().__init__(
            "it asks for a password, and not for the one that we have"
            if denied
            else "it takes no connection of ours"
        )
        self.denied = denied


class Server(Look):
    """One server. ``url`` names any of its databases; all the others are looked into as well.

    Connections are opened when they are needed and closed after each database.
    """

    def __init__(
        self,
        name: str,
        url: str,
        password: str | None = None,
        *,
        connect_timeout_seconds: int = 5,
        limits: ServerLimits = ServerLimits(),
        connect: Callable[..., psycopg.Connection[Any]] = connect_postgres,
    ) -> None:
        super().__init__(name)
        self.name = name
        self.limits = limits
        self._url = url
        self._password = password
        self._wait = connect_timeout_seconds
        self._connect = connect

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave; every connection was closed where it was opened."""

    @property
    def address(self) -> str | None:
        """Return the host of the server as it was given, for edges from what names it."""
        host = conninfo_to_dict(self._url).get("host")
        return None if host is None or str(host).startswith("/") else str(host).lower()

    @property
    def port(self) -> int:
        return int(conninfo_to_dict(self._url).get("port") or 5432)

    def identifier(self, *parts: str) -> str:
        """Return the id of the server, or of what is in it: database, then ``schema.table``."""
        return "/".join([f"postgres:{self.name}", *parts])

    @contextmanager
    def database(self, name: str | None = None) -> Iterator[Database]:
        """Open one database of the server, the one of the url without a name; then close it."""
        of = {} if name is None else {"dbname": name}
        url = make_conninfo(self._url, application_name=APPLICATION, **of)
        self.calls += 1
        try:
            connection = self._connect(url, self._password, self._wait)
        except Unavailable as error:
            pg = getattr(error.__cause__, "pgconn", None)
            raise _Closed(bool(pg and (pg.needs_password or pg.used_password))) from error
        with connection:
            yield Database(self, connection)

    def databases(self) -> list[Row]:
        """Return the databases of the server, by name; one that we may not enter among them."""
        with self.database() as opened:
            found = opened.rows("databases", limit=self.limits.databases + 1)
        if len(found) > self.limits.databases:
            self.missed(
                Outcome.TRUNCATED, f"the server has more than {self.limits.databases} databases"
            )
        return found[: self.limits.databases]

    def visit(self, databases: list[Row], look: Callable[[Row, Database], None]) -> None:
        """Look into each database that takes us; one that does not is noted, the rest go on.

        Those that the vendor of a managed server keeps for itself are passed over.
        """
        for row in databases:
            name = row["name"]
            if name in VENDORS:
                continue
            if not row["open"]:
                self.missed(Outcome.UNSUPPORTED, f"database {name}: it takes no connections")
            elif not row["may"]:
                self.missed(Outcome.DENIED, f"database {name}: CONNECT was not granted to us")
            else:
                with self.tolerating(f"database {name}"), self.database(name) as opened:
                    look(row, opened)

    def outcome_of(self, error: Exception) -> tuple[Outcome, str] | None:
        if isinstance(error, _Closed):
            return (Outcome.DENIED if error.denied else Outcome.UNSUPPORTED), str(error)
        if not isinstance(error, psycopg.Error):
            return None
        code = error.sqlstate or ""
        if not code:
            return Outcome.UNSUPPORTED, f"no usable answer ({type(error).__name__})"
        said = f"PostgreSQL said {code} ({type(error).__name__})"
        if code == "42501" or code.startswith("28"):
            return Outcome.DENIED, said
        if code in _BUSY:
            return Outcome.THROTTLED, said
        if code == "57014":
            return Outcome.TRUNCATED, f"it took longer than {self.limits.statement_s:g} s"
        return Outcome.UNSUPPORTED, said


class Database:
    """One open database; each statement runs read only, within the server's limits."""

    def __init__(self, server: Server, connection: psycopg.Connection[Any]) -> None:
        self._server = server
        self._connection = connection

    def rows(self, name: str, **values: object) -> list[Row]:
        """Return the rows of a statement of ``postgres_server.sql``."""
        return self.ask(statement("postgres_server", name), values)

    def ask(self, query: LiteralString | sql.Composed, values: dict[str, Any]) -> list[Row]:
        """Return the rows of one statement. Raises what PostgreSQL raises."""
        limits = self._server.limits
        self._server.calls += 1
        with self._connection.transaction(), self._connection.cursor(row_factory=dict_row) as cur:
            cur.execute("SET TRANSACTION READ ONLY")
            cur.execute(
                statement("postgres_server", "limit"),
                {
                    "statement_ms": f"{limits.statement_s * 1000:.0f}",
                    "lock_ms": f"{limits.lock_s * 1000:.0f}",
                },
            )
            return cur.execute(query, values or None).fetchall()
