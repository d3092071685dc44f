"""The same question about a text of blanks alone, asked of a PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from qafila.text.blanks import BLANKS

_CODES = [0, *map(ord, BLANKS)]  # an empty text has 0


def is_blank_sql(connection: psycopg.Connection[Any], text: sql.Composable) -> sql.Composed:
    """Return the condition that a text has nothing but blanks, or is NULL.

    Only a text that begins with a blank is looked at any further, and where it begins is compared
    as a number: to trim even one character costs six times as much, for every row there is. A
    database in another encoding than UTF-8 may not know all the blanks, so there only those of
    ASCII count.
    """
    if connection.info.parameter_status("server_encoding") == "UTF8":
        begins = sql.SQL("ascii(left({text}, 1)) = ANY ({codes}::integer[])")
        known = BLANKS
    else:
        begins = sql.SQL("ltrim(left({text}, 1), {blanks}) = ''")
        known = "".join(c for c in BLANKS if c.isascii())
    condition = sql.SQL("coalesce({begins} AND ltrim({text}, {blanks}) = '', true)")
    parts = {"text": text, "blanks": sql.Literal(known), "codes": sql.Literal(_CODES)}
    return condition.format(begins=begins.format(**parts), **parts)
