"""Reading CloudWatch: which metrics there are, and their days, in batches of 500."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from qafila.audit.collectors.aws_account import Account
from qafila.audit.estate import Outcome

ACTIONS = ("cloudwatch:ListMetrics", "cloudwatch:GetMetricData")
DAYS = 30
_QUERIES_A_CALL = 500  # limit of GetMetricData
_DAY_S = 86_400


@dataclass(frozen=True)
class Metric:
    """One metric with its dimensions, and the statistic of each day that is wanted."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str

    def of(self, dimension: str) -> str:
        """Return the value of one dimension; KeyError when it has none of that name."""
        return dict(self.dimensions)[dimension]


def list_metrics(
    account: Account, client: Any, namespace: str, name: str, dimensions: set[str], *statistics: str
) -> list[Metric]:
    """Return the metrics of one name that have exactly these dimensions.

    The service lists what had data within two weeks; what stood still for longer has none.
    """
    return [
        Metric(
            namespace, name, tuple((d["Name"], d["Value"]) for d in found.get("Dimensions", [])), s
        )
        for found in account.pages(
            client, "list_metrics", "Metrics", Namespace=namespace, MetricName=name
        )
        if {d["Name"] for d in found.get("Dimensions", [])} == dimensions
        for s in statistics
    ]


def read_days(
    account: Account, client: Any, metrics: Sequence[Metric], *, days: int = DAYS
) -> dict[Metric, list[float]]:
    """Return each metric's daily values, oldest first; a day without data has no value.

    Priced by the service at one unit a metric; a result that it calls partial is noted.
    """
    end = datetime.now(UTC)
    values: defaultdict[Metric, list[tuple[datetime, float]]] = defaultdict(list)
    for start in range(0, len(metrics), _QUERIES_A_CALL):
        batch = metrics[start : start + _QUERIES_A_CALL]
        pages = account.pages(
            client,
            "get_metric_data",
            "MetricDataResults",
            StartTime=end - timedelta(days=days),
            EndTime=end,
            ScanBy="TimestampAscending",
            MetricDataQueries=[_query(number, metric) for number, metric in enumerate(batch)],
        )
        partial: dict[str, str] = {}
        for result in pages:
            metric = batch[int(result["Id"].removeprefix("m"))]
            partial[result["Id"]] = result.get("StatusCode", "Complete")
            values[metric] += zip(
                result.get("Timestamps", []), result.get("Values", []), strict=True
            )
        broken = sorted({s for s in partial.values() if s != "Complete"})
        if broken:
            account.missed(
                Outcome.DENIED if "Forbidden" in broken else Outcome.TRUNCATED,
                f"GetMetricData said {', '.join(broken)}",
                f"metrics of {batch[0].namespace}",
            )
    return {m: [v for _, v in sorted(found)] for m, found in values.items() if found}


def _query(number: int, metric: Metric) -> dict[str, Any]:
    return {
        "Id": f"m{number}",
        "MetricStat": {
            "Metric": {
                "Namespace": metric.namespace,
                "MetricName": metric.name,
                "Dimensions": [{"Name": n, "Value": v} for n, v in metric.dimensions],
            },
            "Period": _DAY_S,
            "Stat": metric.statistic,
        },
    }
