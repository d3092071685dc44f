"""qafila bills: exact text for a script, a screen for a person, one refusal for a bad file."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qafila.cli import app
from qafila.errors import BadInput
from tests.support.bill_files import HEAD, OCI, bill_of, shared, text_bill

ROOT = Path(__file__).parents[3]


def printed(*files: Path) -> dict:  # type: ignore[type-arg]
    result = CliRunner().invoke(app, ["bills", *map(str, files), "--json"])
    assert result.exit_code == 0, result.output
    data: dict = json.loads(result.stdout)  # type: ignore[type-arg]
    return data


def test_the_real_bill_is_printed_with_every_digit() -> None:
    data = printed(shared("focus_1_0_sample.csv"))
    assert (data["rows"], data["format"]) == (1000, "FOCUS 1.0")
    dollars = data["currencies"]["USD"]
    assert Decimal(data["billed_total"]["USD"]) == Decimal("20.520226728990")
    assert Decimal(dollars["billed_total"]) == Decimal("20.520226728990")
    assert {k: Decimal(v) for k, v in dollars["by_vendor"].items()} == {
        "AWS": Decimal("18.006638618400"),
        "Microsoft": Decimal("1.976514185860"),
        "Oracle": Decimal("0.537073924730"),
    }
    compute = "Amazon Elastic Compute Cloud"
    assert Decimal(dollars["by_service"][compute]) == Decimal("16.041693050500")
    assert dollars["rows_by_service"][compute] == 554
    for parts in ("by_vendor", "by_service", "by_month", "by_category"):
        assert sum(map(Decimal, dollars[parts].values())) == Decimal("20.520226728990")
    assert {p["state"] for p in data["periods"]} == {"not known"}
    kinds = {(d["kind"], d["subject"]): d for d in data["defects"]}
    assert (kinds["untagged", "AWS"]["count"], kinds["untagged", "AWS"]["amount"]) == (
        289,
        "-1.7023496992",
    )
    assert kinds["renamed-column", "Id"]["count"] == 1


def test_an_open_period_is_called_open() -> None:
    data = printed(shared("aws_cur_anonymous_export.csv"))
    assert [(p["period"], p["state"], p["closed"]) for p in data["periods"]] == [
        ("2023-11", "open", False)
    ]
    assert Decimal(data["billed_total"]["USD"]) == Decimal("1.682308697400")


def test_currencies_stand_apart(tmp_path: Path) -> None:
    data = printed(bill_of(tmp_path, "1.10,EUR,2026-05-01,Usage,a", "2,USD,2026-05-01,Usage,a"))
    assert data["billed_total"] == {"EUR": "1.1", "USD": "2"}
    assert {p["currency"]: p["billed_total"] for p in data["periods"]} == data["billed_total"]


def test_the_screen_says_what_a_person_asks_first(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bills", str(text_bill(tmp_path, OCI))])
    assert result.exit_code == 0
    assert "OCI cost report · 3 lines" in result.stdout
    assert "0.88 billed" in result.stdout
    assert "2026-05  0.88 EUR  not known" in result.stdout
    assert "0.85 EUR  NETWORK  (1 line)" in result.stdout


def test_markup_in_a_name_is_printed_as_it_is(tmp_path: Path) -> None:
    name = "[red]<b>x</b>[/red]"
    result = CliRunner().invoke(
        app, ["bills", str(bill_of(tmp_path, f"1,EUR,2026-05-01,Usage,{name}"))]
    )
    assert name in result.stdout


def test_a_bad_bill_is_one_refusal_with_code_2(tmp_path: Path) -> None:
    path = bill_of(tmp_path, "1,EUR", head=HEAD.replace("BilledCost", "Cost"))
    done = subprocess.run(
        [sys.executable, "-m", "qafila.cli", "bills", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == BadInput.exit_code == 2
    assert done.stderr.startswith("BadInput: bill.csv is not a FOCUS bill we can read:")
    assert "the column BilledCost is missing; the column Cost may be it" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("heavy", ["prefect", "boto3", "qdrant_client", "numpy", "sqlalchemy"])
def test_a_bill_is_read_with_nothing_else_loaded(tmp_path: Path, heavy: str) -> None:
    path = bill_of(tmp_path, "1,EUR,2026-05-01,Usage,a")
    code = (
        "import sys; from typer.testing import CliRunner; from qafila.cli import app\n"
        f"assert CliRunner().invoke(app, ['bills', {str(path)!r}, '--json']).exit_code == 0\n"
        f"sys.exit({heavy!r} in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
