"""Rollback certificates, as far as they count: where the evidence of their drill says the same.

A certificate is a row that is convenient to find; what it rests on is the drill's row in the
evidence chain. A row that was written or changed by other means counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from qafila.ledger.evidence import genuine_rows
from qafila.ledger.ledger import Connection
from qafila.sql import statement
from qafila.workload.verdict import Verdict

_APART = timedelta(minutes=10)  # two clocks: the ledger's issued it, a machine's recorded it


def valid_certificate(
    ledger: Connection, workload: str, generation: int, router: str
) -> dict[str, Any] | None:
    """Return the newest certificate of this generation and router that counts and holds today."""
    key = {"workload": workload, "generation": generation, "router": router}
    return next(iter(_counted(ledger, "valid_certificates", key)), None)


def newest_certificate(ledger: Connection, workload: str) -> dict[str, Any] | None:
    """Return the newest certificate that counts, whatever its generation, expired or not."""
    return next(iter(_counted(ledger, "newest_certificates", {"workload": workload})), None)


def counted(ledger: Connection, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those certificates, in the same order, that the evidence of their drill confirms."""
    certificates = list(rows)
    drills = {
        row["number"]: row
        for row in genuine_rows(ledger, [row["evidence_number"] for row in certificates])
    }
    return [c for c in certificates if _says_the_same(c, drills.get(c["evidence_number"]))]


def _counted(ledger: Connection, name: str, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    with ledger.cursor(row_factory=dict_row) as cursor:
        return counted(ledger, cursor.execute(statement("ledger", name), key).fetchall())


def _says_the_same(certificate: Mapping[str, Any], drill: Mapping[str, Any] | None) -> bool:
    if drill is None or (drill["kind"], drill["verdict"]) != ("drill", Verdict.PASS.value):
        return False
    same = ("workload", "generation")
    body = drill["body"]
    measured = ("versions", "seconds_to_zero", "failed_requests")
    if any(certificate[name] != drill[name] for name in same) or any(
        certificate[name] != body.get(name) for name in measured
    ):
        return False
    # A drill of an earlier release named neither; it expires within its hours.
    if body.get("router", certificate["router"]) != certificate["router"]:
        return False
    issued: datetime = certificate["issued_at"]
    valid = timedelta(hours=float(body.get("valid_hours") or 0))
    if certificate["expires_at"] - issued > valid:
        return False
    if "issued_at" in body:
        return issued == datetime.fromisoformat(body["issued_at"])
    recorded: datetime = drill["recorded_at"]
    return abs(issued - recorded) <= _APART
