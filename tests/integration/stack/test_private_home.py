"""A home's parents stay as they are, and what an earlier release left open in it is closed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.ending import stop_server
from qafila.errors import BadInput
from qafila.stack import ground, postgres


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="qafila-home-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_database_leaves_the_parents_of_its_home_as_they_are(folder: Path) -> None:
    parent = folder / "parent"
    home = parent / "home"
    home.mkdir(parents=True)
    folder.chmod(0o711)
    parent.chmod(0o711)
    ground.make_private(home)
    before = (mode(folder), mode(parent), mode(home))
    try:
        postgres.start(home / "postgres")
        assert (mode(folder), mode(parent), mode(home)) == before
    finally:
        stop_server(home / "postgres", keep=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only as root does PostgreSQL change its account")
def test_as_root_a_closed_parent_is_named_and_stays_closed(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    assert [folder.name in p for p in postgres.problems(home / "postgres")] == [True]
    with pytest.raises(BadInput, match="cannot enter"):
        postgres.start(home / "postgres")
    assert mode(folder) == 0o700


def test_an_existing_home_is_closed_without_touching_its_parents(folder: Path) -> None:
    folder.chmod(0o755)
    home = folder / "home"
    for name in ("logs", "cards", "postgres"):
        (home / name).mkdir(parents=True, mode=0o755)
        (home / name).chmod(0o755)
    (home / "stack.json").write_text("{}")
    (home / "stack.json").chmod(0o644)
    ground.make_private(home)
    assert mode(folder) == 0o755
    assert mode(home) == (0o711 if os.geteuid() == 0 else 0o700)
    assert mode(home / "logs") == mode(home / "cards") == 0o700
    assert mode(home / "stack.json") == 0o600
    assert mode(home / "postgres") == 0o755  # PostgreSQL's own matter


@pytest.mark.skipif(os.geteuid() != 0, reason="only as root does PostgreSQL change its account")
def test_as_root_no_socket_is_put_where_every_account_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.chmod(0o711)
    home = folder / ("h" * 100)
    home.mkdir(mode=0o711)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    with pytest.raises(BadInput, match="too long for PostgreSQL's socket"):
        postgres.start(home / "postgres")
