"""What ``qafila doctor`` says where nothing was started."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from qafila.cli import app


def test_what_has_one_remedy_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 4
    assert done.output.count("Next:  qafila up") == 1
    assert "postgres, prefect, worker" in done.output
