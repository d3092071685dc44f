"""File names are data: no name of a file is a pattern, a piece of SQL or a way to another file."""

from __future__ import annotations

import gzip
import re
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bills_file import make_file
from qafila.audit.bills.model import Bill
from qafila.audit.bills.read import read_bill
from qafila.audit.traffic.flow_parquet import opened_parquet
from qafila.errors import BadInput
from qafila.locked_duckdb import link_into, locked_duckdb
from qafila.report.audit_export import RECORD, export_audit
from tests.support.bill_files import HEAD
from tests.unit.audit.test_audit_export import named

ROOT = Path(__file__).parents[2]
RIGHT, DECOY = Decimal(3), Decimal(1000)

ODD = [
    ("bill[1].csv", ["bill1.csv"]),
    ("b*.csv", ["b1.csv", "bb.csv"]),
    ("a?.parquet", ["ab.parquet"]),
    ("{a,b}.csv", ["a.csv", "b.csv"]),
    ("**.csv", ["x.csv"]),
    ("it's.csv", []),
    ('it\'s "quoted".csv', []),
    ("two\nlines.csv", []),
    ("back\\slash.csv", []),
    ("$1 ? %s {x}.csv", []),
    ("hive=1.csv", []),
    ("-.csv", []),
    ("x']); COPY (SELECT 1) TO 'written.csv'; --.csv", []),
    ("x\"]) AS t; COPY (SELECT 1) TO 'written.csv'; SELECT ([\"x'.csv", []),
    ("x'] , filename = true); COPY (SELECT 42 AS a) TO 'written'; FROM read_csv(['x.csv", []),
]


def write_bill(path: Path, amount: Decimal) -> Path:
    """Write a bill of one line, as Parquet or as text."""
    line = f"{amount},USD,2026-05-01,Usage,EC2"
    if path.suffix != ".parquet":
        path.write_text(f"{HEAD}\n{line}\n")
        return path
    columns = ", ".join(
        f"'{cell}' AS {name}" for name, cell in zip(HEAD.split(","), line.split(","), strict=True)
    )
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        plain = Path(folder) / "bill.parquet"
        connection.execute(f"COPY (SELECT {columns}) TO '{plain}' (FORMAT parquet)")
        path.write_bytes(plain.read_bytes())
    return path


def total(bill: Bill) -> Decimal:
    return sum((period.amount for period in bill.periods), Decimal(0))


@pytest.mark.parametrize(("name", "decoys"), ODD)
def test_a_bill_is_the_file_that_was_named(
    name: str, decoys: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bills"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    for decoy in decoys:
        write_bill(folder / decoy, DECOY)
    path = write_bill(folder / name, RIGHT)
    before = sorted(tmp_path.rglob("*"))
    assert total(read_bill(path)) == RIGHT
    other = write_bill(tmp_path / f"other{path.suffix}", Decimal(4))
    assert total(read_bill([path, other])) == RIGHT + 4
    other.unlink()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_whose_name_is_a_pattern_is_that_folder(tmp_path: Path) -> None:
    for name, amount in (("may[1]", RIGHT), ("may1", DECOY)):
        (tmp_path / name).mkdir()
        write_bill(tmp_path / name / "bill.csv", amount)
    assert total(read_bill(tmp_path / "may[1]" / "bill.csv")) == RIGHT


def test_two_bills_of_the_same_name_and_folder_name_are_two_files(tmp_path: Path) -> None:
    paths = []
    for place in ("one", "two"):
        folder = tmp_path / place / "may"
        folder.mkdir(parents=True)
        paths.append(write_bill(folder / "bill.csv", RIGHT))
    with pytest.raises(BadInput, match="would count money twice"):
        read_bill(paths)


def test_a_name_that_is_not_utf_8_is_read(tmp_path: Path) -> None:
    path = Path(str(tmp_path) + "/b\udce9.csv")
    with suppress(OSError):  # a file system that keeps only UTF-8 has no such name
        write_bill(path, RIGHT)
        assert total(read_bill(path)) == RIGHT


def test_an_unreadable_bill_is_spoken_of_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "bill[1].csv"
    path.write_text(f'{HEAD}\n1,USD,2026-05-01,Usage,"EC2\n2,USD,2026-05-01,Usage,EC2\n')
    with pytest.raises(BadInput, match=r"bill\[1\]\.csv") as caught:
        read_bill(path)
    assert "qafila-bill-" not in str(caught.value)


NAMES = st.text(
    st.one_of(
        st.sampled_from("*?[]{}'\"\\;-$%\n\t ()=,:!^~&|<>#"),
        st.characters(codec="utf-8", exclude_characters="/\x00", exclude_categories=["Cs"]),
    ),
    min_size=1,
    max_size=40,
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@settings(max_examples=60, deadline=None)
@given(name=NAMES)
def test_any_name_gives_the_money_of_its_own_file(name: str) -> None:
    with TemporaryDirectory() as room:
        folder = Path(room)
        for decoy in ("a.csv", "b", "1", "bill1.csv"):
            write_bill(folder / f"decoy-{decoy}", DECOY)
            if decoy != name:
                write_bill(folder / decoy, DECOY)
        before = {p.name for p in folder.iterdir()} | {name}
        path = folder / name
        path.write_text(f"{HEAD}\n{RIGHT},USD,2026-05-01,Usage,EC2\n")
        assert total(read_bill(path)) == RIGHT
        assert {p.name for p in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["f[1].parquet", "f*.parquet", "f'; SELECT '1.parquet"])
def test_a_flow_log_is_the_file_that_was_named(name: str, tmp_path: Path) -> None:
    for other, value in ((name, "right"), ("f1.parquet", "decoy")):
        with TemporaryDirectory() as folder, duckdb.connect() as connection:
            plain = Path(folder) / "rows.parquet"
            connection.execute(f"COPY (SELECT '{value}' AS a) TO '{plain}' (FORMAT parquet)")
            (tmp_path / other).write_bytes(plain.read_bytes())
    (tmp_path / "zipped[1].gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    for path in (tmp_path / name, tmp_path / "zipped[1].gz"):
        with opened_parquet(path) as (columns, records):
            assert (columns, [list(r) for r in records]) == (["a"], [["right"]])


@pytest.mark.parametrize("name", ["out[1]", "it's", "x' (FORMAT csv); COPY (SELECT 1) TO 'w"])
def test_an_export_goes_to_the_folder_that_was_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "out1").mkdir()
    files = export_audit(named("web"), tmp_path / name)
    assert files
    assert {f.parent for f in files} == {tmp_path / name}
    assert {f.name for f in (tmp_path / name).iterdir()} == {RECORD, *(f.name for f in files)}
    assert {p.name for p in tmp_path.iterdir()} == {name, "out1"}
    assert not list((tmp_path / "out1").iterdir())


def test_a_synthetic_bill_goes_to_the_file_that_was_named(tmp_path: Path) -> None:
    path = tmp_path / "o'bill[1].parquet"
    known = make_file(path, 500, 7)
    assert total(read_bill(path)) == known.total
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


FORBIDDEN = [
    "SELECT * FROM read_text('{other}/secret.txt')",
    "SELECT * FROM read_csv('{other}/*')",
    "SELECT * FROM read_csv('{folder}/../{base}/secret.txt')",
    "COPY (SELECT 1) TO '{other}/written.csv'",
    "ATTACH '{other}/written.db'",
    "EXPORT DATABASE '{other}/written'",
    "SET allowed_directories = ['/']",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET temp_directory = '{other}'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SELECT * FROM read_csv('https://127.0.0.1:9/a.csv')",
]


@pytest.mark.parametrize("query", FORBIDDEN)
def test_a_locked_connection_reads_and_writes_only_its_folder(query: str, tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "secret.txt").write_text("x\n1\n")
    (other / "named[1].csv").write_text("x\n7\n")
    link = link_into(folder, other / "named[1].csv", "rows.csv")
    before = sorted(other.iterdir())
    with locked_duckdb(folder) as connection:
        rows = connection.execute("SELECT x FROM read_csv(?)", [str(link)]).fetchall()
        assert rows == [(7,)]
        with pytest.raises(duckdb.Error):
            connection.execute(query.format(folder=folder, other=other, base="other"))
    assert sorted(other.iterdir()) == before


def test_only_the_locked_helper_opens_duckdb() -> None:
    opened = re.compile(r"duckdb\.(connect|sql|query|execute|read_\w+|from_\w+)\(")
    found = {
        str(path.relative_to(ROOT))
        for room in ("qafila", "tasks", "flows", "blocks", "benchmarks")
        for path in (ROOT / room).rglob("*.py")
        if opened.search(path.read_text())
    }
    assert found == {"qafila/locked_duckdb.py"}
