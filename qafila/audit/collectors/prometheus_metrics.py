"""Prometheus: what it scrapes, and how busy machines, GPUs and containers were for 30 days.

A mean is over what the server still keeps. Where that is less than 30 days the outcome says so.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from qafila.audit.collectors.prometheus_server import Metrics
from qafila.audit.estate import Edge, Outcome, Resource

DAYS = 30
_KEPT = ("job", "instance", "namespace", "pod", "container", "service", "node", "cluster", "env")
_RETENTION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?")

# DCGM exporter: DCGM_FI_DEV_GPU_UTIL in percent, FB_USED in MiB; node_exporter: seconds by mode.
GPU = f"avg by (instance, Hostname, gpu, modelName) (avg_over_time(DCGM_FI_DEV_GPU_UTIL[{DAYS}d]))"
GPU_MEMORY = f"max by (instance, Hostname, gpu) (max_over_time(DCGM_FI_DEV_FB_USED[{DAYS}d]))"
# A share of all modes, not a rate: a rate is divided by the whole window, also where the server
# keeps less, and would call an idle machine busy.
CPU = (
    f'100 * (1 - sum by (instance) (increase(node_cpu_seconds_total{{mode="idle"}}[{DAYS}d]))'
    f" / sum by (instance) (increase(node_cpu_seconds_total[{DAYS}d])))"
)
CONTAINERS = (
    "count by (namespace, pod, container) "
    '(container_memory_working_set_bytes{container!="",container!="POD"})'
)


def read_targets(metrics: Metrics) -> None:
    """Add each target that is scraped, whether it answers, and what its job is.

    Of an address the path and the host are kept: a query may hold a credential. The text of a
    scrape's last error is not read.
    """
    data = metrics.get("/api/v1/targets", state="active")
    targets = (data or {}).get("activeTargets") if isinstance(data, dict) else None
    server = metrics.identifier()
    for target in targets or []:
        labels = {k: str(v) for k, v in (target.get("labels") or {}).items() if k in _KEPT}
        job, instance = labels.get("job", "no job"), labels.get("instance", "no instance")
        parts = urlsplit(str(target.get("scrapeUrl", "")))
        identifier = metrics.identifier(job, instance)
        metrics.found.append(
            Resource(
                identifier,
                "prometheus:target",
                instance,
                metrics.region,
                None,
                {"app": labels["service"]} if labels.get("service") else {},
                {
                    **labels,
                    "health": target.get("health"),
                    "pool": target.get("scrapePool"),
                    "path": parts.path,
                    "target_host": parts.hostname,
                },
            )
        )
        metrics.edges.append(Edge(server, identifier, "reads", "prometheus targets", 1.0))
    metrics.found.append(
        Resource(
            server,
            "prometheus:server",
            metrics.region,
            metrics.region,
            None,
            {},
            {"targets_seen": len(targets or [])},
        )
    )


def read_utilisation(metrics: Metrics) -> None:
    """Add GPUs and machines with their mean use in percent, and the names of containers."""
    kept = _retention_days(metrics)
    if kept is not None and kept < DAYS:
        metrics.missed(
            Outcome.TRUNCATED, f"means over {DAYS} days: the server keeps {kept:g} days alone"
        )
    window: dict[str, Any] = {"window_days": DAYS if kept is None else min(DAYS, kept)}
    with metrics.tolerating("GPU utilisation"):
        _gpus(metrics, window)
    with metrics.tolerating("CPU utilisation"):
        for series in metrics.query(CPU):
            instance = series.labels.get("instance", "no instance")
            metrics.found.append(
                Resource(
                    metrics.identifier("machine", instance),
                    "prometheus:machine",
                    instance,
                    metrics.region,
                    None,
                    {},
                    {"cpu_percent": round(series.value, 2), **window},
                )
            )
    with metrics.tolerating("containers"):
        for series in metrics.query(CONTAINERS):
            parts = [series.labels.get(k, "") for k in ("namespace", "pod", "container")]
            metrics.found.append(
                Resource(
                    metrics.identifier("container", *parts),
                    "prometheus:container",
                    parts[2],
                    metrics.region,
                    None,
                    {},
                    {"namespace": parts[0], "pod": parts[1]},
                )
            )


def _gpus(metrics: Metrics, window: dict[str, Any]) -> None:
    busy = metrics.query(GPU)
    if not busy:
        return
    used = {}
    with metrics.tolerating("GPU memory"):
        used = {_gpu(s.labels): int(s.value) << 20 for s in metrics.query(GPU_MEMORY)}
    for series in busy:
        host, number = _gpu(series.labels)
        metrics.found.append(
            Resource(
                metrics.identifier("gpu", host, number),
                "prometheus:gpu",
                f"{host} GPU {number}",
                metrics.region,
                None,
                {},
                {
                    "gpus": 1,
                    "gpu": series.labels.get("modelName"),
                    "host": host,
                    "utilisation_percent": round(series.value, 2),
                    "memory_used_bytes": used.get((host, number)),
                    **window,
                },
            )
        )


def _gpu(labels: dict[str, str]) -> tuple[str, str]:
    return labels.get("Hostname") or labels.get("instance", "no instance"), labels.get("gpu", "0")


def _retention_days(metrics: Metrics) -> float | None:
    """Return for how many days samples are kept; None where the server does not say."""
    with metrics.tolerating("retention"):
        data = metrics.get("/api/v1/status/runtimeinfo")
        said = str((data or {}).get("storageRetention", "")) if isinstance(data, dict) else ""
        found = _RETENTION.match(said.split(" or ")[0].strip())
        if found is not None and any(found.groups()):
            years, weeks, days, hours = (int(part or 0) for part in found.groups())
            return years * 365 + weeks * 7 + days + hours / 24
    return None
