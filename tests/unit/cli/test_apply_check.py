"""qafila apply --check: all that can be said of a workload file without a server or a ledger."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from qafila.cli import app
from qafila.errors import BadInput

FILE = Path(__file__).parents[3] / "workloads" / "aws-docs-search.yaml"


@pytest.fixture(autouse=True)
def _no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a check opens no connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("QAFILA_HOME", str(home))


def check(file: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["apply", "--check", str(file), *options])


def changed(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = FILE.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "w.yaml"
    file.write_text(text)
    return file


def test_a_right_file_ends_with_0_and_touches_nothing(tmp_path: Path) -> None:
    result = check(FILE)
    assert result.exit_code == 0, result.output
    assert f"{FILE} describes the workload aws-docs-search" in result.stdout
    assert f"Next:  qafila apply {FILE}" in result.stdout
    assert not list((tmp_path / "home").iterdir())


def test_what_waits_for_a_ledger_goes_on_waiting(tmp_path: Path) -> None:
    spool = tmp_path / "home" / "spool"
    spool.mkdir()
    (spool / "rollbacks.jsonl").write_text("{}\n")
    assert check(FILE).exit_code == 0
    assert (spool / "rollbacks.jsonl").read_text() == "{}\n"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("criticality: low ", "criticality: lo ", "criticality: "),
        (
            "owner: search@example.org\n",
            "owner: a@example.org\nowner: b@example.org\n",
            "owner is there already, in line",
        ),
        (
            "${QAFILA_VAR_DEMO_BASELINE_URL:-http://127.0.0.1:18081}",
            "http://127.0.0.1:18081?x=1",
            "is more than scheme, host, port and path",
        ),
    ],
)
def test_a_wrong_file_is_bad_input(tmp_path: Path, old: str, new: str, words: str) -> None:
    file = changed(tmp_path, (old, new))
    result = check(file)
    assert isinstance(result.exception, BadInput)
    assert result.exception.exit_code == 2
    assert words in str(result.exception)
    result = check(file, "--json")
    assert result.exit_code == 2
    said = json.loads(result.stdout)
    assert (said["file"], said["workload"]) == (str(file), None)
    assert any(words in problem for problem in said["problems"])


def test_an_index_that_the_store_cannot_build_is_found(tmp_path: Path) -> None:
    file = changed(tmp_path, ("kind: pgvector", "kind: pgvector, m: 64, ef_construction: 64"))
    result = check(file, "--json")
    assert result.exit_code == 2
    (problem,) = json.loads(result.stdout)["problems"]
    assert "ef_construction 64 is less than twice m (64)" in problem


def test_json_of_a_right_file_has_no_problems() -> None:
    result = check(FILE, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "file": str(FILE),
        "workload": "aws-docs-search",
        "problems": [],
    }


def test_a_file_that_is_not_there_is_said_in_json(tmp_path: Path) -> None:
    result = check(tmp_path / "none.yaml", "--json")
    assert result.exit_code == 2
    (problem,) = json.loads(result.stdout)["problems"]
    assert "none.yaml cannot be read" in problem
