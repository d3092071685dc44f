"""Kubernetes: workloads with what they ask for, services and ingresses, and what hangs together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from qafila.audit.collectors.kubernetes_cluster import Cluster, Object
from qafila.audit.collectors.kubernetes_makers import Makers
from qafila.audit.collectors.kubernetes_objects import (
    addresses_of,
    amounts,
    claims_of,
    containers_of,
    secrets_of,
    selects,
    service_in,
    tags_of,
    variables_of,
)
from qafila.audit.estate import Edge, Resource

_KINDS = {
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "jobs": "Job",
    "cronjobs": "CronJob",
    "pods": "Pod",
}
_OURS = frozenset({"ReplicaSet", "StatefulSet", "DaemonSet", "Job"})


def read(cluster: Cluster) -> None:
    """Add namespaces, workloads, services and ingresses, and the edges between them.

    A pod is added when none of the five kinds made it; a job, when no cron job did. Of the others
    their addresses are kept at what made them (``pod_ips_seen``): a database knows its clients by
    these.
    """
    labels: dict[str, dict[str, str]] = {}
    with cluster.tolerating("namespaces"):
        for namespace in cluster.objects("namespaces"):
            name = namespace["metadata"]["name"]
            labels[name] = namespace["metadata"].get("labels") or {}
            state = (namespace.get("status") or {}).get("phase")
            _add(cluster, "Namespace", "", name, tags_of(labels[name]), {"state": state})
    workloads: dict[str, Resource] = {}
    made_by = Makers(cluster.identifier)
    for plural, kind in _KINDS.items():
        with cluster.tolerating(plural):
            for item in cluster.objects(plural):
                place = item["metadata"].get("namespace", "")
                maker = made_by.note(kind, item)
                if maker is not None and kind == "Pod" and maker in workloads:
                    _seen_at(workloads[maker], item)
                if _made_by_another(kind, item):
                    continue
                added = _workload(cluster, kind, item, labels.get(place, {}))
                workloads[added.id] = added
                if kind == "Pod":
                    _seen_at(added, item)
    services: dict[tuple[str, str], str] = {}
    with cluster.tolerating("services"):
        for item in cluster.objects("services"):
            place, name = item["metadata"].get("namespace", ""), item["metadata"]["name"]
            services[place, name] = _service(cluster, item, workloads.values())
    with cluster.tolerating("ingresses"):
        for item in cluster.objects("ingresses"):
            _ingress(cluster, item, services)
    _calls(cluster, workloads.values(), services)
    _shared_secrets(cluster, workloads.values())


def _add(
    cluster: Cluster,
    kind: str,
    namespace: str,
    name: str,
    tags: Mapping[str, str],
    facts: Mapping[str, Any],
) -> Resource:
    found = Resource(
        cluster.identifier(kind, namespace, name),
        f"kubernetes:{kind.lower()}",
        name,
        cluster.region,
        None,
        tags,
        {"namespace": namespace, **facts} if namespace else facts,
    )
    cluster.found.append(found)
    return found


def _made_by_another(kind: str, item: Object) -> bool:
    owners = {o.get("kind") for o in item["metadata"].get("ownerReferences") or []}
    return bool(owners & _OURS) if kind == "Pod" else kind == "Job" and "CronJob" in owners


def _seen_at(workload: Resource, pod: Object) -> None:
    """Note where a pod answers, once: a list that began anew brings it twice."""
    seen = workload.facts["pod_ips_seen"]
    seen += [address for address in addresses_of(pod) if address not in seen]


def _workload(
    cluster: Cluster, kind: str, item: Object, of_namespace: Mapping[str, str]
) -> Resource:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    of_job = (spec.get("jobTemplate") or {}).get("spec") or {}
    job = of_job if kind == "CronJob" else spec
    template = item if kind == "Pod" else job.get("template") or {}
    pod = template.get("spec") or {}
    pod_labels = (template.get("metadata") or {}).get("labels") or {}
    replicas = {
        "DaemonSet": status.get("desiredNumberScheduled", 0),
        "Job": job.get("parallelism", 1),
        "CronJob": job.get("parallelism", 1),
        "Pod": 1,
    }.get(kind, spec.get("replicas", 1))
    requests = amounts(pod, "requests")
    named = variables_of(pod)
    metadata = item["metadata"]
    facts = {
        "replicas": replicas,
        "requests": requests,
        "limits": amounts(pod, "limits"),
        "gpus": requests["gpus"] * (replicas or 0),
        "images": sorted({str(c.get("image")) for c in containers_of(pod)}),
        "variables": sorted(named.variables),
        "hosts": dict(sorted(named.hosts.items())),
        "services": {},
        "secret_names": secrets_of(pod),
        "claims": claims_of(pod),
        "pod_labels": dict(pod_labels),
        "pod_ips_seen": [],
        **({"schedule": spec.get("schedule")} if kind == "CronJob" else {}),
        **(
            {"made_by": [o.get("kind") for o in metadata.get("ownerReferences") or []]}
            if kind == "Pod"
            else {}
        ),
    }
    namespace = metadata.get("namespace", "")
    tags = tags_of(metadata.get("labels"), pod_labels, of_namespace)
    added = _add(cluster, kind, namespace, metadata["name"], tags, facts)
    cluster.edges += named.edges(added.id)
    for claim, writes in facts["claims"].items():
        to = cluster.identifier("PersistentVolumeClaim", namespace, claim)
        edge = "writes" if writes else "reads"
        cluster.edges.append(Edge(added.id, to, edge, "kubernetes volume mount", 0.7))
    return added


def _service(cluster: Cluster, item: Object, workloads: Any) -> str:
    metadata, spec = item["metadata"], item.get("spec") or {}
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    selector = spec.get("selector") or {}
    external = spec.get("externalName")
    facts = {
        "type": spec.get("type", "ClusterIP"),
        "ports": [p.get("port") for p in spec.get("ports") or []],
        "selector": dict(selector),
        "address": f"{name}.{namespace}.svc.cluster.local",
        "public": [
            address
            for entry in ((item.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
            if (address := entry.get("hostname") or entry.get("ip"))
        ],
        "external_names": [str(external).lower()] if external else [],
    }
    added = _add(cluster, "Service", namespace, name, tags_of(metadata.get("labels")), facts)
    cluster.edges += [
        Edge(added.id, w.id, "resolves", "kubernetes selector", 1.0)
        for w in workloads
        if w.facts["namespace"] == namespace and selects(selector, w.facts["pod_labels"])
    ]
    return added.id


def _ingress(cluster: Cluster, item: Object, services: Mapping[tuple[str, str], str]) -> None:
    metadata, spec = item["metadata"], item.get("spec") or {}
    namespace = metadata.get("namespace", "")
    rules = spec.get("rules") or []
    paths = [p for rule in rules for p in (rule.get("http") or {}).get("paths") or []]
    backends = [spec.get("defaultBackend") or {}, *(p.get("backend") or {} for p in paths)]
    facts = {
        "class": spec.get("ingressClassName"),
        "names": sorted({str(r["host"]) for r in rules if r.get("host")}),
        "paths": sorted({str(p["path"]) for p in paths if p.get("path")}),
    }
    added = _add(
        cluster, "Ingress", namespace, metadata["name"], tags_of(metadata.get("labels")), facts
    )
    for backend in backends:
        name = str((backend.get("service") or {}).get("name"))
        if (to := services.get((namespace, name))) is not None:
            cluster.edges.append(Edge(added.id, to, "resolves", "kubernetes ingress", 1.0))


def _calls(cluster: Cluster, workloads: Any, services: Mapping[tuple[str, str], str]) -> None:
    """Add an edge where a variable names a service: configured, whether it is used is not known.

    What was found here moves from ``hosts`` to ``services``: a short name means something in its
    own cluster and namespace alone.
    """
    for workload in workloads:
        hosts = workload.facts["hosts"]
        for variable, host in list(hosts.items()):
            named = service_in(host, workload.facts["namespace"])
            to = None if named is None else services.get(named)
            if to is not None:
                del hosts[variable]
                workload.facts["services"][variable] = to
                source = f"environment {variable}"
                cluster.edges.append(Edge(workload.id, to, "calls", source, 0.8))


def _shared_secrets(cluster: Cluster, workloads: Any) -> None:
    """Add an edge from the first reader of a secret to each of its others, by its name alone."""
    readers: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for workload in workloads:
        for secret in workload.facts["secret_names"]:
            readers[workload.facts["namespace"], secret].add(workload.id)
    for (_, secret), ids in sorted(readers.items()):
        first, *others = sorted(ids)
        cluster.edges += [
            Edge(first, other, "shares-secret", f"kubernetes secret {secret}", 0.6)
            for other in others
        ]
