"""PostgreSQL settings that last as long as a transaction, or as a session of ours."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql


def set_local(connection: psycopg.Connection[Any], settings: Mapping[str, str]) -> None:
    """Set all of them in one statement; they are gone at the end of the transaction around it."""
    each = sql.SQL(", ").join([sql.SQL("set_config(%s, %s, true)")] * len(settings))
    values = [word for setting in settings.items() for word in setting]
    connection.execute(sql.SQL("SELECT {}").format(each), values)


def end_with_us(connection: psycopg.Connection[Any]) -> None:
    """Let the server end a statement of this session within two seconds of losing us.

    Without it an index build goes on for as long as it takes when its client was killed, and a
    second one would be in its way. Not every system that PostgreSQL runs on can tell.
    """
    with suppress(psycopg.errors.InvalidParameterValue), connection.transaction():
        connection.execute("SET client_connection_check_interval = '2s'")
