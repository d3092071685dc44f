"""The ledger: workloads, generations and their phases, plans. Plain functions over a connection.

Every function takes an autocommit connection to the ledger and does one thing in one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from qafila.connections.postgres import protection_of
from qafila.errors import Refused, Unavailable
from qafila.ledger.ownership import Claimant
from qafila.session_name import LEDGER, session_name
from qafila.settings import ledger_url
from qafila.sql import statement
from qafila.text.masking import mask_text
from qafila.workload.fingerprint import Fingerprint, canonical_json
from qafila.workload.model import Workload
from qafila.workload.phases import ENDED, Event, Phase, next_phase

Connection = psycopg.Connection[Any]
_UNDECIDED = (Phase.REGISTERED, Phase.AUDITED)


@dataclass(frozen=True)
class Generation:
    """One complete index of a workload, and where its migration stands."""

    workload: str
    number: int
    revision: int
    fingerprint: str
    phase: str
    phase_since: datetime

    @property
    def ended(self) -> bool:
        return Phase(self.phase) in ENDED


def open_ledger(url: str | None = None) -> Connection:
    """Return an autocommit connection to the ledger; use it as a context manager.

    Raises:
        BadInput: its address cannot be read.
        Unavailable: no ledger is configured, or it does not answer.
    """
    address = url or ledger_url()
    try:
        return psycopg.connect(
            address,
            autocommit=True,
            connect_timeout=5,
            fallback_application_name=session_name(LEDGER),
            **protection_of(address),
        )
    except psycopg.OperationalError as error:
        raise Unavailable(
            f"the ledger does not answer: {mask_text(str(error).strip().splitlines()[0])}",
            kept="nothing was touched.",
            remedy="qafila doctor",
        ) from error


def apply_workload(ledger: Connection, workload: Workload) -> int:
    """Store a workload; the same content again is the same revision. Return the revision."""
    spec = workload.model_dump(mode="json")
    digest = hashlib.sha256(canonical_json(spec)).hexdigest()
    with ledger.transaction(), ledger.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [workload.name])
        row = cursor.execute(
            statement("ledger", "latest_revision"), {"workload": workload.name}
        ).fetchone()
        if row is not None and row["digest"] == digest:
            return int(row["revision"])
        new = cursor.execute(
            statement("ledger", "insert_revision"),
            {"workload": workload.name, "spec": Jsonb(spec), "digest": digest},
        ).fetchone()
    assert new is not None
    return int(new["revision"])


def read_workload(ledger: Connection, name: str) -> tuple[Workload, int]:
    """Return the workload as it is meant now, and its revision.

    Raises:
        Refused: it was never applied; names those that were.
    """
    with ledger.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(statement("ledger", "latest_revision"), {"workload": name}).fetchone()
    if row is None:
        known = ", ".join(list_workloads(ledger)) or "none yet"
        raise Refused(
            f"there is no workload {name!r}; applied so far: {known}.",
            remedy=f"qafila apply workloads/{name}.yaml",
        )
    return Workload.model_validate(row["spec"]), int(row["revision"])


def list_workloads(ledger: Connection) -> list[str]:
    """Return the names of all workloads ever applied."""
    return [r[0] for r in ledger.execute(statement("ledger", "list_workloads")).fetchall()]


def open_generation(
    ledger: Connection, workload: Workload, fingerprint: Fingerprint, *, above: int = 0
) -> Generation:
    """Return the generation in migration; open the next one when the newest has ended.

    Idempotent under retry: an open generation with the same fingerprint is returned as it is. A new
    one has a number above ``above``, the target's highest, and above every one of this ledger's.

    Raises:
        Refused: one is open with another fingerprint, so the two would mix.
    """
    with ledger.transaction(), ledger.cursor(row_factory=class_row(Generation)) as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [workload.name])
        newest = cursor.execute(
            statement("ledger", "newest_generation"), {"workload": workload.name}
        ).fetchone()
        if newest is not None and not newest.ended:
            if newest.fingerprint == fingerprint.digest:
                return newest
            if newest.phase in _UNDECIDED:
                return _mean_anew(cursor, newest, workload, fingerprint)
            raise Refused(
                f"generation {newest.number} of {workload.name} is {newest.phase} with fingerprint "
                f"{newest.fingerprint}; the workload now means {fingerprint.digest}.",
                kept="the open generation and its rows.",
                remedy=f"apply the former file, or: qafila abandon {workload.name} --why TEXT",
            )
        opened = cursor.execute(
            statement("ledger", "open_generation"),
            {
                "workload": workload.name,
                "revision": latest_revision(ledger, workload.name),
                "fingerprint": fingerprint.digest,
                "body": Jsonb(asdict(fingerprint)),
                "phase": Phase.REGISTERED.value,
                "above": above,
            },
        ).fetchone()
    assert opened is not None
    return opened


def _mean_anew(
    cursor: psycopg.Cursor[Generation],
    generation: Generation,
    workload: Workload,
    fingerprint: Fingerprint,
) -> Generation:
    """Let a generation that holds no content yet mean what the workload means now."""
    revision = latest_revision(cursor.connection, workload.name)
    changed = cursor.execute(
        statement("ledger", "mean_anew"),
        {
            "workload": generation.workload,
            "number": generation.number,
            "revision": revision,
            "fingerprint": fingerprint.digest,
            "body": Jsonb(asdict(fingerprint)),
        },
    ).fetchone()
    assert changed is not None
    return changed


def generation_of(ledger: Connection, workload: str, number: int) -> Generation:
    """Return one generation by its number.

    Raises:
        Refused: there is none.
    """
    with ledger.cursor(row_factory=class_row(Generation)) as cursor:
        found = cursor.execute(
            statement("ledger", "read_generation"), {"workload": workload, "number": number}
        ).fetchone()
    if found is None:
        raise Refused(f"{workload} has no generation {number}.", remedy="qafila status")
    return found


def fingerprint_body(ledger: Connection, generation: Generation) -> dict[str, Any]:
    """Return what a generation's fingerprint was made of when it was opened."""
    row = ledger.execute(
        statement("ledger", "fingerprint_body"),
        {"workload": generation.workload, "number": generation.number},
    ).fetchone()
    assert row is not None
    return dict(row[0])


def latest_revision(ledger: Connection, name: str) -> int:
    """Return the revision that the workload is at."""
    return read_workload(ledger, name)[1]


def newest_generation(ledger: Connection, workload: str) -> Generation | None:
    """Return the generation that a migration of this workload is about, if there is one."""
    with ledger.cursor(row_factory=class_row(Generation)) as cursor:
        return cursor.execute(
            statement("ledger", "newest_generation"), {"workload": workload}
        ).fetchone()


def ledger_identity(ledger: Connection) -> str:
    """Return who this ledger is, as the targets that it fills know it."""
    row = ledger.execute(statement("ledger", "identity")).fetchone()
    assert row is not None
    return str(row[0])


def identity_if_any(ledger: Connection) -> str | None:
    """Return who this ledger is; None in one that was not upgraded: a way back must not need it."""
    try:
        return ledger_identity(ledger)
    except psycopg.errors.UndefinedTable:
        return None


def claimant_of(ledger: Connection, workload: str) -> Claimant:
    """Return what this ledger may claim in a target: its identity and its generations' phases."""
    rows = ledger.execute(statement("ledger", "list_phases"), {"workload": workload}).fetchall()
    return Claimant(ledger_identity(ledger), {int(number): str(phase) for number, phase in rows})


def require_generation(ledger: Connection, workload: str, *phases: Phase) -> Generation:
    """Return the newest generation when it is in one of ``phases`` (any, when none is given).

    Raises:
        Refused: there is none, or it is in another phase.
    """
    generation = newest_generation(ledger, workload)
    if generation is None:
        read_workload(ledger, workload)  # a name that nobody applied is told as that
        raise Refused(
            f"{workload} has no generation yet.",
            remedy=f"qafila run inventory-audit {workload}",
        )
    if phases and generation.phase not in phases:
        wanted = " or ".join(repr(p.value) for p in phases)
        raise Refused(
            f"generation {generation.number} of {workload} is {generation.phase!r}; "
            f"this step needs {wanted}.",
            kept="everything; the phase is unchanged.",
            remedy=f"qafila status {workload}",
        )
    return generation


def move_phase(ledger: Connection, generation: Generation, event: Event) -> Generation:
    """Move a generation along the phase table; return it as it is now.

    Raises:
        Refused: the table has no such arrow from where it stands now.
    """
    key = {"workload": generation.workload, "number": generation.number}
    with ledger.transaction(), ledger.cursor(row_factory=class_row(Generation)) as cursor:
        current = cursor.execute(statement("ledger", "lock_generation"), key).fetchone()
        assert current is not None
        phase = next_phase(Phase(current.phase), event)
        cursor.execute(statement("ledger", "set_phase"), {**key, "phase": phase.value})
        moved = cursor.execute(statement("ledger", "lock_generation"), key).fetchone()
    assert moved is not None
    return moved


def put_plan(
    ledger: Connection, generation: Generation, phase: str, body: Mapping[str, object]
) -> dict[str, Any]:
    """Freeze a plan; when one is stored already, return that one unchanged."""
    key = {"workload": generation.workload, "generation": generation.number, "phase": phase}
    digest = hashlib.sha256(canonical_json(body)).hexdigest()
    ledger.execute(
        statement("ledger", "put_plan"), {**key, "body": Jsonb(dict(body)), "digest": digest}
    )
    stored = get_plan(ledger, generation, phase)
    assert stored is not None
    return stored


def forget_plan(ledger: Connection, generation: Generation, phase: str) -> None:
    """Delete a plan, in the transaction that puts another one in its place."""
    key = {"workload": generation.workload, "generation": generation.number, "phase": phase}
    ledger.execute(statement("ledger", "forget_plan"), key)


def get_plan(ledger: Connection, generation: Generation, phase: str) -> dict[str, Any] | None:
    """Return the plan as it was applied, if there is one."""
    key = {"workload": generation.workload, "generation": generation.number, "phase": phase}
    row = ledger.execute(statement("ledger", "get_plan"), key).fetchone()
    return None if row is None else dict(row[0])
