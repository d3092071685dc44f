"""What the command line tells of a run: its own lines, and once, at the end, what stopped it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect import flow, get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.objects import State
from prefect.logging.handlers import APILogHandler
from prefect.states import Cancelled, Completed, Running

from qafila.errors import Refused
from tasks import starting
from tasks.runs import FLOW_LOGGER, OUR_LOGGERS, operator_told
from tasks.starting import LAST_LINES_S, Ended, follow

# Prefect may word its lines as it likes, and ours may be worded like Prefect's.
OF_PREFECT = ("Running 1 deployment pull step(s)", "A pull step went well", "Hook 'f' ran well")
OURS = ("plan: 3 rows", "Finished in state Completed()", "Task run failed with exception: no")


@flow
def refused() -> None:
    with operator_told():
        raise Refused("there is no such workload.", remedy="qafila apply FILE")


@flow
def broken() -> None:
    raise ValueError("two\nlines")


@flow
def mended() -> None:
    get_run_logger().error("one worker died; another goes on")
    with operator_told():
        raise Refused("there is no such workload.")


@task(retries=1)
def unlucky(said: Callable[[str], None]) -> None:
    get_run_logger().warning("a task of ours")
    said("a library, through what a flow gave it")
    raise ConnectionError("never")


@flow
def retried() -> None:
    get_run_logger().info("a flow of ours")
    unlucky(get_run_logger().info)


def _log(run: UUID, *messages: str, by: str = OUR_LOGGERS[FLOW_LOGGER], ago_s: float = 0.0) -> None:
    written = datetime.now(UTC) - timedelta(seconds=ago_s)
    with get_client(sync_client=True) as client:
        client.create_logs(
            LogCreate(
                name=by,
                level=20,
                message=message,
                flow_run_id=run,
                timestamp=written + timedelta(milliseconds=n),
            )
            for n, message in enumerate(messages)
        )


def _run(of: object) -> UUID:
    state = of(return_state=True)  # type: ignore[operator]
    APILogHandler().flush()
    return UUID(str(state.state_details.flow_run_id))


def _followed(run: UUID) -> tuple[list[str], Ended]:
    said: list[str] = []
    ended = follow(run, said.append)
    return [line.split(" ", 3)[3] for line in said], ended


@pytest.mark.usefixtures("prefect_server")
def test_a_refusal_is_told_once_and_without_what_prefect_says_of_it() -> None:
    run = _run(refused)
    for name, words in {FLOW_LOGGER: OF_PREFECT, "prefect.task_runs": OF_PREFECT}.items():
        _log(run, *words, by=name, ago_s=60)  # before it ended
    _log(run, *OURS, ago_s=60)
    said, ended = _followed(run)
    assert said == ["begun", *OURS]  # what stopped it is said by the end
    assert ended.message == "Refused: there is no such workload.\nNext:  qafila apply FILE"
    assert ended.exit_code == 1


@pytest.mark.usefixtures("prefect_server")
def test_an_error_that_is_not_the_end_is_told_as_it_comes() -> None:
    said, ended = _followed(_run(mended))
    assert said == ["begun", "one worker died; another goes on"]
    assert ended.message == "Refused: there is no such workload."


@pytest.mark.usefixtures("prefect_server")
def test_a_fault_of_ours_is_an_error_with_what_it_said() -> None:
    _, ended = _followed(_run(broken))
    assert "ValueError: two\nlines" in ended.message
    assert ended.exit_code == 4


@pytest.mark.usefixtures("prefect_server")
def test_only_what_we_say_is_told_whoever_of_us_says_it() -> None:
    said, ended = _followed(_run(retried))
    by_task = ["a task of ours", "a library, through what a flow gave it"]
    assert said == ["begun", "a flow of ours", *by_task, *by_task]
    assert ended.message.startswith("Failed: ")
    assert "ConnectionError: never" in ended.message


@pytest.mark.usefixtures("prefect_server")
def test_a_worker_writes_our_lines_under_the_name_that_prefect_gave_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its format says of these names whose run a line is of."""
    caplog.set_level("INFO")
    _run(retried)
    ours = {r.name for r in caplog.records if "of ours" in r.message}
    assert ours == {FLOW_LOGGER, "prefect.task_runs"}


@flow
def done() -> None:
    """Do nothing."""


@pytest.mark.usefixtures("prefect_server")
def test_lines_that_come_after_the_end_are_told_as_well() -> None:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(done, state=Completed()).id

    def come() -> None:
        _log(run, "3/3 · off the candidate")
        _log(run, "so much for that", by=FLOW_LOGGER)

    _log(run, "this is how it begins", by=FLOW_LOGGER, ago_s=60)  # not the last word
    late = threading.Timer(1.0, come)
    late.start()
    began = time.monotonic()
    said, ended = _followed(run)
    late.join()
    assert said == ["3/3 · off the candidate"]
    assert ended.exit_code == 0
    assert time.monotonic() - began < LAST_LINES_S  # nothing is waited for after the last word


@pytest.mark.usefixtures("prefect_server")
def test_a_last_word_that_never_comes_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(starting, "LAST_LINES_S", 0.2)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(done, state=Completed()).id
    _log(run, "3/3 · off the candidate", ago_s=1)
    assert _followed(run) == (["3/3 · off the candidate"], Ended("Completed", "Completed", 0))


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_was_not_let_in_says_what_to_do() -> None:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(done, state=Cancelled(message="Limit reached.")).id
    said, ended = _followed(run)
    assert (said, ended.exit_code) == ([], 4)
    assert ended.message.startswith("Cancelled before it began: Limit reached.\nKept:")
    assert "\nNext:  where another run of this phase is going on" in ended.message


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("ends", [Completed(), Running()], ids=["ended", "goes on"])
def test_a_line_that_arrives_late_is_told_and_none_is_told_twice(ends: State[None]) -> None:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(done, state=Running()).id
    said: list[str] = []

    def look() -> None:
        """Between two polls: an older line arrives, then the run ends."""
        if len(looks) == 0:
            _log(run, "a worker: 2 rows", ago_s=30)
        if len(looks) == (0 if ends.is_final() else 2):
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(run, Completed(), force=True)
            _log(run, "so much for that", by=FLOW_LOGGER)
        looks.append(0)

    looks: list[int] = []
    _log(run, *(f"shard {n}" for n in range(250)), ago_s=10)  # more than a page of Prefect's
    follow(run, said.append, poll_s=0.05, look=look)
    assert [line.split(" ", 3)[3] for line in said] == [
        "begun",
        *(f"shard {n}" for n in range(250)),
        "a worker: 2 rows",
    ]
