"""An audit from the ledger: as facts, as one HTML file, as Parquet and CSV. No Prefect here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from qafila.audit.inventory.tables import ABOUT
from qafila.errors import Refused
from qafila.ledger.evidence import check_chain
from qafila.ledger.ledger import Connection, read_workload
from qafila.report.audit import render_audit
from qafila.report.audit_estate import estate_picture
from qafila.report.audit_facts import AuditFacts
from qafila.report.facts import ChainState
from qafila.report.files import save_page
from qafila.settings import home
from qafila.sql import statement


def audit_facts(ledger: Connection, workload: str, *, check: bool = True) -> AuditFacts:
    """Return the newest audit of a workload with all its tables.

    ``check``: walk the whole chain of evidence too, and say whether it is intact.

    Raises:
        Refused: there is no such workload, or it was never audited.
    """
    spec, _ = read_workload(ledger, workload)
    with ledger.transaction():
        chain = _chain(ledger) if check else None
        found = _rows(ledger, "newest_audit", {"workload": workload})
        if not found:
            raise Refused(
                f"{workload} was never audited.",
                kept="everything; no page was written.",
                remedy=f"qafila run inventory-audit {workload}",
            )
        audit = found[0]
        evidence = _rows(ledger, "evidence_row", {"number": audit["evidence_number"]})
        row: Mapping[str, Any] = evidence[0] if evidence else {}
        return AuditFacts(
            workload=workload,
            owner=spec.owner,
            audit_id=audit["id"],
            started_at=audit["started_at"],
            finished_at=audit["finished_at"],
            verdict=row.get("verdict"),
            sentence=row.get("sentence", "this audit left no evidence"),
            body=audit["summary"],
            tables={name: _table(ledger, audit["id"], name) for name in ABOUT},
            evidence_number=audit["evidence_number"],
            evidence_digest=row.get("digest", ""),
            made_at=datetime.now(UTC),
            chain=chain,
        )


def save_audit(
    ledger: Connection, facts: AuditFacts, to: Path | None = None, *, force: bool = False
) -> Path:
    """Write the page of an audit and return its file: ``to``, else under ``reports/``.

    Raises:
        BadInput: the file cannot be written, or is not a page of ours.
    """
    default = home() / "reports" / f"{facts.workload}-audit.html"
    page = render_audit(facts, estate_picture(ledger, facts))
    return save_page(page, to, default, force=force)


def _table(ledger: Connection, audit_id: int, name: str) -> list[dict[str, Any]]:
    key = {"audit_id": audit_id}
    if name == "resources":
        return [
            {
                **row,
                "region": row["region"] or "all",
                "app": row["tags"].get("app", ""),
                "owner": row["tags"].get("owner", ""),
                "type": str(row["facts"].get("type", "")),
            }
            for row in _rows(ledger, "resources_of", key)
        ]
    if name == "edges":
        return [
            {
                "from": row.pop("from_name"),
                "to": row.pop("to_name"),
                **row,
                "last_seen": row["last_seen"] and row["last_seen"].isoformat(),
            }
            for row in _rows(ledger, "edges_of", key)
        ]
    if name == "collectors":
        return [
            {
                "not_seen" if k == "missed" else k: v or "all" if k == "region" else v
                for k, v in row.items()
            }
            for row in _rows(ledger, "outcomes_of", key)
        ]
    return [row["body"] for row in _rows(ledger, "rows_of", {**key, "part": name})]


def _chain(ledger: Connection) -> ChainState:
    check = check_chain(ledger)
    with ledger.cursor(row_factory=dict_row) as cursor:
        head = cursor.execute(statement("report", "evidence_head"), {}).fetchall()[0]
    return ChainState(check.rows, check.problems, head["number"], head["digest"])


def _rows(ledger: Connection, name: str, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    with ledger.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement("audit", name), key).fetchall()
