"""A small workload, applied and audited, for tests of the steps between audit and backfill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from blocks.envoy import EnvoyEdge
from blocks.postgres import PostgresDatabase
from qafila.backfill.generations import open_for
from qafila.ledger.connections import record_connection
from qafila.ledger.evidence import record_evidence
from qafila.ledger.ledger import Generation, apply_workload, move_phase
from qafila.workload.model import Workload
from qafila.workload.phases import Event
from qafila.workload.verdict import Verdict
from qafila.workload_file import read_file

FILE = Path(__file__).parents[2] / "workloads" / "aws-docs-search.yaml"
DOCUMENTS = 120
AUDIT: dict[str, Any] = {
    "audit_id": 1,
    "resources": 60,
    "collectors": {"ec2": "complete", "iam": "denied"},
    "spend_total": "1234.56",
    "currency": "USD",
    "period": "2026-10",
    "period_closed": True,
    "network_share": 0.08,
    "volumes": {},
    "billed_not_found": [],
    "ai_need": [{"id": "search", "score": 0.9}],
    "notes": [],
}


def fill_source(url: str) -> None:
    """Create the demo's two tables with a few rows."""
    with psycopg.connect(url, autocommit=True) as source:
        source.execute(
            "CREATE TABLE operation (operation_id text PRIMARY KEY, service text, title text,"
            " body text, readers text[])"
        )
        source.execute(
            "INSERT INTO operation SELECT 'op-' || n, 's', 'title ' || n, repeat('x', 100), '{}'"
            " FROM generate_series(1, %s) AS n",
            [DOCUMENTS],
        )
        source.execute(
            "CREATE TABLE known_item_query (query_id text PRIMARY KEY, text text, relevant text,"
            " grade int)"
        )
        source.execute(
            "INSERT INTO known_item_query SELECT 'q-' || n, 'find ' || n, 'op-' || n, 1"
            " FROM generate_series(1, 80) AS n"
        )


def apply_demo(
    ledger: psycopg.Connection[Any], source_url: str, **changes: Any
) -> tuple[Workload, Generation]:
    """Apply the demo's workload with its connections and open its first generation."""
    workload = read_file(FILE)
    if changes:
        workload = Workload.model_validate({**workload.model_dump(mode="json"), **changes})
    apply_workload(ledger, workload)
    record_connection(ledger, "demo-source", PostgresDatabase(url=source_url))
    record_connection(
        ledger,
        "demo-edge",
        EnvoyEdge(
            directory="/nowhere", admin_url="http://127.0.0.1:9", listen_url="http://127.0.0.1:9"
        ),
    )
    return workload, open_for(ledger, workload)


def audit(ledger: psycopg.Connection[Any], generation: Generation, **changes: Any) -> Generation:
    """Write an audit's evidence and accept it."""
    record_evidence(
        ledger,
        "audit",
        "60 resources.",
        workload=generation.workload,
        generation=generation.number,
        verdict=Verdict.PASS,
        body={**AUDIT, **changes},
    )
    return move_phase(ledger, generation, Event.AUDIT_ACCEPTED)
