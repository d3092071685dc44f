"""PostgreSQL settings that last as long as a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql


def set_local(connection: psycopg.Connection[Any], settings: Mapping[str, str]) -> None:
    """Set all of them in one statement; they are gone at the end of the transaction around it."""
    each = sql.SQL(", ").join([sql.SQL("set_config(%s, %s, true)")] * len(settings))
    values = [word for setting in settings.items() for word in setting]
    connection.execute(sql.SQL("SELECT {}").format(each), values)
