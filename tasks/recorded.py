"""Connections as the ledger or a rollback card keeps them, opened without Prefect where possible.

The way back goes through here: a secret comes from the variable ``QAFILA_SECRET_<NAME>``, and only
failing that from the Prefect block of the same name, for which nobody waits longer than a moment.
It goes only to the address that it was given for, whatever the ledger or the card says.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from qafila.connecting import connect_postgres
from qafila.errors import Refused, Unavailable
from qafila.sql import statement
from tasks.ledger import Connection
from tasks.secret_bindings import (
    address_of,
    address_variable,
    is_bound,
    require_bound,
    require_same,
    secret_variable,
)

POSTGRES = "qafila-postgres"
_PREFECT_S = 10.0


@dataclass(frozen=True)
class Recorded:
    """One connection: the kind of its block, its settings without secrets."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    has_secret: bool

    @property
    def variable(self) -> str:
        """Return the environment variable in which its secret may stand."""
        return secret_variable(self.name)


Lookup = Callable[[str], Recorded | None]


def recorded_in(ledger: Connection) -> Lookup:
    """Return how to find a connection by its name in the ledger."""

    def find(name: str) -> Recorded | None:
        row = ledger.execute(statement("ledger", "get_connection"), {"name": name}).fetchone()
        return None if row is None else Recorded(name, row[0], dict(row[1]), bool(row[2]))

    return find


def open_postgres(found: Recorded | None, name: str) -> psycopg.Connection[Any]:
    """Return an autocommit connection to a recorded database.

    Raises:
        Refused: it was never recorded, is of another kind, or its address is not the one that its
            secret was given for.
        Unavailable: the server does not answer, or nobody knows the password.
    """
    if found is None or found.kind != POSTGRES:
        raise Refused(
            f"there is no connection {name!r} of kind {POSTGRES!r}.",
            remedy=f"create a block {POSTGRES}/{name} in the Prefect UI, then: qafila apply FILE",
        )
    password = _password(found) if found.has_secret else None
    if password is None and is_bound(name):
        require_bound(name, found.kind, found.settings)
    return connect_postgres(
        str(found.settings["url"]), password, int(found.settings.get("connect_timeout_seconds", 5))
    )


def _password(found: Recorded) -> str:
    def load() -> Any:
        from blocks.postgres import PostgresDatabase  # late: Prefect's classes take a second

        return PostgresDatabase.load(found.name)

    return secret_of(found, load, "password")


def secret_of(found: Recorded, load: Callable[[], Any], field: str) -> str:
    """Return a connection's secret: its variable, else the ``field`` of the block from ``load``.

    Raises:
        Refused: the recorded address is not the one that the secret was given for.
        Unavailable: neither knows it.
    """
    if found.variable in os.environ:
        require_bound(found.name, found.kind, found.settings)
        return os.environ[found.variable]
    loaded: list[tuple[str, str]] = []

    def ask() -> None:
        block = load()
        address = address_of(found.kind, block.model_dump())
        loaded.append((address, getattr(block, field).get_secret_value()))

    thread = threading.Thread(target=_quietly, args=(ask,), daemon=True)
    thread.start()
    thread.join(_PREFECT_S)
    if not loaded:
        raise Unavailable(
            f"the secret of {found.name!r} is not known here: {found.variable} is not set, and "
            "Prefect does not tell it.",
            kept="everything as it is.",
            remedy=f"set {found.variable} and {address_variable(found.name)}, then run the same "
            "command again.",
        )
    address, secret = loaded[0]
    recorded = address_of(found.kind, found.settings)
    require_same(found.name, recorded, address, f"the block {found.kind}/{found.name}")
    return secret


def _quietly(load: Callable[[], None]) -> None:
    try:
        load()
    except Exception:  # noqa: BLE001  whatever Prefect says, the caller says what to set
        return
