"""Every night: is anything dearer, slower or worse than when it was promoted?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from qafila.decision.drift import require_quality
from qafila.workload.corpus import Name
from qafila.workload.verdict import Verdict
from tasks import nightly_optimization as steps
from tasks.runs import operator_told


class Night(BaseModel):
    """What to look at, and from which size on a change is worth an alert."""

    model_config = ConfigDict(extra="forbid")

    workload: Name | None = Field(
        None, description="Name of an applied workload; empty: every one that was applied."
    )
    spend_floor: float = Field(
        20, ge=0, description="Least change of a period's spend, in the bill's currency."
    )
    spend_floor_ratio: float = Field(
        0.15, ge=0, le=10, description="And least relative change; both must be passed."
    )
    price_floor: float = Field(
        0.01, ge=0, description="Least change of a list price, in its own unit."
    )
    price_floor_ratio: float = Field(
        0.05, ge=0, le=10, description="And least relative change; both must be passed."
    )
    certificate_hours: float = Field(
        48, ge=0, le=2_160, description="Warn when a rollback certificate has fewer hours left."
    )
    sample_queries: int = Field(
        60, ge=20, le=5_000, description="Judged queries to measure quality and latency on."
    )
    sample_seconds: float = Field(
        3, ge=0.5, le=600, description="Stop measuring after this long, whatever is left."
    )
    seed: int = Field(7, ge=0, le=2**31 - 1, description="The same seed asks the same queries.")


@flow(name="nightly-optimization", flow_run_name=steps.run_name)
def nightly_optimization(request: Night) -> dict[str, Any]:
    """Compares prices, spend, quality, latency, certificates and the decision with the promise.

    In the run: one artifact `nightly` a workload, and a custom event `qafila.drift.*` for every
    alert. Changes the ledger only (evidence, a price snapshot). Whatever has no history yet says
    so. The run fails only when quality fell past its floors; then look at the artifact and
    decide on a rollback. There is nothing to undo.
    """
    with operator_told():
        names = steps.workloads_to_check(request.workload)
        prices = steps.check_prices(str(request.price_floor), request.price_floor_ratio)
        steps.say_when_none(names)
        now = datetime.now(UTC)
        verdicts: dict[str, Verdict] = {}
        for name in names:
            findings = [
                prices,
                steps.check_spend(name, str(request.spend_floor), request.spend_floor_ratio),
                steps.check_forecast(name, now),
                steps.check_certificate(name, request.certificate_hours, now),
                steps.check_decision(name),
                *steps.check_service(
                    name, request.sample_queries, request.sample_seconds, request.seed
                ),
            ]
            verdicts[name] = steps.report_night(name, findings)
        require_quality(verdicts)
        return {"workloads": {name: verdict.value for name, verdict in verdicts.items()}}
