"""Live sync: apply what is written to the source to every generation that is alive."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow
from pydantic import Field

from qafila.errors import BackfillHalted
from qafila.live_sync.feeder import POLL_SECONDS, problems_of
from qafila.workload.parameters import ForWorkload
from tasks.live_sync import feed, show
from tasks.runs import about_generation, operator_told


class LiveSync(ForWorkload):
    """What to feed, and for how long."""

    follow_minutes: float = Field(
        0,
        ge=0,
        le=10_080,
        description="Go on for so many minutes; 0: apply what is committed by now, then end.",
    )
    every_seconds: float = Field(
        POLL_SECONDS,
        ge=0.05,
        le=60,
        description="How often, while it goes on: how long a change waits at most, and how many "
        "share a transaction.",
    )


@flow(name="live-sync", flow_run_name=about_generation("live sync"))
def live_sync(request: LiveSync) -> dict[str, Any]:
    """Applies changes of the source to every generation that is alive, and prunes the outbox.

    You see a line now and then with what was applied and how far each generation is behind, a bar
    with the share of changes that are applied, then a table. Only the target is changed, each
    document together with the mark that says how far live sync is; the source loses only outbox
    rows that every generation has applied. Stop it at any moment: the outbox keeps, and another run
    goes on at the marks. There is nothing to undo.
    """
    with operator_told():
        fed = feed(request.workload, request.follow_minutes, request.every_seconds)
        show(request.workload, fed)
        problems = problems_of(fed)
        if problems:
            told = "; ".join(f"generation {n}: {why}" for n, why in sorted(problems.items()))
            raise BackfillHalted(
                f"not every generation of {request.workload} is fed. {told}",
                kept="the outbox keeps what they need.",
                remedy=f"mend the cause, then: qafila run live-sync {request.workload}",
            )
        return {"workload": request.workload, "generations": [asdict(one) for one in fed]}
