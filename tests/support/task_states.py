"""States of task runs as Prefect's API has them."""

from __future__ import annotations

import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter

_SECONDS = 30.0  # they reach the server as events, some time after the task


def states_of(flow_run_id: UUID, task_name: str) -> list[str]:
    """Return the names of all states of the only run of a task in a flow run, until its end."""
    until = time.monotonic() + _SECONDS
    chosen = TaskRunFilter.model_validate({"flow_run_id": {"any_": [flow_run_id]}})
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_task_runs(task_run_filter=chosen)
            mine = [run for run in runs if run.name.startswith(task_name)]
            states = client.read_task_run_states(mine[0].id) if mine else []
            states = sorted(states, key=lambda state: state.timestamp)
            if states and states[-1].is_final():
                assert len(mine) == 1, [run.name for run in mine]
                return [str(state.name) for state in states]
            assert time.monotonic() < until, (task_name, [run.name for run in runs], states)
            time.sleep(0.1)
