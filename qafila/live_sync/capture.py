"""Capture in the source: what is installed there, whether it holds, how it comes and goes.

Everything is one transaction with one short lock, so that the source is either as it was or
captured, whatever dies meanwhile.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from qafila.connections.postgres import connect_postgres
from qafila.endpoints import Reach, reach_of
from qafila.errors import BadInput, Refused, Unavailable
from qafila.ledger.ledger import Connection
from qafila.live_sync.capture_sql import (
    comment_of,
    ddl,
    earlier_definition,
    function_of,
    own_role,
    source_text,
)
from qafila.sql import statement
from qafila.stores.brief_lock import PATIENCE, Patience, change_briefly
from qafila.workload.corpus import PostgresSource
from qafila.workload.model import Workload

_OLDEST = 13_00_00
_UPGRADE_PATIENCE = Patience(total_seconds=2.0)  # it is tried again at the next look
_KINDS = {"v": "a view", "m": "a materialised view", "f": "a foreign table", "S": "a sequence"}


@dataclass(frozen=True)
class Capture:
    """What is, or is to be, installed for one workload."""

    workload: str
    token: str
    block: str
    table: str
    key: tuple[str, ...]

    @property
    def schema(self) -> str:
        return f"qafila_outbox_{self.workload.replace('-', '_')}"

    @property
    def outbox(self) -> sql.Identifier:
        return sql.Identifier(self.schema, "outbox")

    @property
    def triggers(self) -> list[str]:
        return [self.schema, f"{self.schema}_truncate"]

    @property
    def relation(self) -> sql.Identifier:
        return sql.Identifier(*self.table.split("."))

    def same_rows(self, other: Capture) -> bool:
        """Say whether both follow the same rows by the same key."""
        return (self.block, self.table, self.key) == (other.block, other.table, other.key)


def wanted(workload: Workload, token: str = "") -> Capture:
    """Return the capture that this workload needs.

    Raises:
        Refused: its source is no table, so there is nothing to put a trigger on.
    """
    source = workload.corpus.source
    if not isinstance(source, PostgresSource) or source.table is None:
        what = "a query" if isinstance(source, PostgresSource) else f"of kind {source.kind!r}"
        raise Refused(
            f"the source of {workload.name} is {what}; live sync follows a PostgreSQL table.",
            kept="the source as it is.",
            remedy="name a table in corpus.source, or set corpus.live_sync to false and pause the "
            "writes while the generation is filled.",
        )
    return Capture(workload.name, token, source.block, source.table, tuple(source.key))


def recorded(ledger: Connection, workload: str) -> tuple[Capture, int] | None:
    """Return what the ledger knows of a workload's capture, and before which transaction it was
    pruned; None: there is none."""
    row = ledger.execute(statement("outbox", "read_live_sync"), {"workload": workload}).fetchone()
    if row is None:
        return None
    token, block, table, key, pruned = row
    return Capture(workload, token, block, table, tuple(key)), int(pruned)


def record(ledger: Connection, capture: Capture) -> Capture:
    """Note a capture in the ledger before it is installed; the first one stays. Idempotent.

    Raises:
        Refused: another table is followed already.
    """
    ledger.execute(
        statement("outbox", "put_live_sync"),
        {
            "workload": capture.workload,
            "token": secrets.token_hex(6),
            "block": capture.block,
            "table": capture.table,
            "key": list(capture.key),
        },
    )
    known = recorded(ledger, capture.workload)
    assert known is not None
    if not known[0].same_rows(capture):
        before = known[0]
        raise Refused(
            f"live sync of {capture.workload} follows {before.table} by {list(before.key)} in "
            f"{before.block}; the workload now names {capture.table} by {list(capture.key)} in "
            f"{capture.block}.",
            kept="the capture, and the generations that are fed from it.",
            remedy=f"when they may end: qafila live-sync remove {capture.workload}",
        )
    return known[0]


@contextmanager
def open_database(
    ledger: Connection, workload: Workload, reach: Reach | None = None
) -> Iterator[psycopg.Connection[Any]]:
    """Open the source's database."""
    settings = (reach or reach_of(ledger, workload)).source
    assert settings is not None
    with connect_postgres(**settings) as database:
        yield database


def problems(database: psycopg.Connection[Any], capture: Capture) -> list[str]:
    """Return everything that stands in the way of capturing this table, each with its remedy."""
    row = database.execute(statement("outbox", "server")).fetchone()
    assert row is not None
    version, standby, may_create, name, for_all = row
    if version < _OLDEST:
        return [f"the source is PostgreSQL {version // 10000}: live sync needs 13 or newer"]
    found = []
    if standby:
        found.append("the source is a standby, which takes no trigger: name its primary")
    if not may_create:
        found.append(f"the role may not create a schema: GRANT CREATE ON DATABASE {name} TO …")
    if for_all:
        found.append(
            f"publication {', '.join(for_all)} is FOR ALL TABLES: subscribers would be sent the "
            "outbox, which they do not have, and stop; name its tables instead"
        )
    return found + _table_problems(database, capture)


def _table_problems(database: psycopg.Connection[Any], capture: Capture) -> list[str]:
    table = capture.relation.as_string(database)
    row = database.execute(
        statement("outbox", "table_to_follow"), {"table": table, "triggers": capture.triggers}
    ).fetchone()
    if row is None:
        return [f"the source has no table {capture.table!r}: correct corpus.source"]
    kind, persistence, ours, owner, has_children, triggers = row
    if kind not in "rp":
        return [
            f"{capture.table!r} is {_KINDS.get(kind, 'no table')}, on which no change can be "
            "captured: name the table behind it"
        ]
    found = []
    if not ours:
        found.append(
            f"{capture.table!r} belongs to {owner}, and only its owner may add a trigger and take "
            "it away again: connect as a member of that role"
        )
    if persistence != "p":
        found.append(
            f"{capture.table!r} is unlogged or temporary: a crash empties it, and no trigger fires"
        )
    if kind == "r" and has_children:
        found.append(
            f"tables inherit from {capture.table!r}; writes to them fire no trigger of it: make "
            "them partitions"
        )
    if triggers and read_installed(database, capture) is None:
        found.append(f"{capture.table!r} has a trigger {triggers[0]!r} already: drop it")
    types = _key_types(database, capture)
    missing = [c for c in capture.key if c not in types]
    if missing:
        found.append(f"{capture.table!r} has no column {', '.join(missing)}: correct its key")
    elif (
        database.execute(
            statement("source", "unique_index"), {"table": table, "key": list(capture.key)}
        ).fetchone()
        is None
    ):
        found.append(
            f"no index keeps the key {list(capture.key)} of {capture.table!r} unique, so a later "
            "row could come under the key of another: CREATE UNIQUE INDEX, or name other columns"
        )
    return found


def _key_types(database: psycopg.Connection[Any], capture: Capture) -> Mapping[str, str]:
    return dict(
        database.execute(
            statement("outbox", "key_types"),
            {"table": capture.relation.as_string(database), "key": list(capture.key)},
        ).fetchall()
    )


def _role(database: psycopg.Connection[Any]) -> str:
    """Return the role that the source's connection logs in as."""
    row = database.execute("SELECT session_user::text").fetchone()
    assert row is not None
    return str(row[0])


def script(database: psycopg.Connection[Any], capture: Capture) -> str:
    """Return the statements of an install as a person could run them."""
    statements: str = ddl(capture, _key_types(database, capture), _role(database)).as_string(
        database
    )
    return statements


def read_installed(database: psycopg.Connection[Any], capture: Capture) -> list[str] | None:
    """Return what is wrong with the capture that is installed; None: there is none.

    Raises:
        Refused: it is another ledger's.
    """
    row = database.execute(
        statement("outbox", "read_capture"),
        {
            "table": capture.relation.as_string(database),
            "triggers": capture.triggers,
            "outbox": capture.outbox.as_string(database),
            "schema": capture.schema,
        },
    ).fetchone()
    if row is None:
        return None
    _, triggers, outbox = row
    told = _told(database, capture)
    if told.get("token") != capture.token:
        raise Refused(
            f"schema {capture.schema} in the source belongs to somebody else"
            f"{' (the live sync of another ledger)' if told else ''}.",
            kept="it, and everything it feeds.",
            remedy="remove it from where it was installed; or, when nobody needs it: "
            f"DROP SCHEMA {capture.schema} CASCADE",
        )
    faults = []
    if told.get("definition") not in (
        comment_of(capture)["definition"],
        earlier_definition(capture),
    ):
        faults.append("it was installed by another version, or for another table or key")
    if triggers != len(capture.triggers):
        faults.append(f"a trigger is missing on {capture.table}, or does not fire always")
    if not outbox:
        faults.append("its outbox is gone")
    return faults


def require_installed(database: psycopg.Connection[Any], capture: Capture) -> None:
    """Return when the capture is there and whole; bring one of an earlier version up to date.

    That is done when the table is free for a moment; until then, the earlier one goes on.

    Raises:
        Refused: it is not, so changes have been missed.
    """
    faults = read_installed(database, capture)
    if faults != []:
        told = "it is not installed" if faults is None else "; ".join(faults)
        raise Refused(
            f"changes of {capture.table} are not captured as they should be: {told}. Some may have "
            "been missed.",
            kept="every generation as it is; nothing is applied.",
            remedy=f"qafila live-sync remove {capture.workload} --force; qafila live-sync install "
            f"{capture.workload}; then fill a generation again: qafila run embedding-backfill "
            f"{capture.workload} --set reload=true",
        )
    if _told(database, capture).get("definition") == earlier_definition(capture):
        with suppress(Unavailable):
            change_briefly(
                database,
                capture.relation,
                lambda: _run(database, own_role(capture, _role(database))),
                what="replacing the trigger of live sync",
                patience=_UPGRADE_PATIENCE,
            )


def _told(database: psycopg.Connection[Any], capture: Capture) -> Mapping[str, str]:
    """Return what the comment on the capture's schema says; nothing where it is not ours."""
    row = database.execute(
        "SELECT obj_description(to_regnamespace(%s), 'pg_namespace')", [capture.schema]
    ).fetchone()
    try:
        told = json.loads((row and row[0]) or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def install(
    database: psycopg.Connection[Any], capture: Capture, patience: Patience = PATIENCE
) -> bool:
    """Install the capture; False when it is there already. All or nothing.

    Raises:
        BadInput: it cannot be; names every problem.
        Unavailable: the table was never free for a moment.
    """
    if read_installed(database, capture) is not None:
        require_installed(database, capture)
        return False
    found = problems(database, capture)
    if found:
        raise BadInput(
            f"changes of {capture.table} cannot be captured:",
            found,
            remedy=f"mend it, then: qafila live-sync install {capture.workload}",
        )
    statements = ddl(capture, _key_types(database, capture), _role(database))
    change_briefly(
        database,
        capture.relation,
        lambda: _run(database, statements),
        what="installing live sync",
        patience=patience,
    )
    return True


def uninstall(
    database: psycopg.Connection[Any], capture: Capture, patience: Patience = PATIENCE
) -> bool:
    """Take the capture out and leave the database as it was; False when it is not there.

    Raises:
        Refused: it is another ledger's.
        Unavailable: the table was never free for a moment.
    """
    if read_installed(database, capture) is None:
        return False
    holders = database.execute(
        statement("outbox", "triggers_of"), {"schema": capture.schema}
    ).fetchall()
    drops: Sequence[sql.Composable] = [
        sql.SQL("DROP TRIGGER {} ON {};").format(sql.Identifier(t), sql.Identifier(s, c))
        for s, c, t in holders
    ]
    rest = sql.SQL(source_text("remove")).format(
        schema=sql.Identifier(capture.schema), outbox=capture.outbox, function=function_of(capture)
    )
    tables = list(dict.fromkeys((s, c) for s, c, _ in holders))
    free = sql.Identifier(*tables[0]) if tables else capture.outbox
    change_briefly(
        database,
        free,
        lambda: _run(database, sql.SQL("\n").join([*drops, rest])),
        what="removing live sync",
        patience=patience,
    )
    return True


def _run(database: psycopg.Connection[Any], statements: sql.Composed) -> None:
    database.execute(statements)
