"""Keep an audit in the ledger, compare it with the last one, read it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Json, Jsonb

from qafila.audit.estate import Collected
from qafila.audit.inventory.body import evidence_body
from qafila.audit.inventory.difference import (
    Difference,
    Seen,
    ServiceSpend,
    Snapshot,
    compare,
    state_in,
    state_of,
)
from qafila.audit.inventory.difference_rows import difference_body
from qafila.audit.inventory.tables import tables
from qafila.audit.inventory.whole import Inventory
from qafila.decision.drift_rules import LineItem
from qafila.ledger.evidence import record_evidence
from qafila.ledger.ledger import Connection
from qafila.sql import statement

# Tables that have columns of their own in the ledger; the others are rows of audit_row.
_OWN = ("resources", "edges", "collectors")


def keep_audit(
    ledger: Connection,
    inventory: Inventory,
    *,
    started_at: datetime,
    generation: int | None,
    run_id: str | None,
) -> dict[str, Any]:
    """Write the snapshot and its evidence in one transaction; return the evidence's body.

    It is compared with the last audit of the workload, in the same transaction. Not idempotent
    and not retried: each call is one more audit, and earlier ones stay.
    """
    judged = inventory.judgement()
    with ledger.transaction(), ledger.cursor() as cursor:
        last = last_snapshot(ledger, inventory.workload)
        row = cursor.execute(
            statement("audit", "insert_audit"),
            {"workload": inventory.workload, "run_id": run_id, "started_at": started_at},
        ).fetchone()
        assert row is not None
        audit_id = int(row[0])
        body = evidence_body(inventory, audit_id)
        difference = None if last is None else compare(last, _snapshot(inventory, body))
        body["difference"] = None if difference is None else difference_body(difference)
        _write_snapshot(ledger, audit_id, inventory, difference)
        number = record_evidence(
            ledger,
            "audit",
            judged.sentence,
            workload=inventory.workload,
            generation=generation,
            verdict=judged.verdict,
            body=body,
            run_id=run_id,
        )
        cursor.execute(
            statement("audit", "summarise_audit"),
            {"audit_id": audit_id, "summary": Jsonb(body), "evidence_number": number},
        )
    return body


def _write_snapshot(
    ledger: Connection, audit_id: int, inventory: Inventory, difference: Difference | None
) -> None:
    made = tables(inventory, difference)
    with ledger.cursor() as cursor:
        cursor.executemany(
            statement("audit", "insert_outcome"),
            [
                {
                    "audit_id": audit_id,
                    "collector": c.collector,
                    "account": c.account,
                    "region": c.region,
                    "outcome": c.outcome.value,
                    "resources": len(c.resources),
                    "calls": c.calls,
                    "missed": c.missed,
                }
                for c in _one_a_place(inventory.looked)
            ],
        )
        _copy(
            cursor,
            "copy_resources",
            (
                (
                    audit_id,
                    r["id"],
                    r["kind"],
                    r["name"],
                    r["account"],
                    _region(r["region"]),
                    r["size_bytes"],
                    Jsonb(r["tags"]),
                    Jsonb(r["facts"]),
                    r["collector"],
                )
                for r in made["resources"]
            ),
        )
        _copy(
            cursor,
            "copy_edges",
            dict.fromkeys(
                (audit_id, e.from_id, e.to_id, e.kind, e.source, e.confidence, e.last_seen)
                for e in _one_an_edge(inventory)
            ),
        )
        _copy(
            cursor,
            "copy_rows",
            (
                (audit_id, part, number, Json(row))
                for part, rows in made.items()
                if part not in _OWN
                for number, row in enumerate(rows, 1)
            ),
        )


def _copy(cursor: Any, name: str, rows: Iterable[Sequence[Any]]) -> None:
    with cursor.copy(statement("audit", name)) as copy:
        for row in rows:
            copy.write_row(row)


def _region(shown: str) -> str:
    return "" if shown == "all" else shown


def _one_a_place(looked: Iterable[Collected]) -> list[Collected]:
    """Return one outcome a collector and place: a place that was looked at twice is numbered."""
    times: dict[tuple[str, str, str], int] = {}
    told = []
    for part in looked:
        key = (part.collector, part.account, part.region)
        times[key] = times.get(key, 0) + 1
        place = part.region if times[key] == 1 else f"{part.region} ({times[key]})"
        told.append(replace(part, region=place))
    return told


def _one_an_edge(inventory: Inventory) -> Iterable[Any]:
    return {(e.from_id, e.to_id, e.kind, e.source): e for e in inventory.edges}.values()


# --- read back ---------------------------------------------------------------------------------


def last_snapshot(ledger: Connection, workload: str) -> Snapshot | None:
    """Return the newest finished audit of a workload, as far as another is compared with it."""
    [*rows] = _rows(ledger, "newest_audit", {"workload": workload})
    if not rows:
        return None
    audit, key = rows[0], {"audit_id": rows[0]["id"]}
    body: Mapping[str, Any] = audit["summary"]
    return Snapshot(
        audit_id=audit["id"],
        at=audit["finished_at"].astimezone(UTC).isoformat(timespec="seconds"),
        resources=tuple(
            Seen(
                r["id"],
                r["kind"],
                r["name"],
                r["region"],
                r["collector"],
                r["size_bytes"],
                r["tags"],
                r["facts"],
                r["account"],
            )
            for r in _rows(ledger, "resources_of", key)
        ),
        outcomes={
            (o["collector"], o["account"], o["region"]): state_of(o["outcome"], o["missed"])
            for o in _rows(ledger, "outcomes_of", key)
        },
        currency=body.get("currency"),
        period=body.get("period"),
        state=state_in(body),
        spend=_spend(body, _rows(ledger, "rows_of", {**key, "part": "spend_items"})),
    )


def _snapshot(inventory: Inventory, body: Mapping[str, Any]) -> Snapshot:
    seen_by = {r.id: part.collector for part in inventory.collected for r in part.resources}
    return Snapshot(
        audit_id=int(body["audit_id"]),
        at="",
        resources=tuple(
            Seen(
                r.id,
                r.kind,
                r.name,
                r.region,
                seen_by.get(r.id, ""),
                r.size_bytes,
                dict(r.tags),
                dict(r.facts),
                r.account,
            )
            for r in inventory.resources
        ),
        outcomes={
            (c.collector, c.account, c.region): state_of(c.outcome.value, c.missed)
            for c in _one_a_place(inventory.looked)
        },
        currency=inventory.currency,
        period=body["period"],
        state=state_in(body),
        spend=inventory.spend_items or _spend(body, ()),
    )


def _spend(body: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> tuple[ServiceSpend, ...]:
    """Return the spend of an audit's month by item; of an audit without items, by service."""
    items: dict[str, list[LineItem]] = {}
    for row in (row["body"] for row in rows):
        quantity = row.get("quantity")
        items.setdefault(row["service"], []).append(
            LineItem(
                row["item"],
                Decimal(row["amount"]),
                None if quantity is None else Decimal(quantity),
                row.get("unit") or "",
            )
        )
    if not items:
        named = (body.get("spend_by_service") or {}).items()
        items = {name: [LineItem(name, Decimal(amount))] for name, amount in named}
    return tuple(ServiceSpend(service, tuple(found)) for service, found in items.items())


def _rows(ledger: Connection, name: str, key: Mapping[str, Any]) -> list[dict[str, Any]]:
    with ledger.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement("audit", name), key).fetchall()
