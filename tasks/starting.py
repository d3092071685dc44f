"""Start a deployment and follow its run, as the command line and the demo do."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterTimestamp,
)
from prefect.client.schemas.objects import Log, State
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from qafila.errors import BadInput, Unavailable
from tasks.runs import FLOW_LOGGER, NEXT_STEP, OUR_LOGGERS

LAST_LINES_S = 5.0  # lines arrive up to some seconds after the state; the last of them is Prefect's
LATE_LINES_S = 60.0  # how much later than others of its time a line may come, at the least
_PAGE = 200  # Prefect gives no more at once
_OURS = frozenset(OUR_LOGGERS.values())


@dataclass(frozen=True)
class Ended:
    """How a run ended; ``exit_code`` as the command line exits with it."""

    state: str
    message: str
    exit_code: int


def start(phase: str, request: Mapping[str, Any]) -> UUID:
    """Start the deployment of a phase; return the id of its run.

    Raises:
        BadInput: there is no such phase, or a field of the request is wrong; no run exists then.
        Unavailable: the Prefect server does not answer.
    """
    try:
        with get_client(sync_client=True) as client:
            try:
                deployment = client.read_deployment_by_name(f"{phase}/{phase}")
            except ObjectNotFound:
                known = sorted(d.name for d in client.read_deployments())
                raise BadInput(
                    f"there is no phase {phase!r}.",
                    remedy=f"one of: {', '.join(known) or 'none; run qafila up'}",
                ) from None
            run = client.create_flow_run_from_deployment(
                deployment.id, parameters={"request": dict(request)}
            )
            return run.id
    except PrefectHTTPStatusError as error:
        if error.response.status_code == 401:
            raise Unavailable(
                "the Prefect server does not accept this password.",
                kept="nothing was started.",
                remedy="unset PREFECT_API_AUTH_STRING, or set it as it was for qafila up.",
            ) from error
        raise BadInput(
            f"{phase} does not take this request:",
            [_reason(error)],
            remedy=f"see the form of {phase} in the Prefect UI.",
        ) from error
    except (httpx.HTTPError, OSError) as error:
        raise Unavailable(
            "the Prefect server does not answer.",
            kept="nothing was started.",
            remedy="qafila doctor",
        ) from error


def _reason(error: PrefectHTTPStatusError) -> str:
    try:
        return str(error.response.json()["detail"])
    except (ValueError, KeyError):
        return str(error).splitlines()[0]


def read_state(run_id: UUID) -> State | None:
    """Return the state of a run now."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id).state


def follow(
    run_id: UUID,
    tell: Callable[[str], None],
    *,
    poll_s: float = 0.5,
    look: Callable[[], None] = lambda: None,
) -> Ended:
    """Tell when a run begins and each new log line of ours until it ends; return how it ended.

    What Prefect itself logs of the run is not told: its states say it.
    An error is told when another line follows it, so that the one that ended the run is said once.
    ``look`` is called with each poll, for whatever else is shown meanwhile.
    A run that waits for a person keeps being followed: the answer may come from elsewhere.
    """
    begun, until = False, None
    seen: set[UUID] = set()
    latest: datetime | None = None
    by_prefect: datetime | None = None  # its latest line on the run as a whole
    error: Log | None = None  # not told yet
    with get_client(sync_client=True) as client:
        while True:
            run = client.read_flow_run(run_id)
            state = run.state
            ended = state is not None and state.is_final()
            if run.run_count and run.start_time is not None and not begun:
                tell(f"  {run.start_time:%H:%M:%S} begun")
                begun = True
            for line in _new_lines(client, run_id, seen, latest=None if ended else latest):
                latest = max(latest or line.timestamp, line.timestamp)
                if line.name == FLOW_LOGGER:
                    by_prefect = max(by_prefect or line.timestamp, line.timestamp)
                if line.level < logging.INFO or line.name not in _OURS:
                    continue
                if error is not None:
                    tell(_line(error))
                error = line if line.level >= logging.ERROR else None
                if error is None:
                    tell(_line(line))
            if state is not None and ended:
                until = until or time.monotonic() + LAST_LINES_S
                # Prefect has the last word: a line of its own once the state is set
                whole = by_prefect is not None and by_prefect >= state.timestamp
                worked = state.is_completed() or state.is_failed()
                if whole or not worked or time.monotonic() >= until:
                    how = _ended(client, run_id, state)
                    if error is not None and error.message != how.message:
                        tell(_line(error))
                    return how
            look()
            time.sleep(poll_s)


def _new_lines(
    client: SyncPrefectClient, run_id: UUID, seen: set[UUID], *, latest: datetime | None
) -> Iterator[Log]:
    """Return the lines that were not ``seen``, by their time; they are seen then.

    They arrive from several processes, each with the time at which it was written, so one may come
    to stand before others that were there already: up to a minute before the ``latest`` seen,
    anywhere with None.
    """
    since = None if latest is None else latest - timedelta(seconds=LATE_LINES_S)
    mine = LogFilter(
        flow_run_id=LogFilterFlowRunId(any_=[run_id]), timestamp=LogFilterTimestamp(after_=since)
    )
    for offset in count(0, _PAGE):
        lines = client.read_logs(mine, limit=_PAGE, offset=offset, sort=LogSort.TIMESTAMP_ASC)
        yield from (line for line in lines if line.id not in seen)
        seen |= {line.id for line in lines}
        if len(lines) < _PAGE:
            return


def _line(log: Log) -> str:
    return f"  {log.timestamp:%H:%M:%S} {log.message.splitlines()[0]}"


def _ended(client: SyncPrefectClient, run_id: UUID, state: State) -> Ended:
    name = state.name or state.type.value
    if state.is_completed():
        return Ended(name, name, 0)
    stops = client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]),
            key=ArtifactFilterKey(any_=[NEXT_STEP]),
        )
    )
    for stop in stops:
        data: Any = json.loads(stop.data) if isinstance(stop.data, str) else stop.data
        row = data[0] if data else {}
        if "exit code" in row:
            # text cells are escaped for the UI; a run of an earlier release has no message
            lines = row.get("message") or [
                f"{row['error']}: {row['what happened']}",
                *(
                    f"{label}  {row[part]}"
                    for label, part in (("Kept:", "what was kept"), ("Next:", "what to do next"))
                    if row[part]
                ),
            ]
            return Ended(name, "\n".join(lines), int(row["exit code"]))
    why = f"{name}: {state.message or 'no reason given'}"
    if state.is_cancelled() and client.read_flow_run(run_id).run_count == 0:
        why = (
            f"{name} before it began: {state.message or 'no reason given'}\n"
            "Kept:  everything; nothing was changed.\n"
            "Next:  where another run of this phase is going on, let it end, then say this again; "
            "qafila status shows who leads"
        )
    return Ended(name, why, 4)
