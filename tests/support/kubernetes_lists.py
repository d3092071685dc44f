"""A Kubernetes API server that answers lists: loopback, in the shapes that the real one answers.

Paths, ``limit`` and ``continue``, ``metadata.remainingItemCount`` and Status objects are those of
the published API (Kubernetes API reference, "API Concepts": retrieving large results in chunks).
No real cluster stands behind it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.http_stub import Asked, Reply, serving
from tests.support.kubernetes_api import TOKEN, failure

GROUPS = {
    "namespaces": "/api/v1",
    "nodes": "/api/v1",
    "persistentvolumes": "/api/v1",
    "pods": "/api/v1",
    "services": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "deployments": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "daemonsets": "/apis/apps/v1",
    "jobs": "/apis/batch/v1",
    "cronjobs": "/apis/batch/v1",
    "ingresses": "/apis/networking.k8s.io/v1",
    "storageclasses": "/apis/storage.k8s.io/v1",
}
KINDS = {
    "namespaces": "Namespace",
    "nodes": "Node",
    "persistentvolumes": "PersistentVolume",
    "pods": "Pod",
    "services": "Service",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "daemonsets": "DaemonSet",
    "jobs": "Job",
    "cronjobs": "CronJob",
    "ingresses": "Ingress",
    "storageclasses": "StorageClass",
}
PASSWORD = "n0t-t0-be.kept"


def workload(
    name: str,
    namespace: str,
    *,
    replicas: int | None = 1,
    env: dict[str, str] | None = None,
    secrets: tuple[str, ...] = (),
    resources: dict[str, Any] | None = None,
    image: str = "registry.example.org/app:1",
    claim: str | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """Return a Deployment or StatefulSet as the API server stores it, as far as an audit reads."""
    labels = {"app": name}
    pod: dict[str, Any] = {
        "containers": [
            {
                "name": "main",
                "image": image,
                "resources": resources or {},
                "env": [{"name": k, "value": v} for k, v in (env or {}).items()],
                "envFrom": [{"secretRef": {"name": s}} for s in secrets],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}] if claim else [],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
        if claim
        else [],
    }
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": json.dumps(env or {})
            },
        },
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **spec,
        },
        "status": {},
    }


def named(name: str, namespace: str = "", **rest: Any) -> dict[str, Any]:
    """Return an object with a name, and whatever else is given."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"metadata": {**metadata, **rest.pop("metadata", {})}, **rest}


def shop() -> dict[str, list[dict[str, Any]]]:
    """Return a small estate in three namespaces, with a GPU, a shared secret and a chat."""
    gpu = {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"nvidia.com/gpu": "1"}}
    search = workload(
        "search",
        "shop",
        replicas=3,
        secrets=("db",),
        env={
            "DATABASE_URL": f"postgresql://app:{PASSWORD}@db.example.org:5432/shop",
            "ORDERS_HOST": "orders",
            "PAYMENTS_URL": "http://payments.billing:8080/v1",
            "LOG_LEVEL": "info",
            "API_KEY": PASSWORD,
        },
        resources={"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
    )
    orders = workload("orders", "shop", replicas=2, secrets=("db",))
    stateful = workload("queue", "shop", claim="queue-0")
    stateful["status"] = {"replicas": 1}
    model = workload(
        "support-assistant",
        "ml",
        resources=gpu,
        image="docker.io/vllm/vllm-openai:v0.9",
        env={"OPENAI_BASE_URL": "https://api.openai.com/v1"},
    )
    agent = workload("node-agent", "kube-system", replicas=None)
    agent["status"] = {
        "currentNumberScheduled": 4,
        "desiredNumberScheduled": 4,
        "numberMisscheduled": 0,
        "numberReady": 4,
    }
    job = workload("import", "shop", replicas=None, parallelism=2)
    of_cron = workload("nightly-28", "shop", replicas=None)
    of_cron["metadata"]["ownerReferences"] = [
        {"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": "u-1"}
    ]
    cron = named(
        "nightly",
        "shop",
        spec={
            "schedule": "0 2 * * *",
            "jobTemplate": {"spec": workload("nightly", "shop", replicas=None)["spec"]},
        },
    )
    template = orders["spec"]["template"]
    bare = named("debug", "shop", spec={"containers": []}, metadata={"labels": {"app": "debug"}})
    owned = named(
        "orders-1",
        "shop",
        spec=template["spec"],
        metadata={
            "labels": {"app": "orders"},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orders-7c", "uid": "u-2"}
            ],
        },
    )
    return {
        "namespaces": [
            named("billing"),
            named("kube-system"),
            named("ml", metadata={"labels": {"team": "search team"}}),
            named("shop"),
        ],
        "deployments": [search, orders, model],
        "statefulsets": [stateful],
        "daemonsets": [agent],
        "jobs": [job, of_cron],
        "cronjobs": [cron],
        "pods": [bare, owned],
        "services": [
            named("orders", "shop", spec={"selector": {"app": "orders"}, "ports": [{"port": 80}]}),
            named(
                "payments",
                "billing",
                spec={"type": "ExternalName", "externalName": "pay.example.org"},
            ),
            named("search", "shop", spec={"selector": {"app": "search"}, "ports": [{"port": 80}]}),
        ],
        "ingresses": [
            named(
                "public",
                "shop",
                spec={
                    "ingressClassName": "nginx",
                    "rules": [
                        {
                            "host": "shop.example.org",
                            "http": {
                                "paths": [
                                    {
                                        "path": "/search",
                                        "pathType": "Prefix",
                                        "backend": {
                                            "service": {"name": "search", "port": {"number": 80}}
                                        },
                                    }
                                ]
                            },
                        }
                    ],
                },
            )
        ],
        "nodes": [
            named(
                "node-a",
                metadata={
                    "labels": {
                        "node.kubernetes.io/instance-type": "g5.xlarge",
                        "topology.kubernetes.io/zone": "eu-west-3a",
                        "nvidia.com/gpu.product": "NVIDIA-A10G",
                    }
                },
                spec={"providerID": "aws:///eu-west-3a/i-0abc"},
                status={
                    "capacity": {"cpu": "4", "memory": "16106320Ki", "nvidia.com/gpu": "1"},
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "nodeInfo": {
                        "architecture": "amd64",
                        "bootID": "b",
                        "containerRuntimeVersion": "containerd://2.1",
                        "kernelVersion": "6.12",
                        "kubeProxyVersion": "",
                        "kubeletVersion": "v1.34.1",
                        "machineID": "m",
                        "operatingSystem": "linux",
                        "osImage": "Linux",
                        "systemUUID": "s",
                    },
                },
            )
        ],
        "storageclasses": [named("gp3", provisioner="ebs.csi.aws.com", reclaimPolicy="Delete")],
        "persistentvolumes": [
            named(
                "pv-1",
                spec={"capacity": {"storage": "20Gi"}, "storageClassName": "gp3"},
                status={"phase": "Bound"},
            )
        ],
        "persistentvolumeclaims": [
            named(
                "queue-0",
                "shop",
                spec={
                    "resources": {"requests": {"storage": "10Gi"}},
                    "volumeName": "pv-1",
                    "storageClassName": "gp3",
                },
                status={"phase": "Bound", "capacity": {"storage": "20Gi"}},
            )
        ],
    }


@dataclass
class ListServer:
    """What the server holds, and what it refuses: by path without its query.

    ``refuses`` maps a path to status codes that are answered in turn, the last one for ever when
    ``for_ever``; 410 is only ever the answer to a ``continue``.
    """

    objects: dict[str, list[dict[str, Any]]]
    refuses: dict[str, list[int]] = field(default_factory=dict)
    for_ever: bool = True
    raw: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        """Return status and body for one list."""
        statuses = self.refuses.get(path)
        if statuses and (statuses[0] != 410 or "continue" in query):
            status = statuses[0] if self.for_ever and len(statuses) == 1 else statuses.pop(0)
            if status != 200:
                reason = {
                    403: "Forbidden",
                    404: "NotFound",
                    410: "Expired",
                    429: "TooManyRequests",
                }.get(status, "InternalError")
                return status, failure(status, reason, f"{path}: {reason}")
        parts = path.strip("/").split("/")
        plural = parts[-1]
        inside = f"{GROUPS.get(plural)}/namespaces/"
        namespace = path[len(inside) :].split("/")[0] if path.startswith(inside) else ""
        expected = (
            f"{inside}{namespace}/{plural}" if namespace else f"{GROUPS.get(plural)}/{plural}"
        )
        if path != expected:
            return 404, failure(404, "NotFound", "the server could not find the resource")
        items = [
            item
            for item in self.objects.get(plural, [])
            if not namespace or item["metadata"].get("namespace") == namespace
        ]
        start = int(base64.b64decode(query["continue"])) if "continue" in query else 0
        limit = int(query.get("limit", "0")) or len(items)
        page, left = items[start : start + limit], len(items) - start - limit
        metadata: dict[str, Any] = {"resourceVersion": "4711"}
        if left > 0:
            token = base64.b64encode(str(start + limit).encode()).decode()
            metadata |= {"continue": token, "remainingItemCount": left}
        version = GROUPS[plural].removeprefix("/apis/").removeprefix("/api/")
        return 200, {
            "kind": f"{KINDS[plural]}List",
            "apiVersion": version,
            "metadata": metadata,
            "items": page,
        }


@contextmanager
def running_lists(server: ListServer) -> Iterator[ListServer]:
    """Serve on a free port of loopback while the block runs."""

    def answer(asked: Asked) -> Reply:
        server.asked.append(asked.target)
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(401, json.dumps(failure(401, "Unauthorized", "no")).encode())
        if asked.path in server.raw:
            return Reply(200, server.raw[asked.path])
        status, body = server.answer(asked.path, asked.query)
        hint = {"retry-after": "7"} if status == 429 else {}
        return Reply(status, json.dumps(body).encode(), hint)

    with serving(answer) as server.url:
        yield server
