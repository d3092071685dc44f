"""The export: exact money, names as they are, and nothing that a spreadsheet would run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.core.estate import Collected, Outcome, Resource
from qafila.core.inventory import storable, storable_part
from qafila.errors import BadInput
from tasks.audit.exporting import export_audit
from tests.unit.test_audit import inventory
from tests.unit.test_audit_page import facts


def exported(name: str, folder: Path) -> None:
    part = storable_part(
        Collected(
            "ec2", "r", Outcome.COMPLETE,
            (Resource("i-01", "ec2:instance", name, "r", 7, {"app": name}, {"n": 1}),), (), 1,
        )
    )  # fmt: skip
    export_audit(facts(inventory(collected=(part,), resources=part.resources)), folder)


def test_money_is_exact_and_types_are_kept(tmp_path: Path) -> None:
    exported("web", tmp_path)
    [(amount, currency)] = duckdb.sql(
        f"SELECT amount, currency FROM '{tmp_path}/spend.parquet' WHERE what = 'service'"
    ).fetchall()
    assert (str(amount), currency) == ("100.00000000000000000000", "EUR")
    [(size, tags)] = duckdb.sql(
        f"SELECT size_bytes, tags FROM '{tmp_path}/resources.parquet'"
    ).fetchall()
    assert size == 7
    assert json.loads(tags) == {"app": "web"}
    assert "100,EUR" in (tmp_path / "spend.csv").read_text()


@pytest.mark.parametrize("formula", ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)"])
def test_a_spreadsheet_runs_nothing(tmp_path: Path, formula: str) -> None:
    exported(formula, tmp_path)
    [(shown,)] = duckdb.sql(
        f"SELECT name FROM read_csv('{tmp_path}/resources.csv', all_varchar = true)"
    ).fetchall()
    assert shown == f"'{formula}"
    [(kept,)] = duckdb.sql(f"SELECT name FROM '{tmp_path}/resources.parquet'").fetchall()
    assert kept == formula


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=[]), min_size=1, max_size=40))
def test_a_name_is_always_exported_as_it_was_kept(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        exported(name, Path(folder))
        [(kept,)] = duckdb.sql(f"SELECT name FROM '{folder}/resources.parquet'").fetchall()
    assert kept == storable(name)


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be exported"):
        exported("web", tmp_path / "file" / "folder")
