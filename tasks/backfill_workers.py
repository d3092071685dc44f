"""Workers of a load, in whatever a deployment has: processes, threads, Dask, Ray, a work pool.

All of them run the same loop over the same claims, so that they may even be mixed. Their tasks have
no retries: a worker waits for servers itself, and holds its shard meanwhile.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from qafila.backfill.load import Loaded
from qafila.backfill.supervisor import run_worker
from qafila.backfill.worker import Assignment, work
from qafila.errors import BackfillHalted, BadInput

Engine = Literal["processes", "threads", "dask", "ray", "work-pool"]

HIGHEST_NUMBER = 9_999
_BY_HAND = 1_000  # the lowest number of a worker that nobody gave one: above any that is given
ASK_SECONDS = 1.0  # between two questions about a run elsewhere


@task(task_run_name="load shards, worker {number} of {of}", cache_policy=NO_CACHE)
def load_in_process(assignment: Assignment, number: int, of: int) -> list[Loaded]:
    """Load shards in a process of its own until none is left."""
    log = get_run_logger()
    return run_worker(
        replace(assignment, number=number),
        tell=lambda done: log.info(done.sentence()),
        note=log.warning,
    )


@task(task_run_name="load shards, worker {number} of {of}", cache_policy=NO_CACHE)
def load_here(assignment: Assignment, number: int, of: int) -> list[Loaded]:
    """Load shards in this very process until none is left: in a thread, a Dask or a Ray worker."""
    log = get_run_logger()
    return work(replace(assignment, number=number), tell=lambda done: log.info(done.sentence()))


@dataclass(frozen=True)
class TaskWorker:
    """A worker that is a task of this run."""

    future: PrefectFuture[Any]

    def ended(self) -> bool:
        """Ask the future itself: Prefect's own ``state`` would ask the server every time."""
        wrapped: Any = self.future.wrapped_future  # type: ignore[attr-defined]
        if hasattr(wrapped, "done"):
            return bool(wrapped.done())
        import ray

        return bool(ray.wait([wrapped], timeout=0)[0])

    def result(self) -> None:
        """Raise what it raised."""
        self.future.result()


@dataclass
class FlowWorker:
    """A worker that is a flow run on a work pool."""

    run_id: UUID
    _ended: bool = field(default=False, init=False)
    _ask_at: float = field(default=float("-inf"), init=False)

    def ended(self) -> bool:
        """Return what the server said, asked at most once a second: it has others to answer."""
        now = time.monotonic()
        if not self._ended and now >= self._ask_at:
            self._ask_at = now + ASK_SECONDS
            state = self._state()
            self._ended = state is not None and state.is_final()
        return self._ended

    def result(self) -> None:
        """Raise when it did not end well.

        Raises:
            BackfillHalted: it failed, crashed or was cancelled.
        """
        state = self._state()
        if state is None or not state.is_completed():
            raise BackfillHalted(
                f"the worker run {self.run_id} ended {state.name if state else 'without a state'}.",
                kept="everything that is loaded.",
                remedy="see that run in the Prefect UI, then start the load again.",
            )

    def _state(self) -> Any:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(self.run_id).state


@contextmanager
def at_work(
    engine: Engine, assignment: Assignment, workers: int
) -> Iterator[Sequence[TaskWorker | FlowWorker]]:
    """Start workers, yield them, and let them end with the block."""
    if engine == "work-pool":
        yield [_on_pool(assignment, number) for number in range(1, workers + 1)]
        return
    step = load_in_process if engine == "processes" else load_here
    with _runner(engine, workers) as runner:
        yield [
            TaskWorker(
                runner.submit(
                    step,
                    parameters={"assignment": assignment, "number": n, "of": workers},
                )
            )
            for n in range(1, workers + 1)
        ]


def number_of_worker() -> int:
    """Return what the worker is called that this flow run is, also after it was started again.

    The number that the run was given, or else one from 1 000 to 9 999, made of the run's id.
    """
    request = (flow_run.parameters or {}).get("request")
    given = request.get("number") if isinstance(request, dict) else getattr(request, "number", None)
    if given is not None:
        return int(given)
    drawn = zlib.crc32(str(flow_run.id).encode()) % (HIGHEST_NUMBER + 1 - _BY_HAND)
    return _BY_HAND + drawn


def _on_pool(assignment: Assignment, number: int) -> FlowWorker:
    run = run_deployment(
        "backfill-worker/backfill-worker",
        parameters={
            "request": {
                "workload": assignment.workload,
                "generation": assignment.generation,
                "batch_rows": assignment.batch_rows,
                "number": number,
            }
        },
        timeout=0,
    )
    return FlowWorker(run.id)  # type: ignore[union-attr]


def _runner(engine: Engine, workers: int) -> TaskRunner[Any]:
    if engine == "dask":
        dask = _optional("prefect_dask", "prefect-dask")
        kwargs = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
        return dask.DaskTaskRunner(cluster_kwargs=kwargs)  # type: ignore[no-any-return]
    if engine == "ray":
        ray = _optional("prefect_ray", "prefect-ray")
        return ray.RayTaskRunner(  # type: ignore[no-any-return]
            init_kwargs={"num_cpus": workers, "include_dashboard": False}
        )
    return ThreadPoolTaskRunner(max_workers=workers)


def _optional(module: str, package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadInput(
            f"this engine needs the package {package}, which is not installed.",
            remedy=f"pip install {package}, or choose engine=processes.",
        ) from error
