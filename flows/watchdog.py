"""Watch the leases from a deployment, for where no plain ``qafila watchdog`` runs."""

from __future__ import annotations

from typing import Any

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from qafila.rollback.watchdog import LEDGER_DOWN_SECONDS
from tasks.runs import operator_told
from tasks.watchdog import look


class Watchdog(BaseModel):
    """How long one run watches."""

    model_config = ConfigDict(extra="forbid")

    seconds: float = Field(
        55, ge=1, le=86_400, description="Ends after so many; the schedule starts the next one."
    )
    ledger_down_seconds: float = Field(
        LEDGER_DOWN_SECONDS,
        ge=6,
        le=3600,
        description="The ledger silent for so long, go back by this machine's rollback cards.",
    )


@flow(name="watchdog", flow_run_name="watchdog")
def watchdog(request: Watchdog) -> dict[str, Any]:
    """Gives the baseline all traffic where a rollout's holder died; looks twice a second.

    You see a line for each workload that was taken back, and a table at the end. Changes what
    ``rollback`` changes, and only where a lease lapsed. Between two runs nobody watches: the plain
    process ``qafila watchdog`` has no such gap, and this is the second line behind it.
    """
    with operator_told():
        done = look(request.seconds, request.ledger_down_seconds)
        return {"taken_back": [one.body() for one in done]}
