"""What ``qafila run`` leaves behind when nobody follows the run any more."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from qafila.cli import app
from qafila.stack import environment
from tasks import starting

RUN = UUID(int=7)


def test_control_c_says_that_the_run_goes_on_and_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    monkeypatch.setattr(environment, "prefer_stack", lambda: None)
    monkeypatch.setattr(environment, "speak_to_stack", lambda: "http://127.0.0.1:4200")
    monkeypatch.setattr(starting, "start", lambda phase, request: RUN)
    monkeypatch.setattr(starting, "follow", interrupted)
    done = CliRunner().invoke(app, ["run", "preflight", "docs"])
    assert done.exit_code == 130
    assert f"the run goes on: http://127.0.0.1:4200/runs/flow-run/{RUN}" in done.output
    assert "qafila status docs" in done.output
