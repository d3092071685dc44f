"""What every flow needs of its own run: its id, and a failure that speaks to the operator first."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any
from uuid import UUID

import httpx
import prefect._internal.states
import prefect.states
from prefect import get_run_logger
from prefect.artifacts import (
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run

from qafila.errors import QafilaError
from qafila.ledger.ledger import newest_generation, open_ledger
from qafila.session_name import working_on
from qafila.text.masking import mask_text
from tasks.artifact_tables import show_table

NEXT_STEP = "next-step"
FLOW_LOGGER = "prefect.flow_runs"
OUR_LOGGERS = {name: f"{name}.qafila" for name in (FLOW_LOGGER, "prefect.task_runs")}
_PREFECT = str(Path(prefect.__file__).parent) + os.sep


def _mask_states(*modules: ModuleType) -> None:
    """See that the message of a failed or crashed state holds no secret of its exception.

    Prefect makes it of the exception's text, of a flow and of each of its tasks, and has no hook
    before the server is told.
    """

    def format_exception(exc: BaseException, tb: TracebackType | None = None) -> str:
        if tb is None:
            return mask_text(f"{type(exc).__name__}: {exc}")
        return mask_text("".join(traceback.format_exception(type(exc), exc, tb)))

    for module in modules:
        assert hasattr(module, "format_exception"), module.__name__  # or nothing would be masked
        module.format_exception = format_exception  # type: ignore[attr-defined]


_mask_states(prefect.states, prefect._internal.states)


def _sign_lines(handler: type[APILogHandler]) -> None:
    """See that the server keeps our lines of a run under names of ``OUR_LOGGERS``.

    Prefect writes its own to the same loggers that it gives to us, so that no field of a line would
    tell whose it is. Elsewhere, as in a worker's output, the name stays as Prefect gave it.
    """
    prepare = handler.prepare

    def signed(self: APILogHandler, record: logging.LogRecord) -> dict[str, Any]:
        line = prepare(self, record)
        if not record.pathname.startswith(_PREFECT):
            line["name"] = OUR_LOGGERS.get(record.name, record.name)
        return line

    handler.prepare = signed  # type: ignore[method-assign]


_sign_lines(APILogHandler)


def _workload_of_run() -> str:
    """Return the name of the workload that the flow run we are in is about, if it is about one."""
    request = (flow_run.parameters or {}).get("request")
    found = (
        request.get("workload")
        if isinstance(request, dict)
        else (getattr(request, "workload", None))
    )
    return found if isinstance(found, str) else ""


def current_run_id() -> str | None:
    """Return the id of the flow run we are in, if we are in one."""
    run_id = flow_run.id
    return None if run_id is None else str(run_id)


def about_generation(doing: str) -> Callable[[], str]:
    """Return what names a run: "DOING WORKLOAD gN", N being the newest generation or the first."""

    def name() -> str:
        workload = _workload_of_run()
        with open_ledger() as ledger:
            generation = newest_generation(ledger, workload)
        return f"{doing} {workload} g{generation.number if generation else 1}"

    return name


def rename_run(name: str) -> None:
    """Give this run another name, for instance with its weight; a silent server changes nothing."""
    run_id = flow_run.id
    if run_id is not None:
        with suppress(httpx.HTTPError, OSError), get_client(sync_client=True) as client:
            client.update_flow_run(UUID(str(run_id)), name=name)


def progress_bar(percent: float) -> Callable[[float], None]:
    """Show a bar in the run's view; return what moves it, in percent.

    A bar is not worth the work that it is about: a server that is silent leaves it where it is.
    """
    bar = create_progress_artifact(percent, key="progress")

    def move(percent: float) -> None:
        with suppress(httpx.HTTPError, OSError):
            update_progress_artifact(bar, percent)  # type: ignore[arg-type]

    return move


@contextmanager
def operator_told() -> Iterator[None]:
    """Log one of our errors as the operator should read it, with its next step as an artifact.

    The sessions that the run opens in PostgreSQL are named after it, for whoever looks there.
    """
    try:
        with working_on(flow_run.flow_name or "run", workload=_workload_of_run()):
            yield
    except QafilaError as error:
        get_run_logger().error(error.render())
        show_table(
            key=NEXT_STEP,
            rows=[
                {
                    "error": type(error).__name__,
                    "what happened": error.what,
                    "what was kept": error.kept,
                    "what to do next": error.remedy,
                    "exit code": error.exit_code,
                    # as it is, for the command line
                    "message": mask_text(error.render()).splitlines(),
                }
            ],
            description="What stopped this run, what was kept, what to do next.",
        )
        raise
