"""The demo's audit finds what was planted, and says so on its first page.

An orphan disk, an instance that nobody bills, one that is billed and gone, a GPU without a tag,
chatter between availability zones, and a service that is denied to us.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from html import unescape
from pathlib import Path
from typing import Any

import boto3
import duckdb
import httpx
import pytest

from qafila.demo.bill import GHOST
from qafila.ledger.evidence import Evidence, check_chain, evidence_of
from qafila.report.audit_sorting import script_source
from tests.acceptance.conftest import Stack
from tests.acceptance.crossing import WORKLOAD, open_ledger, set_scene

RUNS = script_source()


@dataclass(frozen=True)
class Audited:
    """What one run of the audit left: its evidence, its page, the first page of it, its export."""

    evidence: Evidence
    page: str
    first: str
    artifact: str
    export: Path
    told: dict[str, Any]
    names: dict[str, str]

    def finding(self, kind: str) -> dict[str, Any]:
        """Return the one finding of a kind, wherever in the evidence it stands."""
        body = self.evidence.body
        found = [
            f
            for key in ("findings", "billed_not_found", "found_not_billed")
            for f in body[key]
            if f["kind"] == kind
        ]
        assert len(found) == 1, found
        return dict(found[0])


@pytest.fixture(scope="module")
def audited(stack: Stack) -> Audited:
    set_scene(stack)
    stack.cli("run", "inventory-audit", WORKLOAD)
    folder = stack.home / "export"
    told = stack.json("report", WORKLOAD, "--audit", "--export", str(folder))
    with open_ledger(stack) as ledger:
        newest = evidence_of(ledger, WORKLOAD, "audit")[0]
        assert check_chain(ledger).intact
        rows = ledger.execute(
            "SELECT id, name FROM qafila.resource WHERE audit_id = %s", [told["audit_id"]]
        ).fetchall()
    page = unescape(Path(told["file"]).read_text())
    first = re.sub(r"<[^>]+>", " ", page.split("<nav>")[0].split("<main")[1])
    wanted = {"artifacts": {"key": {"any_": ["inventory"]}}}
    artifact = stack.ask_prefect("POST", "/artifacts/latest/filter", wanted).json()[0]
    return Audited(newest, page, first, artifact["data"], folder, told, dict(rows))


def test_the_sentence_says_what_there_is_what_it_costs_and_who_denied_us(audited: Audited) -> None:
    sentence = audited.evidence.sentence
    assert audited.evidence.verdict == "PASS"
    assert re.match(
        r"\d+ resources · [\d,]+\.\d\d USD in \d{4}-\d\d, closed · network \d+ %", sentence
    )
    assert "1 service denied to us (iam)" in sentence
    assert sentence in audited.first


def test_the_orphan_disk_is_found(audited: Audited) -> None:
    disk = audited.finding("orphan disk")
    assert audited.names[disk["resource"]] == "old-reporting-data"
    assert round(Decimal(disk["amount"]), 2) == Decimal("40.00")  # 500 GiB at 0.08 a GB-month
    assert "old-reporting-data" in audited.first
    assert "disk of 500 GiB attached to nothing" in audited.first


def test_the_unbilled_instance_is_found(audited: Audited) -> None:
    unbilled = audited.finding("found not billed")
    assert audited.names[unbilled["resource"]] == "worker-2"
    assert "found not billed" in audited.first
    assert unbilled["sentence"] in audited.first


def test_what_is_billed_and_gone_is_found(audited: Audited) -> None:
    ghost = audited.finding("billed not found")
    assert ghost["resource"] == GHOST
    assert Decimal(ghost["amount"]) > 0
    assert GHOST in audited.first


def test_the_gpu_without_a_tag_is_found(audited: Audited) -> None:
    gpu = audited.finding("untagged gpu")
    assert gpu["resource"] in audited.first
    assert "GPU instance g6.xlarge without a tag: nobody owns it" in audited.first


def test_the_chatter_between_zones_is_found_billed_and_measured(audited: Audited) -> None:
    billed = audited.finding("cross-AZ traffic")
    assert Decimal(billed["amount"]) > 100
    assert f"{Decimal(billed['amount']):,.2f} USD" in audited.first
    pairs = [f for f in audited.evidence.body["findings"] if f["kind"] == "cross-AZ pair"]
    assert {"orders-api-1 → worker-2", "orders-api-2 → worker-1"} <= {p["resource"] for p in pairs}
    assert "orders-api-1 and worker-2 talk across availability zones" in audited.first
    moves = duckdb.sql(
        f"SELECT amount FROM '{audited.export}/gravity.parquet'"
        " WHERE \"from\" = 'orders-api-1' AND \"to\" = 'worker-2' AND amount IS NOT NULL"
    ).fetchall()
    assert min(change for (change,) in moves) < 0  # together they cost less


def test_the_denied_service_is_named_and_not_taken_for_empty(audited: Audited) -> None:
    assert audited.evidence.body["collectors"]["iam"] == "denied"
    assert "iam is denied: ListRoles said AccessDenied" in audited.first
    assert not [name for name in audited.names if ":role/" in name]


def test_calls_on_the_wire_become_edges_with_a_time(audited: Audited) -> None:
    edges = duckdb.sql(
        'SELECT "from", "to", kind, confidence, last_seen'
        f" FROM '{audited.export}/edges.parquet' WHERE last_seen IS NOT NULL"
    ).fetchall()
    called = {(a, b) for a, b, *_ in edges}
    assert {("orders-api-1", "orders-db"), ("shop-web-1", "docs-search-1")} <= called
    assert all(0 < confidence <= 1 for *_, confidence, _ in edges)


def test_everything_that_moves_has_one_place_with_a_reason(audited: Audited) -> None:
    rows = duckdb.sql(
        f"SELECT wave, id, reason FROM '{audited.export}/waves.parquet' WHERE wave <> 'stays'"
    ).fetchall()
    assert len({identifier for _, identifier, _ in rows}) == len(rows)
    assert all(reason for _, _, reason in rows)
    assert len({wave for wave, _, _ in rows}) > 1
    assert "Can move, in this order" in audited.first


def test_money_in_the_export_is_the_bill_to_the_last_digit(stack: Stack, audited: Audited) -> None:
    bill = stack.home / "demo" / "bill.csv"
    [(billed,)] = duckdb.sql(
        "SELECT sum(CAST(BilledCost AS DECIMAL(38, 20)))"
        f" FROM read_csv('{bill}', all_varchar = true)"
    ).fetchall()
    [(exported,)] = duckdb.sql(
        f"SELECT sum(amount) FROM '{audited.export}/spend.parquet' WHERE what = 'service'"
    ).fetchall()
    assert exported == billed


def test_page_and_artifact_say_the_same_and_load_nothing(audited: Audited) -> None:
    assert "old-reporting-data" in audited.artifact
    assert "What we could not see" in audited.artifact
    assert "iam is denied" in audited.artifact
    addresses = re.findall(r'(?:src|href)="([^"]*)"', audited.page)
    assert all(a.startswith(("#", "data:")) for a in addresses)
    assert audited.page.count("<script") == 1  # the one that sorts tables, by its hash
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {RUNS}" in (
        audited.page
    )


def test_a_second_audit_says_what_changed(stack: Stack, audited: Audited) -> None:
    ec2 = boto3.client(
        "ec2",
        region_name="eu-west-3",
        endpoint_url=stack.state["moto"]["url"],
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    _let_anybody_write(stack)
    disk = audited.finding("orphan disk")["resource"]
    ec2.delete_volume(VolumeId=disk)
    set_scene(stack)  # seeds what is missing, so the disk is back under another id
    stack.cli("run", "inventory-audit", WORKLOAD)
    told = stack.json("report", WORKLOAD, "--audit")
    changed = told["difference"]
    assert changed["audit_id"] == audited.told["audit_id"]
    assert (changed["new"], changed["gone"], changed["not_judged"]) == (1, 1, 0)
    page = Path(told["file"]).read_text()
    assert "1 new, 1 gone, 0 changed" in page
    assert json.dumps(disk)[1:-1] in page


def _let_anybody_write(stack: Stack) -> None:
    httpx.post(
        f"{stack.state['moto']['url']}/moto-api/reset-auth",
        content=b"inf",
        headers={"Content-Type": "text/plain"},
        timeout=30,
    ).raise_for_status()
