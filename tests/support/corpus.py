"""A small real table to migrate, and a ledger that knows it: shared by tests of the steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from blocks import PostgresDatabase
from qafila.backfill.generations import open_for
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import Generation, apply_workload, move_phase
from qafila.workload.model import Workload
from qafila.workload.phases import Event
from qafila.workload_file import read_file

FILE = Path(__file__).parents[2] / "workloads" / "aws-docs-search.yaml"


def demo_workload(**corpus: Any) -> Workload:
    """Return the demo's workload, parts of its corpus replaced."""
    workload = read_file(FILE)
    merged = {**workload.corpus.model_dump(), **corpus}
    return Workload.model_validate({**workload.model_dump(), "corpus": merged})


def workload_from(source: dict[str, Any]) -> Workload:
    """Return the demo's workload with another source; judged queries stay in a database."""
    told = demo_workload().model_dump()
    told["corpus"]["source"] = source
    told["queries"]["judged"]["block"] = "judged"
    return Workload.model_validate(told)


def make_source(url: str, rows: int) -> None:
    """Create the table that the demo's workload names, with ``rows`` short documents."""
    with psycopg.connect(url, autocommit=True) as source:
        source.execute(
            "CREATE TABLE operation (operation_id text PRIMARY KEY, title text, body text,"
            " readers text[] NOT NULL DEFAULT '{everyone}')"
        )
        source.execute(
            "INSERT INTO operation SELECT 'op-' || lpad(n::text, 6, '0'), 'Put thing ' || n,"
            " 'Stores thing number ' || n || ' in the bucket ' || md5(n::text)"
            " FROM generate_series(1, %s) AS n",
            [rows],
        )


def ready_generation(
    ledger: psycopg.Connection, workload: Workload, source_url: str, target_url: str
) -> Generation:
    """Apply a workload on two databases; return its generation, ready to be filled."""
    record_connection(ledger, "demo-source", PostgresDatabase(url=source_url))
    record_connection(ledger, "demo-target", PostgresDatabase(url=target_url))
    apply_workload(ledger, workload)
    generation = open_for(ledger, workload)
    for event in (Event.AUDIT_ACCEPTED, Event.DECISION_APPROVED, Event.PLAN_APPLIED):
        generation = move_phase(ledger, generation, event)
    return generation
