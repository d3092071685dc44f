"""The collectors of systems outside AWS: one file and one line here.

Each reads through the kind of Look that its system has: a cluster, a server, a set of metrics.
"""

from __future__ import annotations

from qafila.audit.collectors import (
    kubernetes_infrastructure,
    kubernetes_workloads,
    postgres_clients,
    postgres_databases,
    postgres_texts,
    prometheus_metrics,
)
from qafila.audit.collectors.port import Collector

ELSEWHERE: tuple[Collector, ...] = (
    Collector("kubernetes-workloads", "kubernetes", "region", (), kubernetes_workloads.read),
    Collector("kubernetes-nodes", "kubernetes", "region", (), kubernetes_infrastructure.read_nodes),
    Collector(
        "kubernetes-storage", "kubernetes", "region", (), kubernetes_infrastructure.read_storage
    ),
    Collector("postgres-databases", "postgres", "region", (), postgres_databases.read),
    Collector("postgres-texts", "postgres", "region", (), postgres_texts.read),
    Collector("postgres-clients", "postgres", "region", (), postgres_clients.read),
    Collector("prometheus-targets", "prometheus", "region", (), prometheus_metrics.read_targets),
    Collector(
        "prometheus-utilisation", "prometheus", "region", (), prometheus_metrics.read_utilisation
    ),
)
