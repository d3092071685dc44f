"""The statements that put a capture into a source, and the comment that says which they were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, LiteralString

from psycopg import sql

if TYPE_CHECKING:
    from qafila.live_sync.capture import Capture

_PINNED = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
}
_PLAIN = frozenset(
    {
        "int2",
        "int4",
        "int8",
        "numeric",
        "text",
        "varchar",
        "bpchar",
        "char",
        "name",
        "uuid",
        "bool",
        "oid",
        "inet",
        "cidr",
        "macaddr",
    }
)


def ddl(capture: Capture, types: Mapping[str, str], role: str) -> sql.Composed:
    """Return what installs a capture, as text; ``role`` is who writes vectors into the table."""
    pinned = {} if _PLAIN.issuperset(types.values()) else _PINNED

    def key(row: Literal["OLD", "NEW"]) -> sql.Composable:
        parts = [
            sql.SQL("{}.{}::text").format(sql.SQL(row), sql.Identifier(c)) for c in capture.key
        ]
        return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(parts))

    whole = sql.SQL(source_text("install")).format(
        schema=sql.Identifier(capture.schema),
        comment=sql.Literal(json.dumps(comment_of(capture))),
        outbox=capture.outbox,
        function=function_of(capture),
        table=capture.relation,
        row_trigger=sql.Identifier(capture.triggers[0]),
        truncate_trigger=sql.Identifier(capture.triggers[1]),
        settings=sql.SQL(" ").join(
            sql.SQL("SET {} = {}").format(sql.Identifier(n.lower()), sql.Literal(v))
            for n, v in pinned.items()
        ),
        new=key("NEW"),
        old=key("OLD"),
    )
    return whole + sql.SQL("\n") + own_role(capture, role)


def own_role(capture: Capture, role: str) -> sql.Composed:
    """Return what binds the mark of our own writes to a role; install.sql comes before it."""
    return sql.SQL(source_text("own_role")).format(
        schema=sql.Identifier(capture.schema),
        comment=sql.Literal(json.dumps(comment_of(capture))),
        function=function_of(capture),
        table=capture.relation,
        row_trigger=sql.Identifier(capture.triggers[0]),
        role=sql.Literal(role),
    )


def comment_of(capture: Capture) -> dict[str, str]:
    """Return what the comment on the capture's schema is to say."""
    return {
        "what": "Qafila live sync; take it out with: qafila live-sync remove",
        "workload": capture.workload,
        "token": capture.token,
        "definition": definition_of(capture, "install", "own_role"),
    }


def definition_of(capture: Capture, *texts: str) -> str:
    """Return a digest of what installs a capture, and of what it follows."""
    meant = json.dumps([*(source_text(name) for name in texts), capture.table, capture.key])
    return hashlib.sha256(meant.encode()).hexdigest()[:12]


def earlier_definition(capture: Capture) -> str:
    """Return the definition of the version whose trigger believed the setting of every role."""
    return definition_of(capture, "install")


def function_of(capture: Capture) -> sql.Identifier:
    """Return the name of the trigger's function."""
    return sql.Identifier(capture.schema, "capture")


def source_text(name: str) -> LiteralString:
    """Return a file of qafila/sql/source."""
    return (files("qafila.sql") / "source" / f"{name}.sql").read_text()
