"""PostgreSQL: who is connected now, by database, address and application."""

from __future__ import annotations

from qafila.audit.collectors.postgres_server import Server
from qafila.audit.estate import Edge, Outcome, Resource


def read(server: Server) -> None:
    """Add each client that has a session at this moment, and an edge to its database.

    A moment is not a month: a client that is away now is not seen, and that is no gap of ours.
    """
    with server.database() as opened:
        if not opened.rows("server")[0]["sees_all"]:
            server.missed(
                Outcome.DENIED,
                "pg_stat_activity shows our own sessions alone: "
                "GRANT pg_read_all_stats was not given to us",
            )
            return
        sessions = opened.rows("clients", limit=server.limits.clients + 1)
    if len(sessions) > server.limits.clients:
        server.missed(Outcome.TRUNCATED, f"more than {server.limits.clients} kinds of client")
    for row in sessions[: server.limits.clients]:
        address = row["address"] or "local"
        name = row["application"] or row["role"] or "no name"
        identifier = server.identifier("client", address, f"{row['role']}", f"{row['application']}")
        server.found.append(
            Resource(
                f"{identifier}@{row['database']}",
                "postgres:client",
                name,
                server.region,
                None,
                {},
                {
                    "client_address": address,
                    "application": row["application"],
                    "role": row["role"],
                    "database": row["database"],
                    "sessions": row["sessions"],
                    "active": row["active"],
                },
            )
        )
        server.edges.append(
            Edge(
                f"{identifier}@{row['database']}",
                server.identifier(row["database"]),
                "calls",
                "pg_stat_activity",
                0.9,
                row["last_seen"],
            )
        )
