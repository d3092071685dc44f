"""The ledger dies after it has committed a backfill's evidence and before it has said so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from prefect import flow
from prefect.runtime import flow_run

import tasks.embedding_backfill as steps
from qafila.backfill.plan import Comparison
from qafila.errors import VerificationFailed
from qafila.ledger.evidence import check_chain, evidence_of
from qafila.ledger.ledger import Generation, open_ledger
from tests.support.task_states import states_of

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def opened(generation: Generation, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first connection breaks when all is committed; later ones are well."""
    count: list[int] = []

    @contextmanager
    def breaks_at_its_end() -> Iterator[psycopg.Connection[Any]]:
        count.append(1)
        try:
            with open_ledger() as ledger:
                yield ledger
        finally:
            if len(count) == 1:
                raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(steps, "open_ledger", breaks_at_its_end)
    return count


def in_a_run(step: Callable[[], Any]) -> tuple[UUID, Any]:
    """Call a step in a flow run; return the run's id and what it returned or raised."""

    @flow(name="one-step")
    def one_step() -> tuple[str, Any]:
        try:
            return str(flow_run.id), step()
        except VerificationFailed as failed:
            return str(flow_run.id), failed

    run_id, result = one_step()
    return UUID(run_id), result


def test_an_attempt_is_noted_once_and_the_next_one_too(
    ledger: psycopg.Connection, generation: Generation, opened: list[int]
) -> None:
    begin = steps.begin.with_options(retry_delay_seconds=0.01)
    run_id, now = in_a_run(lambda: begin(generation, "first"))
    assert len(opened) == 2
    assert now.phase == "backfilling"
    assert len(evidence_of(ledger, generation.workload, "backfill-attempt")) == 1
    assert states_of(run_id, "begin g1") == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
        "Completed",
    ]
    in_a_run(lambda: begin(now, "second"))
    assert len(evidence_of(ledger, generation.workload, "backfill-attempt")) == 2
    assert check_chain(ledger).intact


def test_a_verdict_is_written_once(
    ledger: psycopg.Connection, generation: Generation, opened: list[int]
) -> None:
    differs = Comparison(10, 9, 9, 1, 0, 0, 0, 0, ("missing op-1",))
    accept = steps.accept.with_options(retry_delay_seconds=0.01)
    for times, append_id in enumerate(("first", "second"), 1):
        _, failed = in_a_run(lambda: accept(generation, differs, 10, 1.0, 0.0, append_id))  # noqa: B023
        assert isinstance(failed, VerificationFailed)
        assert len(evidence_of(ledger, generation.workload, "backfill")) == times
    assert len(opened) == 3
    assert check_chain(ledger).intact
