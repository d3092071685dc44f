"""Collect place by place; what fails is an outcome, never the end of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from qafila.core.estate import Collected, Outcome
from qafila.core.inventory import storable_part
from qafila.errors import QafilaError, Unavailable
from tasks.audit.places import Place
from tasks.collectors.reading import in_turn


class Looking:
    """One collector that is on its way, and how to name it when it does not come back."""

    def __init__(self, collector: str, place: Place, future: PrefectFuture[Collected]) -> None:
        self.collector = collector
        self.place = place
        self.future = future


def _worth_again(_: Any, __: Any, state: Any) -> bool:
    """Tell whether a broken look is worth another: a connection that was lost, nothing else."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError | Unavailable | psycopg.OperationalError)


@task(
    task_run_name="collect {collector} in {place}", cache_policy=NO_CACHE,
    retries=1, retry_delay_seconds=2, retry_condition_fn=_worth_again,
)  # fmt: skip
def collect(collector: str, place: str, at: Place) -> Collected:
    """Look at one thing in one place. A refusal is a result, not an error.

    What the system answers is retried by its own client, in one layer; this step runs a second
    time only when the connection broke in a way that the look did not foresee.
    """
    [chosen] = [c for c in at.collectors if c.name == collector]
    with at.look() as look:
        return storable_part(chosen.collect(look))


def start_collecting(places: Sequence[Place]) -> list[Looking]:
    """Start every collector of every place; the flow's task runner bounds how many at once.

    One service is begun in all its places before the next, since each place has a rate of its own
    for it, and the slow ones come first. What is returned is in the order of the places.
    """
    looks = [(collector.name, place) for place in places for collector in place.collectors]
    begun = {
        turn: Looking(name, place, collect.submit(name, place.name, place))
        for turn in in_turn([name for name, _ in looks])
        for name, place in [looks[turn]]
    }
    return [begun[turn] for turn in range(len(looks))]


def collected_of(looking: Sequence[Looking]) -> list[Collected]:
    """Wait for all and return what each saw; one that broke says so and hides no other."""
    return [_come_back(one) for one in looking]


def _come_back(one: Looking) -> Collected:
    back = one.future.result(raise_on_failure=False)
    if isinstance(back, Collected):
        return back
    why = broken(one.collector, back)
    return Collected(
        one.collector, one.place.region, Outcome.UNSUPPORTED, (), (), 0, why, one.place.account
    )


def broken(what: str, error: object) -> str:
    """Return why something gave nothing. Foreign texts are for the log, not for evidence."""
    if isinstance(error, QafilaError):
        return error.what
    get_run_logger().error("%s stopped: %s", what, error)
    return f"{what} stopped with {type(error).__name__}; the run's log has more"
