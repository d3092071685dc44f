"""A canary run that is cancelled in the UI gives the baseline its traffic back."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from qafila.ledger.evidence import latest_evidence
from qafila.ledger.leases import read_lease
from qafila.ledger.ledger import newest_generation
from qafila.stack.prefect_access import ask
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from tests.support.edges import Edge
from tests.support.prefect_server import asked, environment, running_prefect

NAME = "aws-docs-search"
ROOT = Path(__file__).parents[3]
# A run with the hooks of canary-cutover, which leads a weight until it is stopped.
RUN = """
import sys, time
sys.path.insert(0, {root!r})
from prefect import flow
from flows.canary_cutover import take_back_if_ours
from qafila.routers.lookup import router_of
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import open_ledger, read_workload
from tasks.runs import current_run_id

@flow(name="canary-cutover", on_cancellation=[take_back_if_ours], on_crashed=[take_back_if_ours])
def canary(request: dict):
    with open_ledger() as ledger:
        spec, _ = read_workload(ledger, request["workload"])
        router = router_of(ledger, spec)
        with held_lease(ledger, spec.name, "canary-cutover", run_id=current_run_id(),
                        generation=1, above=router.read().epoch) as heart:
            router.acknowledged(router.write(25, epoch=heart.epoch, why="test"))
            heart.lost.wait(300)

if __name__ == "__main__":
    canary.serve(name="canary-cutover", pause_on_shutdown=False)
"""


@pytest.mark.slow
def test_a_cancel_in_the_ui_takes_everything_back(
    edge: Edge, ledger: psycopg.Connection, workload: Workload, ledger_url: str, tmp_path: Path
) -> None:
    ledger.execute("UPDATE qafila.generation SET phase = %s", [Phase.CANARY.value])
    script = tmp_path / "run.py"
    script.write_text(RUN.format(root=str(ROOT)))
    with running_prefect(tmp_path) as api, (tmp_path / "serve.log").open("w") as log:
        serving = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env={
                **environment(tmp_path, api),
                "QAFILA_LEDGER_URL": ledger_url,
                "QAFILA_HOME": str(tmp_path),
                "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            },
        )
        try:
            deadline = time.monotonic() + 240
            path = "/deployments/name/canary-cutover/canary-cutover"
            while (reply := ask(api, "GET", path, timeout_s=30)).status_code != 200:
                assert serving.poll() is None, (tmp_path / "serve.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.5)
            run = asked(
                api,
                "POST",
                f"/deployments/{reply.json()['id']}/create_flow_run",
                {"parameters": {"request": {"workload": NAME}}},
            )
            while edge.router.read().candidate_percent != 25:
                assert time.monotonic() < deadline, (tmp_path / "serve.log").read_text()
                time.sleep(0.1)
            lease = read_lease(ledger, NAME)
            assert lease is not None
            assert lease.holder_run == run["id"]
            asked(
                api,
                "POST",
                f"/flow_runs/{run['id']}/set_state",
                {"state": {"type": "CANCELLING", "name": "Cancelling"}},
            )
            while (kept := latest_evidence(ledger, NAME, "rollback")) is None:
                assert time.monotonic() < deadline, (tmp_path / "serve.log").read_text()
                time.sleep(0.1)
        finally:
            serving.send_signal(signal.SIGINT)
            try:
                serving.wait(30)
            except subprocess.TimeoutExpired:
                serving.kill()
                serving.wait()
    assert edge.router.read().candidate_percent == 0
    assert "the canary run ended Cancel" in kept.body["why"]
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    assert generation.phase == Phase.ROLLED_BACK
