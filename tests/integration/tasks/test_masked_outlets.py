"""A password in an exception's text gets nowhere: not into logs, states, evidence, artifacts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import psycopg
import pytest
from prefect import flow, get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.logging.handlers import APILogHandler

from qafila.errors import Unavailable
from qafila.ledger.evidence import evidence_of, record_evidence
from qafila.text.foreign_text import markdown_text
from tasks.artifact_tables import show_markdown, show_table
from tasks.runs import current_run_id, operator_told

PASSWORD = "hush-Zq7vXv9"
ADDRESS = f"postgresql://me:{PASSWORD}@db.example:5432/shop"
DSN = f"host=db.example user=me password={PASSWORD} dbname=shop"
RUNS: dict[str, str] = {}  # the id of each run, by its kind
REASON = f"connection failed: {DSN}; tried {ADDRESS}"


@task
def log_it() -> None:
    log = get_run_logger()
    log.info("connecting to %s", ADDRESS)
    log.warning(DSN)
    try:
        raise OSError(REASON)
    except OSError:
        log.exception("no answer")


@task
def show_it() -> None:
    show_table("table", [{"address": ADDRESS, "more": [{"password": PASSWORD}, DSN]}], ADDRESS)
    show_markdown("page", f"it said {DSN}\n\n```\n{ADDRESS}\n```\n\n- {markdown_text(ADDRESS)}")


@task(retries=1)
def fail(kind: type[Exception]) -> NoReturn:
    raise kind(REASON)


@flow(name="liar")
def liar(kind: str) -> None:
    RUNS[kind] = str(current_run_id())
    with operator_told():
        log_it()
        show_it()
        kinds: dict[str, type[Exception]] = {
            "ours": Unavailable,
            "foreign": psycopg.OperationalError,
            "key": KeyError,
        }
        fail(kinds[kind])


def stored_of(run_id: str) -> dict[str, Any]:
    """Return all that the server keeps of a run, as it tells it."""
    run = UUID(run_id)
    APILogHandler().flush()
    with get_client(sync_client=True) as client:
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
        return {
            "run": client.read_flow_run(run).model_dump(mode="json"),
            "states": [s.model_dump(mode="json") for s in client.read_flow_run_states(run)],
            "tasks": [
                t.model_dump(mode="json") for t in client.read_task_runs(flow_run_filter=mine)
            ],
            "logs": [
                log.message
                for log in client.read_logs(
                    LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=200
                )
            ],
            "artifacts": [
                a.model_dump(mode="json")
                for a in client.read_artifacts(
                    artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
                )
            ],
        }


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("kind", ["ours", "foreign", "key"])
def test_a_password_in_an_exception_stays_out_of_a_run(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exception, match="connection failed"):
        liar(kind)
    stored = stored_of(RUNS[kind])
    assert "connection failed" in stored["run"]["state"]["message"]  # the rest is told
    assert any("Traceback" in line for line in stored["logs"])
    assert any("connecting to postgresql://me:***@db" in line for line in stored["logs"])
    assert {a["key"] for a in stored["artifacts"]} >= {"table", "page"}
    assert "b.example" in json.dumps(stored["artifacts"])
    leaking = {place for place, kept in stored.items() if PASSWORD in json.dumps(kept)}
    assert leaking == set()
    assert PASSWORD not in "".join(capfd.readouterr())


def test_a_password_stays_out_of_the_evidence(ledger: psycopg.Connection) -> None:
    record_evidence(
        ledger,
        "attempt",
        f"stopped: {REASON}",
        workload="docs",
        body={"reasons": [REASON], "asked": {"url": ADDRESS, "api_key": PASSWORD, "n": 3}},
    )
    (row,) = evidence_of(ledger, "docs")
    assert PASSWORD not in row.sentence + json.dumps(row.body)
    assert row.sentence.startswith("stopped: connection failed: host=db.example user=me password=")
    assert row.body["asked"]["n"] == 3


CRASHES = {
    "process": "from qafila.backfill import process as m\nm._sample = crash\n",
    "thread": "import threading\nfrom qafila.backfill import process as m\n"
    "def begin(told):\n"
    "    t = threading.Thread(target=crash, args=[told]); t.start(); t.join()\n"
    "m._sample = begin\n",
}


@pytest.mark.parametrize("crash", CRASHES)
def test_a_password_stays_out_of_the_traceback_of_a_loading_process(crash: str) -> None:
    """Standard error of that process is its parent's, which ends in the worker's log."""
    code = f"def crash(told):\n    raise OSError({REASON!r})\n{CRASHES[crash]}m.main()"
    ended = subprocess.run(
        [sys.executable, "-c", code], input='{"sample": {}}\n', capture_output=True, text=True
    )
    assert "connection failed" in ended.stderr
    assert PASSWORD not in ended.stderr


def test_an_error_of_the_command_line_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from qafila import cli

    def raising(error: Exception) -> Callable[[], None]:
        def run() -> None:
            raise error

        return run

    for error in (Unavailable(REASON), OSError(REASON)):
        monkeypatch.setattr(cli, "app", raising(error))
        with pytest.raises(SystemExit):
            cli.main()
        shown = "".join(capsys.readouterr())
        assert "connection failed" in shown
        assert PASSWORD not in shown


def test_only_one_place_makes_artifacts_of_text() -> None:
    """Whatever text a run shows goes through the one function that masks."""
    root = Path(__file__).parents[3]
    found = {
        str(path.relative_to(root))
        for room in ("tasks", "flows", "qafila")
        for path in (root / room).rglob("*.py")
        if "create_markdown_artifact" in path.read_text()
    }
    assert found == {"tasks/artifact_tables.py"}
