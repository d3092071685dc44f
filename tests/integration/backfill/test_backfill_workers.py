"""Workers as runs elsewhere: what is asked of the Prefect server, and how often."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import TaskRunFilter
from prefect.states import Completed, Failed, Running

from flows.backfill_worker import BackfillWorker, backfill_worker
from qafila.backfill.load import Loaded
from qafila.backfill.worker import Assignment, working_as
from qafila.errors import BackfillHalted
from qafila.ledger.ledger import Generation
from qafila.session_name import session_name
from tasks import backfill_workers
from tasks.backfill_workers import FlowWorker

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow(name="elsewhere")
def elsewhere() -> None:
    """Stands for a run on a work pool; only its state counts."""


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """What the server is asked; it answers as ever."""
    asked: list[UUID] = []
    real = SyncPrefectClient.read_flow_run

    def noted(self: SyncPrefectClient, flow_run_id: UUID) -> object:
        asked.append(flow_run_id)
        return real(self, flow_run_id)

    monkeypatch.setattr(SyncPrefectClient, "read_flow_run", noted)
    return asked


def test_the_server_is_asked_at_most_once_a_second(
    client: SyncPrefectClient, questions: list[UUID]
) -> None:
    run = client.create_flow_run(elsewhere, state=Running())
    worker, began = FlowWorker(run.id), time.monotonic()
    while time.monotonic() < began + 1.5:
        assert not worker.ended()
        time.sleep(0.05)
    assert 1 <= len(questions) <= 2
    client.set_flow_run_state(run.id, Completed(), force=True)
    until = time.monotonic() + backfill_workers.ASK_SECONDS + 1.0
    while not worker.ended():
        assert time.monotonic() < until
        time.sleep(0.05)
    asked = len(questions)
    time.sleep(backfill_workers.ASK_SECONDS)
    assert worker.ended()
    assert len(questions) == asked  # an end is for good
    worker.result()


def test_a_run_that_failed_is_said_so_with_its_name(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(elsewhere, state=Failed())
    worker = FlowWorker(run.id)
    assert worker.ended()
    with pytest.raises(BackfillHalted, match=rf"{run.id} ended Failed"):
        worker.result()


def test_runs_on_a_work_pool_are_told_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def noted(_: str, parameters: dict[str, Any], timeout: float) -> SimpleNamespace:
        asked.append(parameters["request"])
        return SimpleNamespace(id=uuid4())

    monkeypatch.setattr(backfill_workers, "run_deployment", noted)
    with backfill_workers.at_work("work-pool", Assignment("docs", 2, 500), 3) as workers:
        assert len(workers) == 3
    assert [BackfillWorker.model_validate(request).number for request in asked] == [1, 2, 3]


@pytest.mark.parametrize("given", [3, None])
def test_each_worker_run_has_a_name_of_its_own(
    client: SyncPrefectClient,
    generation: Generation,
    given: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the list of runs, in that of tasks, and in PostgreSQL's list of sessions."""
    sessions: list[str] = []

    def work(assignment: Assignment, **_: object) -> list[Loaded]:
        with working_as(assignment):
            sessions.append(session_name())
        return []

    monkeypatch.setattr(backfill_workers, "work", work)
    request = BackfillWorker(workload=generation.workload, generation=1, number=given)
    runs = [backfill_worker(request, return_state=True).state_details for _ in range(2)]
    names, tasks = set(), set()
    for run in runs:
        assert run.flow_run_id
        found = client.read_flow_run(run.flow_run_id)
        names.add(found.name)
        chosen = TaskRunFilter(flow_run_id={"any_": [found.id]})
        tasks |= {t.name for t in client.read_task_runs(task_run_filter=chosen)}
    numbers = [int(name.split()[3].removeprefix("w")) for name in sessions]
    assert numbers == [3, 3] if given else min(numbers) >= 1_000
    assert sessions == [f"qafila load g1 w{n} {generation.workload}" for n in numbers]
    assert names == {f"worker {n} for {generation.workload} g1" for n in numbers}
    assert tasks <= {f"load shards, worker {n}" for n in numbers}
