"""The audit's steps against a real moto, a real PostgreSQL and the demo's bill."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr, ValidationError

from blocks.aws import AwsAccount
from blocks.postgres import PostgresDatabase
from flows.inventory_audit import AuditRequest, inventory_audit
from qafila.audit.ai_need.assessment import CorpusVolume
from qafila.audit.estate import Collected, Outcome
from qafila.audit.files import FilesRead, Observed, Read
from qafila.audit.inventory.whole import Inventory
from qafila.audit.places import places_of
from qafila.audit.sources import Sources
from qafila.demo.bill import GHOST, write_bill
from qafila.demo.estate import Estate, seed_estate
from qafila.endpoints import volume_of
from qafila.errors import BadInput
from qafila.ledger.evidence import check_chain, latest_evidence
from qafila.ledger.ledger import apply_workload
from qafila.report.audit_first_page import first_page
from qafila.report.audit_reader import audit_facts
from qafila.sources.postgres import PostgresSource as PostgresTable
from qafila.stack import postgres
from qafila.workload.model import Workload
from qafila.workload.verdict import Verdict
from qafila.workload_file import read_file
from tasks import inventory_audit as steps
from tests.support.aws import running_moto

FILE = Path(__file__).parents[3] / "workloads" / "aws-docs-search.yaml"


@pytest.fixture(scope="module")
def estate() -> Iterator[Estate]:
    with running_moto() as url:
        yield seed_estate(url)


@pytest.fixture(scope="module")
def collected(estate: Estate) -> list[Collected]:
    account = AwsAccount(
        regions=list(estate.regions),
        endpoint_url=estate.endpoint_url,
        access_key_id=estate.access_key_id,
        secret_access_key=SecretStr(estate.secret_access_key),
    )
    return look_everywhere(Sources(("demo-aws", account), (), (), (), (), (), (), (), ()))


def look_everywhere(sources: Sources) -> list[Collected]:
    return [
        steps.collect.fn(collector.name, place.name, place)
        for place in places_of(sources, [], 100)
        for collector in place.collectors
    ]


@pytest.fixture
def source(pg_server: postgres.Postgres) -> PostgresDatabase:
    url = postgres.ensure_database(pg_server, "audit_source")
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS operation"
            " (operation_id text PRIMARY KEY, title text, body text, readers text[])"
        )
        connection.execute(
            "INSERT INTO operation VALUES ('a', 'titre', 'é', '{}'), ('b', NULL, 'body', '{}')"
            " ON CONFLICT DO NOTHING"
        )
    return PostgresDatabase(url=url)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return read_file(FILE)


def take_stock(
    workload: Workload, collected: list[Collected], bill: Path | None, corpus: CorpusVolume
) -> Inventory:
    fine = Collected("corpus", "", Outcome.COMPLETE, (), (), 0)
    read = None if bill is None else steps.read_bills.fn([str(bill)], 1, "USD", None)
    files = FilesRead(read and read.found, None, () if read is None else (read.outcome,))
    return steps.take_stock.fn(
        workload, collected, Observed(), files, Read(corpus, fine), date(2026, 11, 24)
    )


def test_the_demo_audit_finds_everything_that_was_planted(
    ledger: psycopg.Connection[Any],
    source: PostgresDatabase,
    workload: Workload,
    estate: Estate,
    collected: list[Collected],
    tmp_path: Path,
) -> None:
    bill = write_bill(tmp_path / "bill.csv", estate, date(2026, 11, 24))
    with source.connect() as database:
        found = volume_of(PostgresTable(database, workload.corpus.source), workload.name)
    corpus = CorpusVolume(found.rows, found.text_bytes)
    # titre 5 + é 2 + NULL 0 + body 4 bytes
    assert (corpus.rows, corpus.size_bytes) == (2, 11)
    inventory = take_stock(workload, collected, bill, corpus)
    seen = {alias for r in inventory.resources for alias in (r.id, r.facts.get("arn"))}
    assert {s.id for s in estate.seeded} <= seen

    names = {r.id: r for r in inventory.resources}
    found = {f.kind: f for f in inventory.to_look_at}
    assert set(found) == {
        "billed not found",
        "found not billed",
        "untagged gpu",
        "orphan disk",
        "cross-AZ traffic",
    }
    assert len(inventory.to_look_at) == 5
    assert found["billed not found"].resource == GHOST
    assert names[found["found not billed"].resource].name == "worker-2"
    assert names[found["untagged gpu"].resource].facts["type"] == "g6.xlarge"
    assert names[found["orphan disk"].resource].name == "old-reporting-data"

    links = {
        (names[e.from_id].name, names[e.to_id].name, e.kind)
        for e in inventory.edges
        if e.from_id in names and e.to_id in names
    }
    assert {
        ("docs", "docs-search", "routes"),
        ("docs-search", "docs-search-1", "routes"),
        ("orders-invoice", "orders-db", "calls"),
        ("orders-api-1", "orders-db", "network-allows"),
    } <= links
    assert inventory.candidates[0].score is not None
    assert all(c.score is None and c.questions for c in inventory.candidates[1:])

    apply_workload(ledger, workload)
    for _ in range(2):  # each audit is one more snapshot
        body = steps.keep_audit.fn(
            ledger, inventory, started_at=datetime.now(UTC), generation=None, run_id=None
        )
    page = first_page(audit_facts(ledger, workload.name))
    assert {why for _, _, _, why in page.to_look_at} == {f.sentence for f in found.values()}
    assert any("iam is denied" in note for note in page.unseen)
    kept = latest_evidence(ledger, workload.name, "audit")
    assert kept is not None
    assert (kept.verdict, kept.body) == (Verdict.PASS.value, body)
    assert check_chain(ledger).intact
    assert [
        ledger.execute(f"SELECT count(*) FROM qafila.{table} WHERE audit_id = 2").fetchone()
        for table in ("resource", "resource_edge", "collector_outcome")
    ] == [(len(inventory.resources),), (len(inventory.edges),), (len(inventory.looked),)]
    assert estate.secret_access_key not in str(kept.body)


def test_an_account_that_shows_nothing_is_an_error(
    workload: Workload, collected: list[Collected]
) -> None:
    closed = [
        dataclasses.replace(c, outcome=Outcome.DENIED, resources=(), edges=()) for c in collected
    ]
    nothing = take_stock(workload, closed, None, CorpusVolume(0, 0))
    assert nothing.judgement().verdict is Verdict.ERROR


def test_a_missing_table_is_told_with_the_remedy(
    source: PostgresDatabase, workload: Workload
) -> None:
    missing = workload.corpus.source.model_copy(update={"table": "nowhere"})
    with (
        source.connect() as database,
        pytest.raises(BadInput, match="no table 'nowhere'") as refused,
    ):
        volume_of(PostgresTable(database, missing), workload.name)
    assert "qafila apply" in refused.value.remedy


def test_the_form_explains_every_field_and_forbids_others() -> None:
    schema = inventory_audit.parameters.definitions["AuditRequest"]
    assert all(field["description"] for field in schema["properties"].values())
    with pytest.raises(ValidationError, match="Extra inputs"):
        AuditRequest.model_validate({"workload": "w", "acount": "x"})
