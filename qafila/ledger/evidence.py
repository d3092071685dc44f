"""Append evidence to the chain, read it back, verify it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from qafila.ledger.chain import ChainCheck, Link, link_digest, verify_chain
from qafila.ledger.evidence_head import seen_head
from qafila.ledger.ledger import Connection
from qafila.sql import statement
from qafila.text.masking import mask_text, masked
from qafila.workload.verdict import Verdict


@dataclass(frozen=True)
class Evidence:
    """One stored row: what was measured, when, by which run, with which verdict."""

    number: int
    workload: str | None
    generation: int | None
    kind: str
    run_id: str | None
    verdict: str | None
    sentence: str
    recorded_at: datetime
    body: dict[str, Any]
    digest: str


def record_evidence(
    ledger: Connection,
    kind: str,
    sentence: str,
    *,
    workload: str | None = None,
    generation: int | None = None,
    verdict: Verdict | None = None,
    body: Mapping[str, object] | None = None,
    run_id: str | None = None,
    append_id: str | None = None,
) -> int:
    """Append one row to the chain and return its number. ``body`` holds JSON-able values only.

    Sentence and body are kept without the secrets that stand in them: a row is never changed.

    ``append_id`` makes it harmless to repeat, where the ledger may have died after it had committed
    and before it said so: the row of this workload and kind that has the id already is returned as
    it is. Make it where the outcome is made, outside of what is repeated.
    """
    recorded_at = datetime.now(UTC)
    if append_id is not None:
        body = {**(body or {}), "append_id": append_id}
    with ledger.transaction():
        head = ledger.execute(statement("ledger", "lock_evidence_head")).fetchone()
        assert head is not None
        if append_id is not None:  # under the lock of the head, so nobody appends it meanwhile
            known = {"workload": workload, "kind": kind, "append_id": append_id}
            there = ledger.execute(statement("ledger", "appended_evidence"), known).fetchone()
            if there is not None:
                return int(there[0])
        number, previous = int(head[0]) + 1, str(head[1])
        row = {
            "workload": workload,
            "generation": generation,
            "kind": kind,
            "run_id": run_id,
            "verdict": None if verdict is None else verdict.value,
            "sentence": mask_text(sentence),
            "recorded_at": recorded_at,
            "body": masked(body or {}),
        }
        digest = link_digest(previous, number, hashed(row))
        ledger.execute(
            statement("ledger", "append_evidence"),
            {
                **row,
                "body": Jsonb(row["body"]),
                "number": number,
                "previous": previous,
                "digest": digest,
            },
        )
        ledger.execute(
            statement("ledger", "move_evidence_head"), {"number": number, "digest": digest}
        )
    return number


def evidence_of(
    ledger: Connection,
    workload: str,
    kind: str | None = None,
    *,
    generation: int | None = None,
    limit: int = 100,
) -> list[Evidence]:
    """Return a workload's evidence, newest first."""
    with ledger.cursor(row_factory=class_row(Evidence)) as cursor:
        return cursor.execute(
            statement("ledger", "evidence_of"),
            {"workload": workload, "kind": kind, "generation": generation, "limit": limit},
        ).fetchall()


def latest_evidence(
    ledger: Connection, workload: str, kind: str, *, generation: int | None = None
) -> Evidence | None:
    """Return the newest row of one kind, if there is one."""
    rows = evidence_of(ledger, workload, kind, generation=generation, limit=1)
    return rows[0] if rows else None


def genuine_rows(ledger: Connection, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Return these rows, oldest first, without those whose content does not fit their digest."""
    with ledger.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            statement("ledger", "evidence_numbered"), {"numbers": list(numbers)}
        ).fetchall()
    return [r for r in rows if link_digest(r["previous"], r["number"], hashed(r)) == r["digest"]]


def check_chain(ledger: Connection) -> ChainCheck:
    """Walk the whole chain and say what is wrong with it, if anything.

    It is compared with its own head row, and with the head that was kept in this home, if any.
    """
    seen = seen_head(ledger)  # before the rows: the chain may grow meanwhile, not the kept head
    with ledger.transaction(), ledger.cursor(row_factory=dict_row) as cursor:
        head = ledger.execute(statement("ledger", "lock_evidence_head")).fetchone()
        cursor.execute(statement("ledger", "evidence_chain"))
        links = (Link(r["number"], hashed(r), r["previous"], r["digest"]) for r in cursor)
        recorded = None if head is None else (int(head[0]), str(head[1]))
        return verify_chain(links, head=recorded, seen=seen)


def hashed(row: Mapping[str, Any]) -> dict[str, object]:
    """Return what the digest covers: every column but the chain's own; times in UTC."""
    recorded_at = row["recorded_at"].astimezone(UTC).isoformat(timespec="microseconds")
    return {
        **{k: row[k] for k in ("workload", "generation", "kind", "run_id", "verdict", "sentence")},
        "recorded_at": recorded_at,
        "body": row["body"],
    }
