"""The same question about a text of blanks alone, asked of a PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from qafila.core.blanks import BLANKS


def is_blank_sql(connection: psycopg.Connection[Any], text: sql.Composable) -> sql.Composed:
    """Return the condition that a text has nothing but blanks, or is NULL.

    A text that begins with a letter is not looked at any further. A database in another encoding
    than UTF-8 may not know all the blanks, so there only those of ASCII count.
    """
    known = BLANKS
    if connection.info.parameter_status("server_encoding") != "UTF8":
        known = "".join(c for c in BLANKS if c.isascii())
    return sql.SQL(
        "coalesce(ltrim(left({text}, 1), {blanks}) = '' AND ltrim({text}, {blanks}) = '', true)"
    ).format(text=text, blanks=sql.Literal(known))
