"""What every flow needs of its own run: its id, and a failure that speaks to the operator first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run

from qafila.errors import QafilaError

NEXT_STEP = "next-step"


def current_run_id() -> str | None:
    """Return the id of the flow run we are in, if we are in one."""
    run_id = flow_run.id
    return None if run_id is None else str(run_id)


@contextmanager
def operator_told() -> Iterator[None]:
    """Log one of our errors as the operator should read it, with its next step as an artifact."""
    try:
        yield
    except QafilaError as error:
        get_run_logger().error(error.render())
        create_table_artifact(
            key=NEXT_STEP,
            table=[
                {
                    "error": type(error).__name__,
                    "what happened": error.what,
                    "what was kept": error.kept,
                    "what to do next": error.remedy,
                    "exit code": error.exit_code,
                }
            ],
            description="What stopped this run, what was kept, what to do next.",
        )
        raise
