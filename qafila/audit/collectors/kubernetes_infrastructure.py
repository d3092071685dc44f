"""Kubernetes: the nodes with their GPUs, and the volumes with their sizes."""

from __future__ import annotations

from qafila.audit.collectors.kubernetes_cluster import Cluster
from qafila.audit.collectors.kubernetes_objects import is_gpu, quantity, tags_of
from qafila.audit.estate import Edge, Resource

_TYPE = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_ZONE = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
_GPU_PRODUCT = ("nvidia.com/gpu.product", "amd.com/gpu.product-name")


def read_nodes(cluster: Cluster) -> None:
    """Add each node with its machine type, zone and what it has: cores, bytes, GPUs."""
    for node in cluster.objects("nodes"):
        metadata, status = node["metadata"], node.get("status") or {}
        labels = metadata.get("labels") or {}
        capacity = status.get("capacity") or {}
        cores, memory = quantity(capacity.get("cpu")), quantity(capacity.get("memory"))
        ready = next(
            (c.get("status") for c in status.get("conditions") or [] if c.get("type") == "Ready"),
            None,
        )
        cluster.found.append(
            Resource(
                cluster.identifier("Node", "", metadata["name"]),
                "kubernetes:node",
                metadata["name"],
                cluster.region,
                None,
                tags_of(labels),
                {
                    "type": next((labels[k] for k in _TYPE if labels.get(k)), None),
                    "zone": next((labels[k] for k in _ZONE if labels.get(k)), None),
                    "cpu_cores": None if cores is None else float(cores),
                    "memory_bytes": None if memory is None else int(memory),
                    "gpus": int(sum(quantity(v) or 0 for k, v in capacity.items() if is_gpu(k))),
                    "gpu": next((labels[k] for k in _GPU_PRODUCT if labels.get(k)), None),
                    "provider_id": (node.get("spec") or {}).get("providerID"),
                    "ready": ready,
                    "version": (status.get("nodeInfo") or {}).get("kubeletVersion"),
                },
            )
        )


def read_storage(cluster: Cluster) -> None:
    """Add storage classes, volumes and claims; the size is what was granted, not what is used."""
    with cluster.tolerating("storageclasses"):
        for item in cluster.objects("storageclasses"):
            name = item["metadata"]["name"]
            cluster.found.append(
                Resource(
                    cluster.identifier("StorageClass", "", name),
                    "kubernetes:storageclass",
                    name,
                    cluster.region,
                    None,
                    tags_of(item["metadata"].get("labels")),
                    {"provisioner": item.get("provisioner"), "reclaims": item.get("reclaimPolicy")},
                )
            )
    with cluster.tolerating("persistentvolumes"):
        for item in cluster.objects("persistentvolumes"):
            name, spec = item["metadata"]["name"], item.get("spec") or {}
            cluster.found.append(
                Resource(
                    cluster.identifier("PersistentVolume", "", name),
                    "kubernetes:persistentvolume",
                    name,
                    cluster.region,
                    _bytes((spec.get("capacity") or {}).get("storage")),
                    tags_of(item["metadata"].get("labels")),
                    {
                        "state": (item.get("status") or {}).get("phase"),
                        "class": spec.get("storageClassName"),
                        "driver": (spec.get("csi") or {}).get("driver"),
                        "handle": (spec.get("csi") or {}).get("volumeHandle"),
                        "size_is": "capacity",
                    },
                )
            )
    with cluster.tolerating("persistentvolumeclaims"):
        for item in cluster.objects("persistentvolumeclaims"):
            metadata, spec = item["metadata"], item.get("spec") or {}
            status = item.get("status") or {}
            namespace, name = metadata.get("namespace", ""), metadata["name"]
            asked = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
            granted = (status.get("capacity") or {}).get("storage")
            identifier = cluster.identifier("PersistentVolumeClaim", namespace, name)
            cluster.found.append(
                Resource(
                    identifier,
                    "kubernetes:persistentvolumeclaim",
                    name,
                    cluster.region,
                    _bytes(granted or asked),
                    tags_of(metadata.get("labels")),
                    {
                        "namespace": namespace,
                        "state": status.get("phase"),
                        "class": spec.get("storageClassName"),
                        "size_is": "granted" if granted else "asked for",
                    },
                )
            )
            if volume := spec.get("volumeName"):
                to = cluster.identifier("PersistentVolume", "", volume)
                cluster.edges.append(
                    Edge(identifier, to, "resolves", "kubernetes volume binding", 1.0)
                )


def _bytes(text: object) -> int | None:
    found = None if text is None else quantity(text)
    return None if found is None else int(found)
