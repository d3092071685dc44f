"""Workers as runs elsewhere: what is asked of the Prefect server, and how often."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Completed, Failed, Running

from qafila.errors import BackfillHalted
from tasks import workforce
from tasks.workforce import FlowWorker

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
    until = time.monotonic() + workforce.ASK_SECONDS + 1.0
    while not worker.ended():
        assert time.monotonic() < until
        time.sleep(0.05)
    asked = len(questions)
    time.sleep(workforce.ASK_SECONDS)
    assert worker.ended()
    assert len(questions) == asked  # an end is for good
    worker.result()


def test_a_run_that_failed_is_said_so_with_its_name(client: SyncPrefectClient) -> None:
    run = client.create_flow_run(elsewhere, state=Failed())
    worker = FlowWorker(run.id)
    assert worker.ended()
    with pytest.raises(BackfillHalted, match=rf"{run.id} ended Failed"):
        worker.result()
