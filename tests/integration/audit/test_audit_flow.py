"""The whole audit as a flow: any source alone is enough, what breaks is named, what is wrong said.

Under a Prefect server of its own, with a real PostgreSQL, a real moto and the demo's bill.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from blocks import AwsAccount
from flows.inventory_audit import AuditRequest, inventory_audit
from qafila.cli import app
from qafila.connections.settings import AwsConnection
from qafila.demo.bill import write_bill
from qafila.demo.estate import Estate, seed_estate
from qafila.demo.wire import write_wire
from qafila.errors import BadInput, Refused, Unavailable
from qafila.ledger.connections import record_connection
from qafila.ledger.evidence import latest_evidence
from qafila.workload.model import Workload
from tests.support.applied import apply_demo, fill_source
from tests.support.aws import answering, running_moto, saying

NAME = "aws-docs-search"

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def estate() -> Iterator[Estate]:
    with running_moto() as url:
        yield seed_estate(url)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger_url: str) -> Path:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def source_url(target_url: str) -> str:
    fill_source(target_url)
    return target_url


def auditing(ledger: psycopg.Connection[Any], source_url: str, **sources: Any) -> Workload:
    """Apply the demo's workload with these sources and no others."""
    return apply_demo(ledger, source_url, audit=sources)[0]


def account_of(estate: Estate) -> AwsAccount:
    return AwsAccount(
        regions=list(estate.regions),
        endpoint_url=estate.endpoint_url,
        access_key_id=estate.access_key_id,
        secret_access_key=SecretStr(estate.secret_access_key),
    )


def run(**more: Any) -> dict[str, Any]:
    result: dict[str, Any] = inventory_audit(AuditRequest(workload=NAME, **more))
    return result


def test_a_bill_alone_is_an_audit_and_the_next_one_says_what_changed(
    ledger: psycopg.Connection[Any], source_url: str, estate: Estate, home: Path
) -> None:
    write_bill(home / "bill.csv", estate, date(2026, 11, 24))
    auditing(ledger, source_url, bill=["bill.csv"])
    first = run()
    assert (first["verdict"], first["resources"], first["currency"]) == ("PASS", 0, "USD")
    assert first["phase"] == "audited"
    row = latest_evidence(ledger, NAME, "audit")
    assert row is not None
    assert (row.body["read"], row.body["difference"]) == ({"bills": "complete"}, None)
    assert row.body["billed_not_found"] == []  # nobody looked, so nothing is missing

    write_bill(home / "later.csv", estate, date(2026, 12, 5))
    run(bill="later.csv")
    again = latest_evidence(ledger, NAME, "audit")
    assert again is not None
    changed = again.body["difference"]
    assert changed["audit_id"] == row.body["audit_id"]
    assert changed["spend_note"] == "spend of 2026-10 (closed) → 2026-11 (closed)"
    spend = {k: float(v) for k, v in changed["spend"].items()}
    assert spend["price"] == pytest.approx(0, abs=0.01)  # list prices did not change
    assert spend["volume"] != 0
    parts = ("price", "volume", "mix", "new_items", "gone_items", "unexplained")
    assert sum(spend[p] for p in parts) == pytest.approx(spend["after"] - spend["before"])


def test_a_database_alone_is_an_audit(
    ledger: psycopg.Connection[Any], source_url: str, home: Path
) -> None:
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute("ANALYZE")
    auditing(ledger, source_url, postgres=["demo-source"])
    result = run()
    assert result["verdict"] == "PASS"
    assert result["resources"] > 0
    assert result["spend_total"] is None
    assert "cost is not known" in result["sentence"]
    assert set(result["collectors"]) == {
        "postgres-databases",
        "postgres-texts",
        "postgres-clients",
    }


def test_everything_together_leaves_a_page_an_export_and_its_rows(
    ledger: psycopg.Connection[Any], source_url: str, estate: Estate, home: Path
) -> None:
    write_bill(home / "bill.csv", estate, date(2026, 11, 24))
    write_wire(home, estate, datetime(2026, 11, 24, 9, tzinfo=UTC))
    code = home / "code"
    code.mkdir()
    (code / "ask.py").write_text(
        "import boto3\n\nclient = boto3.client('bedrock-runtime')\nclient.converse(modelId='m')\n"
    )
    auditing(
        ledger,
        source_url,
        account="demo-aws",
        bill=["bill.csv"],
        traces=["traces.json"],
        flow_logs=["flow.log"],
        code=["code"],
    )
    record_connection(ledger, "demo-aws", account_of(estate))
    key = pytest.MonkeyPatch()
    with key.context() as patched:
        patched.setenv("QAFILA_SECRET_DEMO_AWS", estate.secret_access_key)
        result = run()
    assert result["verdict"] == "PASS"
    assert "1 service denied to us (iam)" in result["sentence"]
    row = latest_evidence(ledger, NAME, "audit")
    assert row is not None
    assert estate.secret_access_key not in json.dumps(row.body)
    assert {"bills", "traces", "flow-logs", "code"} <= set(row.body["read"])
    assert set(row.body["read"].values()) == {"complete"}
    assert row.body["lock_in"]["hits"] > 0
    assert row.body["waves"]

    folder = home / "export"
    shown = CliRunner().invoke(app, ["report", NAME, "--audit", "--export", str(folder), "--json"])
    told = json.loads(shown.output)
    assert told["rows"]["resources"] == result["resources"]
    assert Path(told["file"]).name == f"{NAME}-audit.html"
    for name, rows in told["rows"].items():
        files = [folder / f"{name}.{suffix}" for suffix in ("parquet", "csv")]
        assert [f.exists() for f in files] == [bool(rows)] * 2
        for file in files if rows else ():
            found = duckdb.sql(f"SELECT count(*) FROM '{file}'").fetchall()
            assert found == [(rows,)], file
    total = duckdb.sql(
        f"SELECT sum(amount) FROM '{folder}/spend.parquet' WHERE what = 'service'"
        f" AND month = '{row.body['period']}'"
    ).fetchall()[0][0]
    assert f"{total:f}".rstrip("0") == row.body["spend_total"]


def test_credentials_that_expire_in_the_middle_keep_what_was_seen(
    ledger: psycopg.Connection[Any],
    source_url: str,
    estate: Estate,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0

    def expire(request: Any) -> Any:
        nonlocal asked
        asked += 1
        return saying(400, "ExpiredToken")(request) if asked > 25 else None

    session = AwsConnection.session
    monkeypatch.setattr(AwsConnection, "session", lambda self: answering(session(self), expire))
    monkeypatch.setenv("QAFILA_SECRET_DEMO_AWS", estate.secret_access_key)
    auditing(ledger, source_url, account="demo-aws")
    record_connection(ledger, "demo-aws", account_of(estate))
    result = run()
    assert result["verdict"] == "PASS"
    assert result["resources"] > 0
    states = set(result["collectors"].values())
    assert "complete" in states
    assert "denied" in states
    rows = ledger.execute(
        "SELECT missed FROM qafila.collector_outcome WHERE outcome = 'denied'"
    ).fetchall()
    assert any("xpired" in missed for (missed,) in rows)


def test_a_bill_that_is_cut_is_an_outcome_and_the_rest_goes_on(
    ledger: psycopg.Connection[Any], source_url: str, home: Path
) -> None:
    (home / "bill.csv.gz").write_bytes(b"\x1f\x8b\x08\x00cut")
    auditing(ledger, source_url, bill=["bill.csv.gz"], postgres=["demo-source"])
    result = run()
    assert result["verdict"] == "PASS"
    row = latest_evidence(ledger, NAME, "audit")
    assert row is not None
    assert row.body["read"] == {"bills": "unsupported"}
    assert any("bill.csv.gz" in note for note in row.body["notes"])
    assert row.body["spend_total"] is None


def test_when_nothing_was_seen_whole_the_audit_fails_and_keeps_its_evidence(
    ledger: psycopg.Connection[Any], source_url: str, home: Path
) -> None:
    (home / "bill.csv").write_text("what,is,this\n1,2,3\n")
    auditing(ledger, source_url, bill=["bill.csv"])
    with pytest.raises(Unavailable, match="nothing was seen whole"):
        run()
    row = latest_evidence(ledger, NAME, "audit")
    assert row is not None
    assert row.verdict == "ERROR"


def test_nothing_named_is_refused_and_everything_wrong_is_said_at_once(
    ledger: psycopg.Connection[Any], source_url: str, home: Path
) -> None:
    auditing(ledger, source_url)
    with pytest.raises(Refused, match="nothing to audit"):
        run()
    auditing(
        ledger,
        source_url,
        account="nobody",
        bill=["a.csv", "b.csv"],
        postgres=["nowhere"],
        kubernetes=["no-cluster"],
        traces=["t.json"],
        flow_logs=["f.log"],
        code=["src"],
    )
    with pytest.raises(BadInput) as refused:
        run()
    assert len(refused.value.problems) == 8
    for word in ("nobody", "a.csv", "b.csv", "nowhere", "no-cluster", "t.json", "f.log", "src"):
        assert any(word in problem for problem in refused.value.problems), word
    assert ledger.execute("SELECT count(*) FROM qafila.audit").fetchone() == (0,)


def test_a_connection_of_another_kind_is_named(
    ledger: psycopg.Connection[Any], source_url: str, home: Path
) -> None:
    auditing(ledger, source_url, account="demo-source")
    with pytest.raises(BadInput) as refused:
        run()
    assert "qafila-postgres" in refused.value.problems[0]


def test_options_that_do_not_go_together_are_all_named(home: Path) -> None:
    shown = CliRunner().invoke(
        app, ["report", NAME, "--audit", "--validation", "--generation", "1"]
    )
    assert isinstance(shown.exception, BadInput)
    assert len(shown.exception.problems) == 2


def test_a_workload_that_was_never_audited_is_refused(
    ledger: psycopg.Connection[Any], source_url: str, home: Path
) -> None:
    auditing(ledger, source_url)
    shown = CliRunner().invoke(app, ["report", NAME, "--audit"])
    assert isinstance(shown.exception, Refused)
    assert "never audited" in shown.exception.what
