"""qafila report --audit on a real ledger: one clear refusal each; what changed since the last."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from qafila.audit.estate import Collected, Outcome, Resource
from qafila.cli import app
from qafila.errors import BadInput, QafilaError, Refused
from qafila.ledger.ledger import apply_workload
from qafila.workload_file import read_file
from tasks.inventory_audit import keep_audit
from tests.support.applied import FILE
from tests.unit.audit.test_audit import inventory

NAME = "aws-docs-search"


@pytest.fixture
def home(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ledger_url: str,
    ledger: psycopg.Connection[Any],
) -> Path:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path / "home"))
    apply_workload(ledger, read_file(FILE))
    return tmp_path


def place(outcome: Outcome, *names: str, region: str = "eu-west-3") -> Collected:
    seen = tuple(Resource(n, "ec2:instance", n, region) for n in names)
    missed = "" if outcome is Outcome.COMPLETE else "ec2: DescribeInstances said no"
    return Collected("ec2", region, outcome, seen, (), 1, missed)


def audited(ledger: psycopg.Connection[Any], *parts: Collected) -> dict[str, Any]:
    resources = tuple(r for p in parts for r in p.resources)
    found = inventory(workload=NAME, collected=parts, resources=resources)
    body: dict[str, Any] = keep_audit.fn(
        ledger, found, started_at=datetime.now(UTC), generation=None, run_id=None
    )
    return body


def refused(*options: str) -> QafilaError:
    shown = CliRunner().invoke(app, ["report", *options])
    assert isinstance(shown.exception, QafilaError), shown.output
    return shown.exception


def pages(home: Path) -> list[Path]:
    return list(home.rglob("*.html"))


def test_what_cannot_be_reported_is_refused_in_one_error_before_anything_is_written(
    ledger: psycopg.Connection[Any], home: Path
) -> None:
    export = home / "export"
    unknown = refused("nobody", "--audit", "--export", str(export))
    assert "nobody" in unknown.what
    never = refused(NAME, "--audit", "--export", str(export))
    assert isinstance(never, Refused)
    assert never.remedy == f"qafila run inventory-audit {NAME}"
    assert not export.exists()

    audited(ledger, place(Outcome.COMPLETE, "i-1"))
    (home / "file").write_text("")
    for folder in (home / "file", home / "file" / "below", Path("/proc/audit")):
        unwritable = refused(NAME, "--audit", "--export", str(folder))
        assert isinstance(unwritable, BadInput)
        assert str(folder) in unwritable.what
        assert "--export" in unwritable.remedy
    nowhere = refused(NAME, "--audit", "--to", str(home / "nowhere" / "page.html"))
    assert isinstance(nowhere, BadInput)
    assert "--to" in nowhere.remedy
    alone = refused(NAME, "--export", str(export))
    assert isinstance(alone, BadInput)
    assert pages(home) == []
    assert not export.exists()


def test_what_is_denied_this_time_is_not_gone(ledger: psycopg.Connection[Any], home: Path) -> None:
    audited(
        ledger,
        place(Outcome.COMPLETE, "i-1", "i-2"),
        place(Outcome.COMPLETE, "i-3", region="us-east-1"),
    )
    denied = audited(
        ledger, place(Outcome.DENIED), place(Outcome.COMPLETE, "i-4", region="us-east-1")
    )["difference"]
    assert (denied["new"], denied["gone"], denied["not_judged"]) == (1, 1, 2)
    assert denied["outcomes"] == [
        {"collector": "ec2", "region": "eu-west-3", "before": "complete", "now": "denied"}
    ]
    shown = CliRunner().invoke(app, ["report", NAME, "--audit", "--json"])
    page = Path(json.loads(shown.output)["file"]).read_text()
    assert "1 new, 1 gone, 0 changed, 2 where one of the audits could not see everything" in page
    assert "ec2 in eu-west-3: complete then, denied now." in page


def test_one_of_two_looks_at_a_place_that_was_denied_leaves_all_of_it_open(
    ledger: psycopg.Connection[Any], home: Path
) -> None:
    audited(ledger, place(Outcome.COMPLETE, "i-1"), place(Outcome.COMPLETE, "i-2"))
    again = audited(ledger, place(Outcome.COMPLETE, "i-1"), place(Outcome.DENIED))["difference"]
    assert (again["gone"], again["not_judged"]) == (0, 1)
