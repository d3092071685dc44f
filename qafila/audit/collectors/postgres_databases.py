"""PostgreSQL: the server, its databases with their extensions, the largest tables, and growth."""

from __future__ import annotations

from typing import Any

from qafila.audit.ai_need.names import meaning_of_table
from qafila.audit.collectors.postgres_server import Database, Row, Server
from qafila.audit.estate import Edge, Outcome, Resource

_KINDS = {"r": "table", "m": "materialized view", "p": "partitioned table"}
_LEAST_DAYS = 1.0


def read(server: Server) -> None:
    """Add the server, each database that is no template, and the largest tables of each."""
    databases = server.databases()
    with server.database() as opened:
        about = opened.rows("server")[0]
    server.found.append(
        Resource(
            server.identifier(),
            "postgres:server",
            server.name,
            server.region,
            None,
            {},
            {
                "engine": "postgres",
                "version": about["version"],
                "replica": about["replica"],
                "address": server.address,
                "port": server.port,
                "max_connections": about["max_connections"],
            },
        )
    )
    for row in databases:
        server.found.append(_database(server, row, {}))
        server.edges.append(
            Edge(
                server.identifier(row["name"]),
                server.identifier(),
                "resolves",
                "postgres catalogue",
                1.0,
            )
        )
    server.visit(databases, lambda row, opened: _inside(server, row, opened))


def _database(server: Server, row: Row, inside: dict[str, Any]) -> Resource:
    return Resource(
        server.identifier(row["name"]),
        "postgres:database",
        row["name"],
        server.region,
        row["size_bytes"],
        {},
        {"encoding": row["encoding"], "looked_into": bool(inside), **inside},
    )


def _inside(server: Server, row: Row, opened: Database) -> None:
    extensions = opened.rows("extensions")
    began = opened.rows("counted_since")[0]
    tables = largest_tables(server, row["name"], opened)
    server.found.append(  # in place of what was known from outside
        _database(
            server,
            row,
            {
                "extensions": {e["name"]: e["version"] for e in extensions if e["version"]},
                "pgvector_available": any(e["name"] == "vector" for e in extensions),
                "tables": len(tables),
            },
        )
    )
    for table in tables:
        name = f"{table['schema']}.{table['name']}"
        server.found.append(
            Resource(
                server.identifier(row["name"], name),
                "postgres:table",
                name,
                server.region,
                table["total_bytes"],
                {},
                {
                    "database": row["name"],
                    "is": _KINDS[table["kind"]],
                    "rows": rows_of(table),
                    "rows_are": "as the planner last counted them",
                    "meaning": meaning_of_table(table["name"]),
                    **_growth(table, began),
                },
            )
        )


def largest_tables(server: Server, database: str, opened: Database) -> list[Row]:
    """Return the tables of one database, largest first; what cannot be read of them is noted."""
    tables = opened.rows("tables", limit=server.limits.tables + 1)
    if len(tables) > server.limits.tables:
        server.missed(
            Outcome.TRUNCATED,
            f"database {database} has more tables than the {server.limits.tables} largest",
        )
    return tables[: server.limits.tables]


def rows_of(table: Row) -> int | None:
    """Return how many rows a table has, as last counted; None: it never was, and is not empty."""
    return None if table["unknown"] else int(table["rows"] or 0)


def _growth(table: Row, began: Row) -> dict[str, Any]:
    """Return rows inserted a day since the counters began: an estimate, and since when it is."""
    since, days = began["since"], began["days"]
    if since is None or days is None or days < _LEAST_DAYS or table["inserted"] is None:
        return {"rows_per_day": None, "counted_since": None if since is None else since.isoformat()}
    return {
        "rows_per_day": round(int(table["inserted"]) / days, 3),
        "rows_per_day_is": "an estimate: rows inserted since then, deleted ones not taken off",
        "deleted_per_day": round(int(table["deleted"]) / days, 3),
        "counted_since": since.isoformat(),
    }
