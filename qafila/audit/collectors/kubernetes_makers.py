"""Which workload made a pod: what its owner is, and the owner's owner, by names and labels alone.

Replica sets are not listed: a deployment names each of them after itself and the hash of its
template, which the pod carries as the label ``pod-template-hash`` (Kubernetes, "Deployments").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Object = Mapping[str, Any]
Identify = Callable[[str, str, str], str]  # kind, namespace, name


class Makers:
    """Finds what made a pod. Jobs are to be noted before pods: a cron job stands behind some."""

    def __init__(self, identify: Identify) -> None:
        self._identify = identify
        self._of_job: dict[tuple[str, str], str] = {}

    def note(self, kind: str, item: Object) -> str | None:
        """Return the id of the workload that stands behind an object; None: none does."""
        metadata = item["metadata"]
        namespace = str(metadata.get("namespace", ""))
        owners = metadata.get("ownerReferences") or []
        owner = next((o for o in owners if o.get("controller")), owners[0] if owners else None)
        if owner is None:
            return None
        made_by, name = str(owner.get("kind")), str(owner.get("name"))
        if kind == "Job" and made_by == "CronJob":
            maker = self._identify("CronJob", namespace, name)
            self._of_job[namespace, str(metadata["name"])] = maker
            return maker
        if made_by == "ReplicaSet":
            hashed = str((metadata.get("labels") or {}).get("pod-template-hash") or "")
            if not hashed or not name.endswith(f"-{hashed}"):
                return None
            return self._identify("Deployment", namespace, name.removesuffix(f"-{hashed}"))
        if made_by == "Job" and (namespace, name) in self._of_job:
            return self._of_job[namespace, name]
        return self._identify(made_by, namespace, name)
