"""What the command line tells of a run: its own lines, and once, at the end, what stopped it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Running

from qafila.errors import Refused
from tasks.runs import operator_told
from tasks.starting import Ended, follow

# As Prefect 3 words them, each on the logger of the run or of one of its tasks.
OF_PREFECT = (
    "Running 1 deployment pull step(s)",
    "Executing deployment step: set_working_directory",
    "Deployment step 'set_working_directory' completed successfully",
    "All deployment steps completed successfully",
    "Task run failed with exception: Refused('Refused: there is no such workload.')",
    "Finished in state Failed('Task run encountered an exception Refused: …')",
    "Encountered exception during execution: Refused('Refused: there is no such workload.')",
    "Finished in state Failed('Flow run encountered an exception: Refused: …')",
    "Engine execution exited with unexpected exception",
    "Finished in state Completed()",
)
OURS = ("Beginning flow run 'backfill docs g1' for flow 'embedding-backfill'", "plan: 3 rows")


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


def _log(run: UUID, *messages: str, ago_s: float = 0.0) -> None:
    written = datetime.now(UTC) - timedelta(seconds=ago_s)
    with get_client(sync_client=True) as client:
        client.create_logs(
            LogCreate(
                name="prefect.flow_runs", level=20, message=message, flow_run_id=run,
                timestamp=written + timedelta(milliseconds=n),
            )
            for n, message in enumerate(messages)
        )  # fmt: skip


def _run(of: object) -> UUID:
    state = of(return_state=True)  # type: ignore[operator]
    return UUID(str(state.state_details.flow_run_id))


def _followed(run: UUID) -> tuple[list[str], Ended]:
    said: list[str] = []
    ended = follow(run, said.append)
    return [line.split(" ", 3)[3] for line in said], ended


@pytest.mark.usefixtures("prefect_server")
def test_a_refusal_is_told_once_and_without_what_prefect_says_of_it() -> None:
    run = _run(refused)
    _log(run, *OF_PREFECT[:4], *OURS, *OF_PREFECT[4:], ago_s=60)  # before it ended
    said, ended = _followed(run)
    assert [line for line in said if line in OURS] == list(OURS)
    assert not {line for line in OF_PREFECT if line in said}
    assert not [line for line in said if "no such workload" in line]  # the end says it
    assert ended.message == "Refused: there is no such workload.\nNext:  qafila apply FILE"
    assert ended.exit_code == 1


@pytest.mark.usefixtures("prefect_server")
def test_an_error_that_is_not_the_end_is_told_as_it_comes() -> None:
    said, ended = _followed(_run(mended))
    assert said[1:] == ["one worker died; another goes on"]
    assert ended.message == "Refused: there is no such workload."


@pytest.mark.usefixtures("prefect_server")
def test_a_fault_of_ours_is_an_error_with_what_it_said() -> None:
    _, ended = _followed(_run(broken))
    assert "ValueError: two\nlines" in ended.message
    assert ended.exit_code == 4


@flow
def done() -> None:
    """Do nothing."""


@pytest.mark.usefixtures("prefect_server")
def test_lines_that_come_after_the_end_are_told_as_well() -> None:
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(done, state=Completed()).id
    words = ("3/3 · off the candidate", "Finished in state Completed()")
    late = threading.Timer(1.0, _log, (run, *words))
    late.start()
    said, ended = _followed(run)
    late.join()
    assert said == ["3/3 · off the candidate"]
    assert ended.exit_code == 0


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
            _log(run, "Finished in state Completed()")
        looks.append(0)

    looks: list[int] = []
    _log(run, *(f"shard {n}" for n in range(250)), ago_s=10)  # more than a page of Prefect's
    follow(run, said.append, poll_s=0.05, look=look)
    assert [line.split(" ", 3)[3] for line in said] == [
        *(f"shard {n}" for n in range(250)), "a worker: 2 rows",
    ]  # fmt: skip
