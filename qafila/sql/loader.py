"""Read named statements; apply numbered schema files under an advisory lock."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Literal, LiteralString, cast

import psycopg

from qafila.errors import Refused

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_LOCK = 0x0_AF11A  # one advisory lock for all schema work in a database


@cache
def _statements(file: str) -> dict[str, LiteralString]:
    text = (files("qafila.sql") / "statements" / f"{file}.sql").read_text()
    parts = _NAME.split(text)
    return {
        name: cast(LiteralString, body.strip())
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def statement(file: str, name: str) -> LiteralString:
    """Return the statement ``name`` of ``statements/<file>.sql``; our own files are trusted."""
    return _statements(file)[name]


def apply_schema(
    connection: psycopg.Connection[object], schema: Literal["ledger", "target"]
) -> list[str]:
    """Apply the schema files not applied yet, in order; return their names.

    With nothing left to apply it only reads: no lock is taken, and SELECT is enough.

    Raises:
        Refused: an applied file was edited afterwards.
    """
    applied_now = []
    found = connection.execute("SELECT to_regclass('qafila.schema_file') IS NOT NULL").fetchone()
    if found == (True,) and not _to_apply(connection, schema):
        return []
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("CREATE SCHEMA IF NOT EXISTS qafila")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS qafila.schema_file ("
            " name text PRIMARY KEY, digest text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        for name, text, digest in _to_apply(connection, schema):
            connection.execute(text)
            connection.execute(
                "INSERT INTO qafila.schema_file (name, digest) VALUES (%s, %s)", [name, digest]
            )
            applied_now.append(name)
    return applied_now


def _to_apply(
    connection: psycopg.Connection[object], schema: Literal["ledger", "target"]
) -> list[tuple[str, LiteralString, str]]:
    """Return name, text and digest of each file that is not applied yet, in order."""
    rows = connection.execute("SELECT name, digest FROM qafila.schema_file").fetchall()
    known = dict(cast(list[tuple[str, str]], rows))
    left = []
    for name, text, digest in _files(schema):
        if known.get(name, digest) != digest:
            raise Refused(
                f"schema file {name} was edited after it was applied.",
                kept="the database is unchanged.",
                remedy="restore the file and put the change into a new numbered file.",
            )
        if name not in known:
            left.append((name, text, digest))
    return left


@cache
def _files(schema: str) -> tuple[tuple[str, LiteralString, str], ...]:
    folder = files("qafila.sql") / schema
    named = sorted((f.name, f.read_text()) for f in folder.iterdir() if f.name.endswith(".sql"))
    return tuple(
        (
            f"{schema}/{name}",
            text,
            hashlib.sha256(text.encode()).hexdigest(),
        )
        for name, text in named
    )
