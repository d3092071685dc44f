"""Every night: is anything dearer, slower or worse than when it was promoted?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from qafila.core.corpus import Name
from qafila.core.verdict import Verdict
from qafila.errors import Refused
from tasks import drift
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


def _run_name() -> str:
    request = flow_run.parameters["request"]
    name = request.get("workload") if isinstance(request, dict) else request.workload
    return f"night of {name or 'every workload'}"


@flow(name="nightly-optimization", flow_run_name=_run_name)
def nightly_optimization(request: Night) -> dict[str, Any]:
    """Compares prices, spend, quality, latency, certificates and the decision with the promise.

    In the run: one artifact `nightly` a workload, and a custom event `qafila.drift.*` for every
    alert. Changes the ledger only (evidence, a price snapshot). Whatever has no history yet says
    so. The run fails only when quality fell past its floors; then look at the artifact and
    decide on a rollback. There is nothing to undo.
    """
    with operator_told():
        names = drift.workloads_to_check(request.workload)
        prices = drift.check_prices(str(request.price_floor), request.price_floor_ratio)
        if not names:
            get_run_logger().info("nothing to compare yet: no workload was applied")
        now = datetime.now(UTC)
        verdicts: dict[str, Verdict] = {}
        for name in names:
            findings = [
                prices,
                drift.check_spend(name, str(request.spend_floor), request.spend_floor_ratio),
                drift.check_forecast(name, now),
                drift.check_certificate(name, request.certificate_hours, now),
                drift.check_decision(name),
                *drift.check_service(
                    name, request.sample_queries, request.sample_seconds, request.seed
                ),
            ]
            verdicts[name] = drift.report_night(name, findings)
        fallen = [name for name, verdict in verdicts.items() if verdict is Verdict.FAIL]
        if fallen:
            raise Refused(
                f"quality fell since promotion: {', '.join(fallen)}.",
                kept="everything; traffic was not touched.",
                remedy=" or ".join(f"qafila rollback {name}" for name in fallen)
                + ", after a look at the artifact `nightly`.",
            )
        return {"workloads": {name: verdict.value for name, verdict in verdicts.items()}}
