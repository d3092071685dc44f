"""The export: exact money, names as they are, and nothing that a spreadsheet would run."""

from __future__ import annotations

import json
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qafila.audit.estate import Collected, Outcome, Resource
from qafila.audit.inventory.storable import storable, storable_part
from qafila.audit.inventory.tables import ABOUT
from qafila.errors import BadInput
from qafila.report.audit_export import export_audit, ready_folder
from qafila.report.audit_facts import AuditFacts
from tests.unit.audit.test_audit import bill, inventory, item
from tests.unit.report.test_audit_page import facts

# As docs/how-to/read-the-audit.md says it: what begins like this has one apostrophe more.
FORMULA = re.compile(r"'*([\t\n\f\r ]*[-=+@＝＋－＠]|[\t\r\n])")
ANYTHING = st.text(st.characters(codec=None, exclude_categories=[]), max_size=40)


def named(name: str) -> AuditFacts:
    part = storable_part(
        Collected(
            "ec2",
            "r",
            Outcome.COMPLETE,
            (Resource("i-01", "ec2:instance", name, "r", 7, {"app": name}, {"n": 1}),),
            (),
            1,
        )
    )
    return facts(inventory(collected=(part,), resources=part.resources))


def exported(name: str, folder: Path) -> None:
    export_audit(named(name), folder)


def of_csv(file: Path) -> list[dict[str, Any]]:
    """Read a CSV back: every cell as text, nothing apart from an empty text."""
    told = duckdb.sql(
        f"SELECT * FROM read_csv('{file}', all_varchar = true, header = true, delim = ',',"
        " quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = false)"
    )
    return [dict(zip(told.columns, row, strict=True)) for row in told.fetchall()]


def of_parquet(file: Path) -> list[dict[str, Any]]:
    told = duckdb.sql(f"SELECT * FROM '{file}'")
    return [dict(zip(told.columns, row, strict=True)) for row in told.fetchall()]


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


def spending(*amounts: str) -> AuditFacts:
    rows = [{"month": "2026-10", "name": "x", "amount": a, "currency": "EUR"} for a in amounts]
    return AuditFacts(**{**vars(named("x")), "tables": {"spend": rows}})


@pytest.mark.parametrize(
    ("amounts", "kind"),
    [
        (["1", "-0.5"], "DECIMAL(38,20)"),
        # 18 digits before the point are what 20 behind it leave room for
        (["999999999999999999.99999999999999999999"], "DECIMAL(38,20)"),
        (["1000000000000000000", "0.01"], "DECIMAL(38,19)"),
        (["12345678901234567890123456", "0.000000000001"], "DECIMAL(38,12)"),
        (["99999999999999999999999999999999999999"], "DECIMAL(38,0)"),
        (["0.000000000000000000012345", "-3"], "DECIMAL(38,24)"),
        (["1", "0.0000000000000000000000000000000000001"], "DECIMAL(38,37)"),
        (["00012.50000000000000000000000000000"], "DECIMAL(38,20)"),
    ],
)
def test_money_gets_the_decimal_that_holds_all_of_its_digits(
    tmp_path: Path, amounts: list[str], kind: str
) -> None:
    export_audit(spending(*amounts), tmp_path)
    described = duckdb.sql(f"DESCRIBE SELECT amount FROM '{tmp_path}/spend.parquet'").fetchall()
    assert described[0][1] == kind
    assert [r["amount"] for r in of_parquet(tmp_path / "spend.parquet")] == list(
        map(Decimal, amounts)
    )
    # What Spark and Arrow (pandas) take as well: at most 38 digits, in 16 bytes.
    stored = duckdb.sql(
        "SELECT type, type_length, converted_type, precision FROM"
        f" parquet_schema('{tmp_path}/spend.parquet') WHERE name = 'amount'"
    ).fetchall()
    assert stored == [("FIXED_LEN_BYTE_ARRAY", "16", "DECIMAL", 38)]


def test_money_that_no_decimal_holds_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="amount of spend needs 20 digits before") as refused:
        export_audit(spending("1" * 20, "0." + "1" * 19), tmp_path / "out")
    assert "and 19 behind it" in refused.value.what
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "formula",
    ["=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "'=1"],
)
def test_a_spreadsheet_runs_nothing(tmp_path: Path, formula: str) -> None:
    exported(formula, tmp_path)
    assert [r["name"] for r in of_csv(tmp_path / "resources.csv")] == [f"'{formula}"]
    assert [r["name"] for r in of_parquet(tmp_path / "resources.parquet")] == [formula]


@settings(max_examples=25, deadline=None)
@given(
    ANYTHING,
    st.one_of(
        st.decimals(-(10**17), 10**17, places=20),
        st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal),
        st.integers(0, 38).flatmap(lambda n: st.decimals(-1, 1, places=n)),
    ),
)
@example("'=1", Decimal("-0.00000000000000000001"))
@example('a,b"c\r\nd;=e', Decimal("12345678901234567.12345678901234567891"))
def test_csv_and_parquet_always_say_the_same(name: str, amount: Decimal) -> None:
    told = named(name or "x")
    rows = [
        {"month": "2026-10", "name": name, "amount": f"{amount:f}", "currency": "EUR", "lines": 3}
    ]
    told = AuditFacts(**{**vars(told), "tables": {**told.tables, "spend": storable(rows)}})
    with tempfile.TemporaryDirectory() as folder:
        export_audit(told, Path(folder))
        for name_of, kept in told.tables.items():
            if not kept:
                continue
            csv = of_csv(Path(folder) / f"{name_of}.csv")
            parquet = of_parquet(Path(folder) / f"{name_of}.parquet")
            assert len(csv) == len(parquet) == len(kept)
            for shown, exact, row in zip(csv, parquet, kept, strict=True):
                assert set(shown) == set(exact)
                for key, value in exact.items():
                    _same(shown[key], value, row.get(key))


def _same(shown: str | None, exact: Any, kept: Any) -> None:
    """Compare one cell of the CSV, of the Parquet, and of the ledger."""
    if exact is None:
        assert shown is None
        assert kept is None
    elif isinstance(exact, Decimal):
        assert Decimal(str(shown)) == exact == Decimal(kept)
    elif isinstance(exact, bool):
        assert (shown, exact) == (str(kept).lower(), kept)
    elif isinstance(exact, int | float):
        assert float(str(shown)) == exact == kept
    else:
        text = str(shown)
        assert (text[1:] if FORMULA.match(text) else text) == exact
        assert exact == (kept if isinstance(kept, str) else exact)
        assert not re.match(r"[-=+@\t\r\n＝＋－＠]", text)


@settings(max_examples=30, deadline=None)
@given(ANYTHING.filter(bool))
def test_a_name_is_always_exported_as_it_was_kept(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        exported(name, Path(folder))
        [(kept,)] = duckdb.sql(f"SELECT name FROM '{folder}/resources.parquet'").fetchall()
    assert kept == storable(name)


def test_a_folder_holds_one_audit_and_no_table_of_an_earlier_one(tmp_path: Path) -> None:
    export_audit(facts(inventory(bill=bill(item("i-0dead", "9", "4")))), tmp_path)
    assert (tmp_path / "spend.csv").exists()
    (tmp_path / "notes.txt").write_text("mine")
    export_audit(facts(inventory(bill=None, currency=None)), tmp_path)
    assert not list(tmp_path.glob("spend.*"))
    assert (tmp_path / "resources.parquet").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_every_table_is_in_the_page_about_them() -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "read-the-audit.md"
    told = re.findall(r"^\| `(\w+)` \|", page.read_text(), re.MULTILINE)
    assert set(told) == set(ABOUT)


def test_a_folder_that_cannot_be_written_is_one_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "folder", Path("/proc/audit")):
        for attempt in (ready_folder, lambda f: exported("web", f)):
            with pytest.raises(BadInput, match="cannot be exported") as refused:
                attempt(folder)
            assert str(folder) in refused.value.what
            assert "--export" in refused.value.remedy


@settings(deadline=None, max_examples=15)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(sorted(ABOUT)), st.sampled_from(["csv", "parquet"])),
        st.binary(max_size=40),
        min_size=1,
        max_size=4,
    ),
    st.dictionaries(st.text("abc-.", min_size=3, max_size=9), st.binary(max_size=40), max_size=3),
)
def test_files_of_somebody_else_survive_an_export(
    under_our_names: dict[tuple[str, str], bytes], beside: dict[str, bytes]
) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        foreign = {f"{name}.{ending}": held for (name, ending), held in under_our_names.items()}
        beside = {f"x{name}": held for name, held in beside.items()}
        for name, held in {**foreign, **beside}.items():
            (folder / name).write_bytes(held)
        with pytest.raises(BadInput) as refused:
            exported("web", folder)
        assert all(name in str(refused.value) for name in foreign)
        assert {f.name: f.read_bytes() for f in folder.iterdir()} == {**foreign, **beside}
        export_audit(named("web"), folder, force=True)
        exported("web again", folder)  # now they are ours
        assert {name: (folder / name).read_bytes() for name in beside} == beside


def test_an_export_that_was_changed_since_or_is_a_link_is_not_replaced(tmp_path: Path) -> None:
    files = export_audit(named("web"), tmp_path / "out")
    files[0].write_bytes(b"notes")
    with pytest.raises(BadInput, match=files[0].name):
        exported("web", tmp_path / "out")
    files[0].unlink()
    (tmp_path / "kept").write_bytes(b"kept")
    files[0].symlink_to(tmp_path / "kept")
    with pytest.raises(BadInput, match=files[0].name):
        exported("web", tmp_path / "out")
    assert (tmp_path / "kept").read_bytes() == b"kept"
