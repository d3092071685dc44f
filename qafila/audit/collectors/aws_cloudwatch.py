"""CloudWatch: how busy machines, databases and caches were in the last 30 days."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from qafila.audit.collectors.aws_account import Account
from qafila.audit.collectors.metrics import ACTIONS as ACTIONS
from qafila.audit.collectors.metrics import DAYS, Metric, list_metrics, read_days
from qafila.audit.estate import Resource

# kind of the resource, namespace, dimension that names it: metric, statistic, fact
_CPU = (
    ("CPUUtilization", "Average", "cpu_average_percent"),
    ("CPUUtilization", "Maximum", "cpu_maximum_percent"),
)
_WATCHED = (
    (
        "ec2:instance",
        "AWS/EC2",
        "InstanceId",
        (
            *_CPU,
            ("NetworkIn", "Sum", "network_in_bytes"),
            ("NetworkOut", "Sum", "network_out_bytes"),
        ),
    ),
    (
        "rds:instance",
        "AWS/RDS",
        "DBInstanceIdentifier",
        (
            *_CPU,
            ("DatabaseConnections", "Maximum", "connections_maximum"),
        ),
    ),
    ("elasticache:cluster", "AWS/ElastiCache", "CacheClusterId", _CPU),
)


def read(account: Account) -> None:
    """Add one ``cloudwatch:utilisation`` for each thing that was measured.

    Facts: ``of`` (the id or name it measures) and ``of_kind``, ``measured_days`` of ``days``,
    percentages over all days (average of averages, maximum of maxima), bytes in and out (sums),
    most connections. What had no data has no entry: that is "not measured", never "idle".
    """
    client = account.client("cloudwatch")
    for kind, namespace, dimension, metrics in _WATCHED:
        with account.tolerating(f"cloudwatch {namespace}"):
            wanted = [
                metric
                for name in dict.fromkeys(n for n, _, _ in metrics)
                for metric in list_metrics(
                    account,
                    client,
                    namespace,
                    name,
                    {dimension},
                    *(s for n, s, _ in metrics if n == name),
                )
            ]
            facts = {(name, statistic): fact for name, statistic, fact in metrics}
            _add(account, kind, dimension, facts, read_days(account, client, wanted))


def _add(
    account: Account,
    kind: str,
    dimension: str,
    facts: dict[tuple[str, str], str],
    days: dict[Metric, list[float]],
) -> None:
    measured: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for metric, values in days.items():
        thing = measured[metric.of(dimension)]
        thing[facts[metric.name, metric.statistic]] = _over(metric.statistic, values)
        thing["measured_days"] = max(thing.get("measured_days", 0), len(values))
    for name, thing in sorted(measured.items()):
        account.found.append(
            Resource(
                ":".join(["utilisation", account.account, account.region, kind, name]),
                "cloudwatch:utilisation",
                name,
                account.region,
                None,
                {},
                {"of": name, "of_kind": kind, "days": DAYS} | thing,
            )
        )


def _over(statistic: str, values: list[float]) -> float:
    if statistic == "Maximum":
        return max(values)
    return sum(values) if statistic == "Sum" else round(sum(values) / len(values), 3)
