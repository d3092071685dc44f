"""What ``qafila run`` and ``qafila rollback`` say when something does not end as it should."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from qafila.cli import app
from qafila.errors import Inconclusive, QafilaError, Refused, Unavailable
from qafila.rollback import way_back as bringing_back
from qafila.rollback.rollback import RolledBack
from qafila.stack import environment
from qafila.workload.verdict import Verdict
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


@pytest.mark.parametrize(
    ("verdict", "acknowledged_s", "error"),
    [
        (Verdict.ERROR, 0.1, Unavailable),
        (Verdict.FAIL, 0.1, Refused),
        (Verdict.INCONCLUSIVE, 0.1, Inconclusive),
        (Verdict.INCONCLUSIVE, None, Unavailable),
    ],
)
def test_a_rollback_that_is_not_proven_says_its_sentence_once(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verdict: Verdict,
    acknowledged_s: float | None,
    error: type[QafilaError],
) -> None:
    sentence = "docs: all traffic is on the baseline, but the pointer row was not moved."
    outcome = RolledBack(
        "docs", (1,), False, 25, 0, 0.1, acknowledged_s, 0, 0, verdict, sentence, "why"
    )
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    monkeypatch.setattr(environment, "prefer_stack", lambda: None)
    monkeypatch.setattr(bringing_back, "bring_back", lambda *_, **__: outcome)
    done = CliRunner().invoke(app, ["rollback", "docs"])
    assert isinstance(done.exception, error)
    assert f"{done.output}{done.exception.render()}".count(sentence) == 1
    as_data = CliRunner().invoke(app, ["rollback", "docs", "--json"])
    assert json.loads(as_data.stdout)["verdict"] == verdict.value
