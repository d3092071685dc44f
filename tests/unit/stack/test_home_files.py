"""A wipe deletes what Qafila made and nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qafila.errors import Refused
from qafila.stack.down import bring_down
from qafila.stack.home_files import list_home

OURS = [
    "stack.lock",
    "keys/card",
    "bindings.json",
    "bindings.lock",
    "evidence-heads/0123456789abcdef.json",
    "envoy/admin/socket",
    "envoy/.lock",
    "envoy/rollback-card-shop-search.json",
    "cards/shop-search.json",
    "logs/envoy.log",
    "envoy/cds.json",
    "prefect/prefect.db",
    "postgres/PG_VERSION",
    "postgres/base/5/1259_fsm",
    "postgres/global/1262",
    "postgres/pg_wal/000000010000000000000001",
    "evidence/r-1/MANIFEST.json",
]
FOLDERS = st.sampled_from(
    ["", "logs/", "postgres/", "postgres/base/5/", "evidence/", "evidence/r-1/", "mine/deep/"]
)
FOREIGN = st.builds(lambda at, name: f"{at}x{name}.txt", FOLDERS, st.text("abc", max_size=4))


def make_home(home: Path) -> None:
    for name in OURS:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"ours")
    (home / "postgres" / "pg_twophase").mkdir()
    (home / "stack.json").write_text('{"id": "a"}')


@settings(deadline=None)
@given(st.dictionaries(FOREIGN, st.binary(max_size=30), max_size=5))
@example({"thesis.txt": b"years of work"})
def test_whatever_else_lies_in_a_home_survives_a_wipe(foreign: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch:
        home = Path(made).resolve() / "home"
        make_home(home)
        for name, held in foreign.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(held)
        patch.setenv("QAFILA_HOME", str(home))
        done = bring_down(wipe=True)
        left = {f.relative_to(home).as_posix(): f for f in home.rglob("*") if f.is_file()}
        assert {name: file.read_bytes() for name, file in left.items()} == foreign
        assert sorted(done.kept) == sorted(str(home / name) for name in foreign)
        assert home.exists() is bool(foreign)


def test_no_link_is_followed_out_of_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    make_home(home)
    outside.mkdir()
    (outside / "shop-search.json").write_text("theirs")
    (home / "reports").symlink_to(outside)
    (home / "cards" / "linked.json").symlink_to(outside / "shop-search.json")
    monkeypatch.setenv("QAFILA_HOME", str(home))
    assert {p.name for p in list_home(home).kept} == {"reports", "linked.json"}
    bring_down(wipe=True)
    assert (outside / "shop-search.json").read_text() == "theirs"
    assert (home / "reports").is_symlink()


def test_a_folder_without_a_stack_of_ours_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    with pytest.raises(Refused):
        bring_down(wipe=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
