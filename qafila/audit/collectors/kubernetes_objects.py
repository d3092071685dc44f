"""What stands in a Kubernetes object: values in, values out.

Amounts are in the notation of ``resource.Quantity``; a pod's own are added up as the scheduler
does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from qafila.audit.collectors.variables import Named, named_by

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_GPU = re.compile(r"^(nvidia\.com/(gpu|mig-)|amd\.com/gpu|gpu\.intel\.com/)")


def quantity(text: object) -> Decimal | None:
    """Return an amount in its base unit (cores, bytes, pieces); None when it is none.

    Suffixes: n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or an exponent (apimachinery, resource/
    quantity.go).
    """
    given = str(text)
    try:
        if given[-2:] in _BINARY:
            found = Decimal(given[:-2]) * 1024 ** _BINARY[given[-2:]]
        elif given[-1:] in _DECIMAL:
            found = Decimal(given[:-1]).scaleb(_DECIMAL[given[-1:]])
        else:
            found = Decimal(given)
    except ArithmeticError:
        return None
    return found if found.is_finite() and found.adjusted() < 20 else None


def is_gpu(resource: str) -> bool:
    """Tell whether an extended resource is a GPU or a slice of one, by its vendor's name."""
    return _GPU.match(resource) is not None


def amounts(spec: Mapping[str, Any], which: str) -> dict[str, Any]:
    """Return what one pod asks for: ``cpu_cores``, ``memory_bytes``, ``gpus``; None: not set.

    ``which``: ``requests`` or ``limits``. Containers and sidecars run together and are added; an
    init container runs alone, so that the larger of the two counts (Kubernetes, "Init Containers",
    resource sharing). Of limits, one container without leaves the pod without.
    """
    together: list[Mapping[str, Any]] = list(spec.get("containers") or [])
    alone: list[Mapping[str, Any]] = []
    for container in spec.get("initContainers") or []:
        (together if container.get("restartPolicy") == "Always" else alone).append(container)
    found: dict[str, Any] = {"cpu_cores": None, "memory_bytes": None, "gpus": 0}
    for key, name in (("cpu_cores", "cpu"), ("memory_bytes", "memory")):
        parts = [_amount(c, which, name) for c in together]
        known = [p for p in parts if p is not None]
        if not known or (which == "limits" and len(known) < len(parts)):
            continue
        first = max((a for c in alone if (a := _amount(c, which, name)) is not None), default=0)
        most = max(sum(known), first)
        found[key] = float(most) if name == "cpu" else int(most)
    gpus = sum((_gpus(c) for c in together), Decimal(0))
    found["gpus"] = int(max([gpus, *(_gpus(c) for c in alone)]))
    return found


def _amount(container: Mapping[str, Any], which: str, name: str) -> Decimal | None:
    resources = container.get("resources") or {}
    given = (resources.get(which) or {}).get(name)
    if given is None and which == "requests":  # a limit alone is the request too
        given = (resources.get("limits") or {}).get(name)
    return None if given is None else quantity(given)


def _gpus(container: Mapping[str, Any]) -> Decimal:
    resources = container.get("resources") or {}
    asked = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    return sum((quantity(v) or Decimal(0) for k, v in asked.items() if is_gpu(k)), Decimal(0))


def containers_of(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return all containers of a pod, those that only prepare it among them."""
    return [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]


def secrets_of(spec: Mapping[str, Any]) -> list[str]:
    """Return the names of the secrets that a pod reads, in order; those for images apart."""
    names = set()
    for container in containers_of(spec):
        for source in container.get("envFrom") or []:
            names.add((source.get("secretRef") or {}).get("name"))
        for variable in container.get("env") or []:
            origin = variable.get("valueFrom") or {}
            names.add((origin.get("secretKeyRef") or {}).get("name"))
    for volume in spec.get("volumes") or []:
        names.add((volume.get("secret") or {}).get("secretName"))
        for source in (volume.get("projected") or {}).get("sources") or []:
            names.add((source.get("secret") or {}).get("name"))
    return sorted(name for name in names if name)


def claims_of(spec: Mapping[str, Any]) -> dict[str, bool]:
    """Return the volume claims that a pod mounts, and whether it may write to each."""
    claims = {
        v["name"]: v["persistentVolumeClaim"]
        for v in spec.get("volumes") or []
        if v.get("persistentVolumeClaim")
    }
    writes: dict[str, bool] = {}
    for container in containers_of(spec):
        for mount in container.get("volumeMounts") or []:
            if (claim := claims.get(mount.get("name"))) is not None:
                closed = mount.get("readOnly") or claim.get("readOnly")
                name = str(claim.get("claimName"))
                writes[name] = writes.get(name, False) or not closed
    return dict(sorted(writes.items()))


def variables_of(spec: Mapping[str, Any]) -> Named:
    """Return the names of a pod's variables, and what their values name; values are not kept."""
    return named_by(
        (str(variable.get("name")), str(variable.get("value") or ""))
        for container in containers_of(spec)
        for variable in container.get("env") or []
    )


def addresses_of(pod: Mapping[str, Any]) -> list[str]:
    """Return a running pod's own addresses; none where it has its node's, or has ended."""
    status = pod.get("status") or {}
    if (pod.get("spec") or {}).get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return []
    given = [status.get("podIP"), *((ip or {}).get("ip") for ip in status.get("podIPs") or [])]
    return list(dict.fromkeys(str(address) for address in given if address))


def service_in(host: str, namespace: str) -> tuple[str, str] | None:
    """Return namespace and name of the service that a host would resolve to inside a cluster.

    ``name``, ``name.namespace``, ``name.namespace.svc`` and what follows it (Kubernetes, "DNS for
    Services and Pods"); None for any other host.
    """
    parts = host.split(".")
    if len(parts) == 1:
        return namespace, host
    if len(parts) == 2 or parts[2] == "svc":
        return parts[1], parts[0]
    return None


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Tell whether a service's selector takes pods of these labels; an empty one takes none."""
    return bool(selector) and all(labels.get(k) == v for k, v in selector.items())


def tags_of(*labels: Mapping[str, str] | None) -> dict[str, str]:
    """Return labels as tags, the first given winning, with ``app`` and ``owner`` where they say so.

    ``app``: ``app.kubernetes.io/part-of``, ``app.kubernetes.io/name``, ``app`` or ``k8s-app``.
    ``owner``: ``owner`` or ``team``.
    """
    tags: dict[str, str] = {}
    for given in labels:
        tags = {str(k): str(v) for k, v in (given or {}).items()} | tags
    app = _first(tags, ("app.kubernetes.io/part-of", "app.kubernetes.io/name", "app", "k8s-app"))
    owner = _first(tags, ("owner", "team"))
    return tags | ({"app": app} if app else {}) | ({"owner": owner} if owner else {})


def _first(tags: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((tags[name] for name in names if tags.get(name)), None)
