"""Prefect starts the rollback of exactly the canary run that crashed, and that does no harm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from qafila.errors import Unavailable
from qafila.ledger.leases import release_lease, take_lease
from qafila.ledger.ledger import apply_workload, open_generation
from qafila.rollback.rollback import was_left_by
from qafila.stack.automations import NAME, STARTED, WATCHED, ensure_automation
from qafila.workload.phases import Phase
from tests.support.corpus import demo_workload
from tests.support.prefect_server import asked, running_prefect
from tests.support.routed_workload import FINGERPRINT


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server of its own, with nobody who works."""
    with running_prefect(tmp_path_factory.mktemp("prefect")) as api:
        yield api


def deploy(api: str, name: str) -> str:
    flow = asked(api, "POST", "/flows/", {"name": name})
    body = {"name": name, "flow_id": flow["id"], "enforce_parameter_schema": False}
    return str(asked(api, "POST", "/deployments/", body)["id"])


@pytest.mark.slow
def test_a_canary_run_that_crashes_starts_the_rollback_of_its_workload(api: str) -> None:
    with pytest.raises(Unavailable, match=WATCHED):
        ensure_automation(api)
    watched, started = (deploy(api, name.split("/")[0]) for name in (WATCHED, STARTED))
    other = deploy(api, "nightly-optimization")
    first = ensure_automation(api)
    assert ensure_automation(api) == first  # registering again changes nothing
    (known,) = asked(api, "POST", "/automations/filter", {})
    assert (known["name"], known["enabled"]) == (NAME, True)
    for deployment, end in ((other, "CRASHED"), (watched, "COMPLETED"), (watched, "CRASHED")):
        run = asked(
            api,
            "POST",
            f"/deployments/{deployment}/create_flow_run",
            {"parameters": {"request": {"workload": "aws-docs-search"}}},
        )
        for state in ("RUNNING", end):
            asked(
                api,
                "POST",
                f"/flow_runs/{run['id']}/set_state",
                {"state": {"type": state, "name": state.title()}, "force": True},
            )
    wanted = {"deployments": {"id": {"any_": [started]}}}
    deadline = time.monotonic() + 60
    while not (runs := asked(api, "POST", "/flow_runs/filter", wanted)):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert [r["parameters"]["request"] for r in runs] == [
        {
            "workload": "aws-docs-search",
            "why": "the canary run ended Crashed",
            "of_run": run["id"],
        }
    ]


def test_only_what_that_run_left_is_taken_back(ledger: psycopg.Connection, tmp_path: Path) -> None:
    spec = demo_workload()
    apply_workload(ledger, spec)
    open_generation(ledger, spec, FINGERPRINT)
    assert not was_left_by(ledger, spec.name, "run-1")  # nothing is in front of users
    epoch = take_lease(ledger, spec.name, "canary-cutover", run_id="run-1")
    ledger.execute("UPDATE qafila.generation SET phase = %s", [Phase.CANARY.value])
    assert was_left_by(ledger, spec.name, "run-1")
    assert not was_left_by(ledger, spec.name, "run-2")  # refused because run-1 holds the lease
    release_lease(ledger, spec.name, epoch)
    assert was_left_by(ledger, spec.name, "run-2")  # a canary that nobody leads
    ledger.execute("UPDATE qafila.generation SET phase = %s", [Phase.PROMOTED.value])
    assert not was_left_by(ledger, spec.name, "run-1")
